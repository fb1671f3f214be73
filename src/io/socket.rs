//! Non-blocking sockets: listening, accepting, reading into a lent buffer, gathered writes, and ways to end a connection.
//!
//! Not for: waiting (`poller`) and protocols. Rule: what would block is `None`, not an error.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that the system holds for us until they are accepted; it may hold fewer (`somaxconn`).
const BACKLOG: i32 = 4096;
/// The size of the buffer that a thread lends for a read.
pub const READ_BUFFER: usize = 64 * 1024;
/// The most pieces that one gathered write takes; the system's own limit is 1,024.
pub const MAX_PIECES: usize = 128;
/// Pieces of at most so many bytes, on average, are put together before they are sent.
const SMALL: usize = 512;

/// Opens a non-blocking listening socket. The system holds up to about `send_buffer` bytes on their way out for each of its
/// connections: they inherit what is set here.
///
/// # Errors
/// What the system says: the address is taken, not of this machine, or not permitted.
pub fn listen(address: SocketAddr, send_buffer: usize) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a former process in TIME_WAIT must not keep the port from us.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // The system counts these bytes with 31 bits: more would wrap around to less.
    socket.set_send_buffer_size(send_buffer.min(i32::MAX as usize))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes one waiting connection, non-blocking and without Nagle's delay.
///
/// # Errors
/// What the system says; see [`out_of_descriptors`].
pub fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    loop {
        match accept_nonblocking(listener) {
            Ok(stream) => {
                // A connection that its peer has reset meanwhile refuses options; reading will tell.
                let _ = stream.set_nodelay(true);
                return Ok(Some(stream));
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(None),
                // The peer gave up while it waited: the next in line may not have.
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                _ => return Err(error),
            },
        }
    }
}

#[cfg(target_os = "linux")]
fn accept_nonblocking(listener: &TcpListener) -> io::Result<TcpStream> {
    use rustix::net::{SocketFlags, accept_with};
    Ok(accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?.into())
}

#[cfg(not(target_os = "linux"))]
fn accept_nonblocking(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Did accepting fail for want of descriptors or memory? Then the connection still waits, and trying again at once is a spin.
pub fn out_of_descriptors(error: &io::Error) -> bool {
    let code = Errno::from_io_error(error);
    code.is_some_and(|code| [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&code))
}

/// The outcome of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// This many bytes.
    Bytes(usize),
    /// Nothing now; an event will tell when there is more.
    Nothing,
    /// The peer will send no more.
    End,
}

/// Reads what is there, once.
///
/// # Errors
/// When the connection failed, such as by a reset.
pub fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Arrived> {
    let count = at_once(|| recv(stream, &mut *buffer, RecvFlags::empty()))?;
    Ok(match count {
        None => Arrived::Nothing,
        Some((0, _)) => Arrived::End,
        Some((count, _)) => Arrived::Bytes(count),
    })
}

/// Sends pieces with one system call and says how many bytes were taken; `None` when there is no room.
///
/// # Errors
/// When the connection failed.
pub fn write_gathered(stream: &TcpStream, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    // That the peer is gone is an error, and no signal that ends the process.
    let quietly = SendFlags::NOSIGNAL;
    at_once(|| match pieces {
        // One piece needs no list: `send` is the cheaper call.
        [piece] => send(stream, piece, quietly),
        pieces => sendmsg(stream, pieces, &mut SendAncillaryBuffer::default(), quietly),
    })
}

/// What the system says at once; `None` if it would have to wait. Straight from the system: the C library's functions first
/// see to it that the thread could be cancelled meanwhile, which is a tenth of what an echo costs outside the system.
fn at_once<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<Option<T>> {
    loop {
        match call() {
            Ok(value) => return Ok(Some(value)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// As [`write_gathered`], of the first [`MAX_PIECES`], without the first `begun` bytes of the first one. Those that are small on
/// the whole are put together first: to copy a few hundred bytes is cheaper than to have the system take one piece more (ten
/// frames of 66 bytes: 3.0 us instead of 3.8).
///
/// # Errors
/// As for `write_gathered`.
///
/// # Panics
/// If `begun` is beyond the first piece.
pub fn write_together(stream: &TcpStream, pieces: &[impl AsRef<[u8]>], begun: usize) -> io::Result<Option<usize>> {
    let Some((first, others)) = pieces[..pieces.len().min(MAX_PIECES)].split_first() else { return Ok(Some(0)) };
    let first = &first.as_ref()[begun..];
    if others.is_empty() {
        return write_gathered(stream, &[IoSlice::new(first)]);
    }
    let bytes = first.len() + others.iter().map(|piece| piece.as_ref().len()).sum::<usize>();
    if bytes <= (1 + others.len()) * SMALL {
        return TOGETHER.with_borrow_mut(|together| {
            together.clear();
            together.extend_from_slice(first);
            others.iter().for_each(|piece| together.extend_from_slice(piece.as_ref()));
            write_gathered(stream, &[IoSlice::new(together)])
        });
    }
    let mut list = [IoSlice::new(&[]); MAX_PIECES];
    list[0] = IoSlice::new(first);
    list[1..].iter_mut().zip(others).for_each(|(entry, piece)| *entry = IoSlice::new(piece.as_ref()));
    write_gathered(stream, &list[..1 + others.len()])
}

/// Says that we shall send no more; what was sent is still delivered.
pub fn end_sending(stream: &TcpStream) {
    // Fails only when the connection is gone already, which is what is wanted.
    let _ = stream.shutdown(Shutdown::Write);
}

/// Makes the coming close throw away what was not sent and reset the connection: a peer that takes nothing would otherwise
/// keep megabytes of it in the system and never learn that it was given up.
pub fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

thread_local! {
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    /// Where small pieces are put together: at most `MAX_PIECES * SMALL` bytes.
    static TOGETHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's read buffer for the time of `f`. A connection that has nothing to read holds no buffer.
pub fn with_read_buffer<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    BUFFER.with(|kept| {
        // Taken, not borrowed: code that `f` runs may come here again and then gets a buffer of its own.
        let mut buffer = kept.take().unwrap_or_else(|| vec![0; READ_BUFFER].into_boxed_slice());
        let result = f(&mut buffer);
        kept.set(Some(buffer));
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    #[test]
    fn nobody_waiting_and_nothing_to_read_are_not_errors() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 64 * 1024).unwrap();
        assert!(accept(&listener).unwrap().is_none());
        let (near, far) = pair();
        assert_eq!(read(&near, &mut [0; 8]).unwrap(), Arrived::Nothing);
        drop(far);
        near.set_nonblocking(false).unwrap();
        assert_eq!(read(&near, &mut [0; 8]).unwrap(), Arrived::End);
    }

    #[test]
    fn a_gathered_write_sends_all_pieces_in_order_and_says_when_there_is_no_room() {
        let (near, mut far) = pair();
        let large = [b"one ".repeat(SMALL), b"two".repeat(SMALL), b" three".to_vec()];
        for pieces in [&[&b"one "[..], b"two", b" three"][..], &[b"one two"], &large.each_ref().map(|piece| &piece[..])]
        {
            for begun in [0, 1, pieces[0].len()] {
                let whole = &pieces.concat()[begun..];
                assert_eq!(write_together(&near, pieces, begun).unwrap(), Some(whole.len()));
                let mut got = vec![0; whole.len()];
                far.read_exact(&mut got).unwrap();
                assert_eq!(got, whole);
            }
        }
        let lot = vec![0; 1 << 20];
        let full = (0..100).find(|_| write_gathered(&near, &[IoSlice::new(&lot)]).unwrap().is_none());
        assert!(full.is_some(), "100 MiB fit into a socket that nobody reads");
    }

    #[test]
    fn a_reset_reaches_the_peer() {
        let (near, mut far) = pair();
        reset_on_close(&near);
        drop(near);
        assert_eq!(far.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_nested_borrower_gets_a_buffer_of_its_own() {
        with_read_buffer(|outer| {
            outer[0] = 7;
            with_read_buffer(|inner| inner[0] = 8);
            assert_eq!((outer[0], outer.len()), (7, READ_BUFFER));
        });
    }
}
