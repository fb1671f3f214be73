//! The readiness of a descriptor at this moment: one look, nothing is kept.
//!
//! Not for: deciding when to look, or calling handlers (`descriptor`).
//! Rule: a look that fails logs the error and returns that there is nothing. It must neither end a
//! source nor become a busy loop.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, SeekFrom, fstat, seek};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{SocketType, sockopt};

/// The result of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is nothing to do.
    Nothing,
    /// The other side is gone, and nothing is left to be read.
    End,
    /// It can be read or written.
    Ready {
        /// The approximate number of bytes; 1 where it is unknown.
        bytes: u64,
        /// Does the same number at the next look prove that nothing was taken?
        exact: bool,
    },
}

/// The events that mean the other side sends no more, in addition to those always reported.
#[cfg(target_os = "linux")]
const NO_MORE: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const NO_MORE: PollFlags = PollFlags::empty();

/// A file always has room; this much is reported.
const ROOM_OF_A_FILE: u64 = 64 * 1024;

/// Looks for bytes to read on a descriptor that a poller watches.
pub(super) fn to_read(descriptor: &OwnedFd) -> Found {
    let counted = || ioctl_fionread(descriptor).ok().filter(|bytes| *bytes > 0);
    if let Some(bytes) = counted() {
        return Found::Ready { bytes, exact: true };
    }
    match poll_now(descriptor, PollFlags::IN | NO_MORE) {
        // The last bytes may have come between the two looks, with the end behind them; none come
        // after the end.
        state if state.intersects(NO_MORE | PollFlags::HUP | PollFlags::ERR) => {
            counted().map_or(Found::End, |bytes| Found::Ready { bytes, exact: true })
        }
        // An empty datagram, a connection to accept, a counter, or the end of input typed at a
        // terminal.
        state if state.contains(PollFlags::IN) => Found::Ready { bytes: 1, exact: false },
        _ => Found::Nothing,
    }
}

/// Looks for room to write on a descriptor that a poller watches.
pub(super) fn to_write(descriptor: &OwnedFd) -> Found {
    match poll_now(descriptor, PollFlags::OUT) {
        state if state.intersects(PollFlags::HUP | PollFlags::ERR) => Found::End,
        state if state.contains(PollFlags::OUT) => {
            Found::Ready { bytes: room(descriptor).unwrap_or(1).max(1), exact: false }
        }
        _ => Found::Nothing,
    }
}

/// Looks for the rest of a descriptor that is always ready and so cannot be watched, such as a
/// file.
pub(super) fn to_read_unwatched(descriptor: &OwnedFd) -> Found {
    let Some(size) = file_size(descriptor) else { return Found::Ready { bytes: 1, exact: false } };
    match size.saturating_sub(seek(descriptor, SeekFrom::Current(0)).unwrap_or(0)) {
        0 => Found::End,
        bytes => Found::Ready { bytes, exact: true },
    }
}

/// Reports the room of such a descriptor, which can always be written.
pub(super) fn to_write_unwatched(_: &OwnedFd) -> Found {
    Found::Ready { bytes: ROOM_OF_A_FILE, exact: false }
}

fn file_size(descriptor: &OwnedFd) -> Option<u64> {
    let stat = fstat(descriptor).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| u64::try_from(stat.st_size).unwrap_or(0))
}

/// Is it a datagram socket? The system counts only the first datagram, and the next may be as long:
/// no number is exact.
pub(super) fn is_datagram(descriptor: impl AsFd) -> bool {
    sockopt::socket_type(descriptor).is_ok_and(|kind| kind != SocketType::STREAM)
}

fn poll_now(descriptor: &OwnedFd, wanted: PollFlags) -> PollFlags {
    let mut state = [PollFd::new(descriptor, wanted)];
    loop {
        match poll(&mut state, Some(&Timespec::default())) {
            Ok(_) => return state[0].revents(),
            Err(Errno::INTR) => {}
            Err(error) => {
                log::error!("looking at a descriptor failed: {error}");
                return PollFlags::empty();
            }
        }
    }
}

/// The approximate number of bytes that a socket or a pipe would take.
fn room(descriptor: &OwnedFd) -> Option<u64> {
    if let Ok(size) = sockopt::socket_send_buffer_size(descriptor) {
        return Some((size as u64).saturating_sub(on_their_way_out(descriptor)?));
    }
    pipe_room(descriptor)
}

#[cfg(target_os = "linux")]
fn pipe_room(descriptor: &OwnedFd) -> Option<u64> {
    let size = rustix::pipe::fcntl_getpipe_size(descriptor).ok()?;
    Some((size as u64).saturating_sub(ioctl_fionread(descriptor).ok()?))
}

#[cfg(not(target_os = "linux"))]
fn pipe_room(_: &OwnedFd) -> Option<u64> {
    None
}

#[allow(unsafe_code)]
fn on_their_way_out(descriptor: &OwnedFd) -> Option<u64> {
    use rustix::ioctl::{Getter, Opcode, ioctl};
    // SAFETY: TIOCOUTQ is a valid opcode, and the system writes one C int for it: for sockets,
    // pipes and terminals alike. It refuses any other descriptor.
    let bytes = unsafe { ioctl(descriptor, Getter::<{ libc::TIOCOUTQ as Opcode }, libc::c_int>::new()) };
    u64::try_from(bytes.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;

    #[test]
    fn the_end_is_found_behind_the_last_bytes_however_late_they_come() {
        let (give, taken) = channel::<UnixStream>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for mut far in taken {
                    far.write_all(b"last").unwrap();
                }
            });
            for _ in 0..20_000 {
                let (near, far) = UnixStream::pair().unwrap();
                let near = OwnedFd::from(near);
                give.send(far).unwrap();
                let mut read = 0;
                loop {
                    match to_read(&near) {
                        Found::Nothing => std::hint::spin_loop(),
                        Found::End => break,
                        Found::Ready { .. } => read += rustix::io::read(&near, &mut [0; 8]).unwrap(),
                    }
                }
                assert_eq!(read, 4);
            }
            drop(give);
        });
    }
}
