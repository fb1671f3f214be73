//! Sockets that do not block: listening, accepting, reading into a lent buffer, gathered writes,
//! and ways to end a connection.
//!
//! [`Socket`] is the one trait through which this package and its users touch a socket, and
//! `OwnedFd` is the system's: a type of another origin can take its place. Calls are dispatched
//! statically. Not for: waiting (`poller`) and protocols. Rule: a call that would block returns
//! `None`, not an error.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown, sockopt};
use socket2::{Domain, Protocol, Type};

/// The number of connections that the system holds until they are accepted; it may hold fewer
/// (`somaxconn`).
const BACKLOG: i32 = 4096;
/// The size of the buffer that a thread lends for a read.
pub const READ_BUFFER: usize = 64 * 1024;
/// The most pieces in one gathered write; the system's own limit is 1,024.
pub const MAX_PIECES: usize = 128;
/// Pieces of at most this many bytes on average are copied together before they are sent.
const SMALL: usize = 512;

/// A listening socket, or one end of a connection. No call waits, whatever the mode of the socket.
///
/// Its descriptor is what a poller watches.
///
/// ```
/// use singletrack_io::socket::{Arrived, Socket, write_together};
/// use std::os::fd::OwnedFd;
///
/// let (near, far) = std::os::unix::net::UnixStream::pair()?;
/// let (near, far) = (OwnedFd::from(near), OwnedFd::from(far));
/// assert_eq!(far.read(&mut [0; 8])?, Arrived::Nothing);
/// assert_eq!(write_together(&near, &["two ", "pieces"], 0)?, Some(10));
/// near.end_sending();
/// assert_eq!(far.read(&mut [0; 64])?, Arrived::Bytes(10));
/// assert_eq!(far.read(&mut [0; 64])?, Arrived::End);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Socket: AsFd + AsRawFd + Send + Sized + 'static {
    /// Takes one waiting connection of a listening socket, without Nagle's delay; `None` if there
    /// is none.
    ///
    /// ```
    /// use singletrack_io::socket::{Socket, listen, local_address};
    /// use std::net::TcpStream;
    ///
    /// let listener = listen("127.0.0.1:0".parse().unwrap(), 64 * 1024)?;
    /// assert!(listener.accept()?.is_none(), "nobody waits");
    /// let client = TcpStream::connect(local_address(&listener)?)?;
    /// let far = loop {
    ///     if let Some(socket) = listener.accept()? {
    ///         break socket;
    ///     }
    /// };
    /// assert_eq!(local_address(&far)?, client.peer_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the system cannot give it; see [`out_of_descriptors`].
    fn accept(&self) -> io::Result<Option<Self>>;

    /// Reads the available bytes, once. If fewer come than the buffer holds, an event reports the
    /// next ones.
    ///
    /// ```
    /// use singletrack_io::socket::{Arrived, Socket};
    /// use std::io::Write;
    /// use std::os::fd::OwnedFd;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let (near, mut buffer) = (OwnedFd::from(near), [0; 1024]);
    /// assert_eq!(near.read(&mut buffer)?, Arrived::Nothing);
    /// far.write_all(b"hi")?;
    /// assert_eq!(near.read(&mut buffer)?, Arrived::Bytes(2));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the connection failed, such as by a reset.
    fn read(&self, buffer: &mut [u8]) -> io::Result<Arrived>;

    /// Sends pieces, in order, and returns how many bytes were taken; `None` when there is no room,
    /// and an event reports when there is again.
    ///
    /// ```
    /// use singletrack_io::socket::Socket;
    /// use std::io::{IoSlice, Read};
    /// use std::os::fd::OwnedFd;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let taken = OwnedFd::from(near).write_gathered(&[IoSlice::new(b"head, "), IoSlice::new(b"body")])?;
    /// assert_eq!(taken, Some(10));
    /// let mut text = String::new();
    /// far.read_to_string(&mut text)?;
    /// assert_eq!(text, "head, body");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the connection failed. A missing peer is an error, not a signal that ends the process.
    fn write_gathered(&self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>>;

    /// Ends the sending direction; bytes already sent are still delivered.
    ///
    /// ```
    /// use singletrack_io::socket::Socket;
    /// use std::io::Read;
    /// use std::os::fd::OwnedFd;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let near = OwnedFd::from(near);
    /// near.end_sending();
    /// assert_eq!(far.read(&mut [0; 8])?, 0, "the end of the stream");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn end_sending(&self);

    /// Makes the coming close discard unsent bytes and reset the connection. Otherwise a peer that
    /// reads nothing would keep megabytes of them in the system and never learn that it was given
    /// up.
    ///
    /// ```
    /// use singletrack_io::socket::Socket;
    /// use std::io::{ErrorKind, Read};
    /// use std::net::{TcpListener, TcpStream};
    /// use std::os::fd::OwnedFd;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut client = TcpStream::connect(listener.local_addr()?)?;
    /// let socket = OwnedFd::from(listener.accept()?.0);
    /// socket.reset_on_close();
    /// drop(socket);
    /// assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn reset_on_close(&self);
}

/// The outcome of a read.
///
/// ```
/// use singletrack_io::socket::{Arrived, Socket};
/// use std::os::fd::OwnedFd;
/// use std::os::unix::net::UnixStream;
///
/// let (near, far) = UnixStream::pair()?;
/// drop(far);
/// assert_eq!(OwnedFd::from(near).read(&mut [0; 8])?, Arrived::End);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// This many bytes.
    Bytes(usize),
    /// Nothing now; an event reports when there is more.
    Nothing,
    /// The peer will send no more.
    End,
}

/// A socket of the system, of any family.
impl Socket for OwnedFd {
    fn accept(&self) -> io::Result<Option<OwnedFd>> {
        loop {
            match accept_nonblocking(self) {
                Ok(socket) => {
                    // A connection that its peer has reset meanwhile refuses options; reading
                    // reports that.
                    let _ = sockopt::set_tcp_nodelay(&socket, true);
                    return Ok(Some(socket));
                }
                Err(Errno::AGAIN) => return Ok(None),
                // The peer of this connection gave up while it waited; the next one may not have.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    #[inline]
    fn read(&self, buffer: &mut [u8]) -> io::Result<Arrived> {
        let count = at_once(|| recv(self, &mut *buffer, RecvFlags::DONTWAIT))?;
        Ok(match count {
            None => Arrived::Nothing,
            Some((0, _)) => Arrived::End,
            Some((count, _)) => Arrived::Bytes(count),
        })
    }

    #[inline]
    fn write_gathered(&self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        at_once(|| match pieces {
            // One piece needs no list: `send` is the cheaper call.
            [piece] => send(self, piece, flags),
            pieces => sendmsg(self, pieces, &mut SendAncillaryBuffer::default(), flags),
        })
    }

    fn end_sending(&self) {
        // Fails only when the connection is gone already, and then nothing is left to do.
        let _ = shutdown(self, Shutdown::Write);
    }

    fn reset_on_close(&self) {
        let _ = sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }
}

/// Makes a system call; `None` if it would have to wait. It goes straight to the system: the C
/// library's functions first prepare for a cancellation of the thread, which is a tenth of the cost
/// of an echo outside the system.
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

#[cfg(target_os = "linux")]
fn accept_nonblocking(listener: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    use rustix::net::{SocketFlags, accept_with};
    accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
}

#[cfg(not(target_os = "linux"))]
fn accept_nonblocking(listener: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::accept(listener)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Opens a listening socket. The system holds up to about `send_buffer` outgoing bytes for each of
/// its connections, which inherit the setting.
///
/// ```
/// use singletrack_io::socket::{listen, local_address};
///
/// let listener = listen("127.0.0.1:0".parse().unwrap(), 64 * 1024)?;
/// assert_ne!(local_address(&listener)?.port(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The system's error: the address is taken, not of this machine, or not permitted.
pub fn listen(address: SocketAddr, send_buffer: usize) -> io::Result<OwnedFd> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a former process in TIME_WAIT must not keep the port busy.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // The system counts these bytes with 31 bits: a larger number would wrap around.
    socket.set_send_buffer_size(send_buffer.min(i32::MAX as usize))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The address that a socket of [`listen`] has, with the port that the system picked.
///
/// ```
/// use singletrack_io::socket::{listen, local_address};
///
/// let listener = listen("127.0.0.1:0".parse().unwrap(), 64 * 1024)?;
/// assert_ne!(local_address(&listener)?.port(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When it is no such socket.
pub fn local_address(listener: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(listener)?)?)
}

/// Did accepting fail for lack of descriptors or memory? Then the connection still waits, and
/// trying again at once would spin.
///
/// ```
/// use singletrack_io::socket::out_of_descriptors;
/// use std::io;
///
/// const EMFILE: i32 = 24;
/// assert!(out_of_descriptors(&io::Error::from_raw_os_error(EMFILE)), "wait before the next try");
/// assert!(!out_of_descriptors(&io::ErrorKind::ConnectionReset.into()));
/// ```
pub fn out_of_descriptors(error: &io::Error) -> bool {
    let code = Errno::from_io_error(error);
    code.is_some_and(|code| [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&code))
}

/// As [`Socket::write_gathered`], of the first [`MAX_PIECES`], without the first `begun` bytes of
/// the first one. Pieces that are small on average are copied together first: copying a few hundred
/// bytes is cheaper than one more piece for the system (ten frames of 66 bytes: 3.0 us instead of
/// 3.8).
///
/// ```
/// use singletrack_io::socket::write_together;
/// use std::io::Read;
/// use std::net::{TcpListener, TcpStream};
/// use std::os::fd::OwnedFd;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// let socket: OwnedFd = listener.accept()?.0.into();
/// // Two bytes of the first piece were sent before.
/// let taken = write_together(&socket, &["head, ", "body"], 2)?;
/// assert_eq!(taken, Some(8));
/// let mut text = [0; 8];
/// client.read_exact(&mut text)?;
/// assert_eq!(&text, b"ad, body");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As for [`Socket::write_gathered`].
///
/// # Panics
/// If `begun` is beyond the first piece.
pub fn write_together(socket: &impl Socket, pieces: &[impl AsRef<[u8]>], begun: usize) -> io::Result<Option<usize>> {
    let Some((first, others)) = pieces[..pieces.len().min(MAX_PIECES)].split_first() else { return Ok(Some(0)) };
    let first = &first.as_ref()[begun..];
    if others.is_empty() {
        return socket.write_gathered(&[IoSlice::new(first)]);
    }
    let bytes = first.len() + others.iter().map(|piece| piece.as_ref().len()).sum::<usize>();
    if bytes <= (1 + others.len()) * SMALL {
        return TOGETHER.with_borrow_mut(|together| {
            together.clear();
            together.extend_from_slice(first);
            others.iter().for_each(|piece| together.extend_from_slice(piece.as_ref()));
            socket.write_gathered(&[IoSlice::new(together)])
        });
    }
    let mut list = [IoSlice::new(&[]); MAX_PIECES];
    list[0] = IoSlice::new(first);
    list[1..].iter_mut().zip(others).for_each(|(entry, piece)| *entry = IoSlice::new(piece.as_ref()));
    socket.write_gathered(&list[..1 + others.len()])
}

thread_local! {
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    /// The buffer in which small pieces are copied together: at most `MAX_PIECES * SMALL` bytes.
    static TOGETHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's read buffer for the duration of `f`. A connection that has nothing to read
/// holds no buffer.
///
/// ```
/// use singletrack_io::socket::{READ_BUFFER, with_read_buffer};
///
/// let sum = with_read_buffer(|buffer| {
///     assert_eq!(buffer.len(), READ_BUFFER);
///     buffer[..2].copy_from_slice(&[40, 2]);
///     buffer[..2].iter().sum::<u8>()
/// });
/// assert_eq!(sum, 42);
/// ```
pub fn with_read_buffer<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    BUFFER.with(|kept| {
        // Taken, not borrowed: code that `f` runs may call this again, and then gets a buffer of
        // its own.
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
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        (near.into(), far)
    }

    #[test]
    fn nobody_waiting_and_nothing_to_read_are_not_errors() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 64 * 1024).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let (near, far) = pair();
        assert_eq!(near.read(&mut [0; 8]).unwrap(), Arrived::Nothing);
        drop(far);
        rustix::event::poll(&mut [rustix::event::PollFd::new(&near, rustix::event::PollFlags::IN)], None).unwrap();
        assert_eq!(near.read(&mut [0; 8]).unwrap(), Arrived::End);
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
        let full = (0..100).find(|_| near.write_gathered(&[IoSlice::new(&lot)]).unwrap().is_none());
        assert!(full.is_some(), "100 MiB fit into a socket without a reader");
    }

    #[test]
    fn a_reset_reaches_the_peer() {
        let (near, mut far) = pair();
        near.reset_on_close();
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
