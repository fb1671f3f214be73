//! An open descriptor: threads that may block read and write a file; everything else is read and
//! written when it is ready.
//!
//! The system decides which of the two it is: a descriptor that a poller refuses to watch never
//! reports that it is not ready, so it is a file. Not for: deciding when (`core`). Rules: a call
//! that would block returns [`Got::Later`], not an error, and the end is [`Got::End`]. A descriptor
//! is given back as it came, out of the poller and with its former mode. SIGPIPE never kills.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat, tell};
use rustix::io::Errno;
use singletrack_queues::Source;

use crate::data::Data;
use crate::poller::{HANGUP, Interest, READABLE, Registered, WRITABLE};
use crate::pollers::Io;
use crate::socket::{Arrived, MAX_PIECES, Socket, with_read_buffer};

/// The most bytes that one system call reads from a file: enough to be worth the way to another
/// thread, few enough for a prompt `stop`.
pub(super) const CHUNK: usize = 256 * 1024;
/// The most bytes that one system call writes.
const WRITE_CHUNK: usize = 1024 * 1024;

/// The name of a descriptor in messages: its number, and on Linux the path that it was opened with.
pub(super) fn name(fd: &impl AsFd) -> Arc<str> {
    let number = fd.as_fd().as_raw_fd();
    match std::fs::read_link(format!("/proc/self/fd/{number}")) {
        Ok(target) => format!("descriptor {number} ({})", target.display()).into(),
        Err(_) => format!("descriptor {number}").into(),
    }
}

/// Says why no byte will ever be read from `fd` or written to it, if that is so. Such a descriptor
/// can be watched, so its operations would wait for ever.
pub(super) fn without_bytes(fd: &impl AsFd) -> Option<&'static str> {
    if rustix::net::sockopt::socket_acceptconn(fd) == Ok(true) {
        return Some(
            "it is a listening socket, which has no bytes of its own; accept connections in the handler of an \
             EventSource::readable, and make a channel of each",
        );
    }
    // A call with no buffers takes nothing. It fails where the system has no such call for the
    // descriptor, as for epoll; BADF says only that it was not opened for that.
    let has_no = |call: rustix::io::Result<usize>| matches!(call, Err(Errno::INVAL | Errno::NXIO | Errno::OPNOTSUPP));
    let kind = fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
    let is_watched_only =
        kind == Ok(FileType::Unknown) && has_no(rustix::io::readv(fd, &mut [])) && has_no(rustix::io::writev(fd, &[]));
    is_watched_only.then_some("it can be neither read nor written; wait for it with EventSource::readable")
}

/// The outcome of one read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    Bytes(Bytes),
    /// There is nothing now; an event reports more.
    Later,
    /// There is no more, and there will be none.
    End,
}

/// An open descriptor.
#[derive(Debug)]
pub(super) struct Descriptor {
    fd: Arc<OwnedFd>,
    way: Way,
    flags: OFlags,
    has_offsets: bool,
    /// A terminal reports "input/output error" when its other end is gone.
    is_device: bool,
}

#[derive(Debug)]
enum Way {
    /// Threads that may block read and write it.
    Disk,
    /// It is read and written when it is ready.
    Watched { registered: Registered<Arc<OwnedFd>>, ready: u64, is_socket: bool },
}

impl Descriptor {
    /// Takes `fd` over; `told` makes the source that gets its events.
    pub(super) fn new(fd: OwnedFd, io: &Io, told: impl FnOnce() -> Source) -> io::Result<Descriptor> {
        let flags = fcntl_getfl(&fd)?;
        let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
        let fd = Arc::new(fd);
        let way = match kind {
            FileType::RegularFile | FileType::Directory | FileType::BlockDevice => Way::Disk,
            _ => watch(&fd, io, kind == FileType::Socket, told)?,
        };
        let has_offsets = tell(&*fd) != Err(Errno::SPIPE);
        let descriptor = Descriptor { fd, way, flags, has_offsets, is_device: kind == FileType::CharacterDevice };
        if descriptor.is_watched() && kind != FileType::Socket {
            if !flags.contains(OFlags::NONBLOCK) {
                fcntl_setfl(&*descriptor.fd, flags | OFlags::NONBLOCK)?;
            }
            if descriptor.can_write() {
                survive_sigpipe()?;
            }
        }
        Ok(descriptor)
    }

    pub(super) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    pub(super) fn has_offsets(&self) -> bool {
        self.has_offsets
    }

    pub(super) fn can_read(&self) -> bool {
        !self.flags.contains(OFlags::PATH) && !self.is_only(OFlags::WRONLY)
    }

    pub(super) fn can_write(&self) -> bool {
        !self.flags.contains(OFlags::PATH) && !self.is_only(OFlags::RDONLY)
    }

    fn is_only(&self, mode: OFlags) -> bool {
        self.flags & OFlags::RWMODE == mode
    }

    /// Is it read and written when it is ready, rather than by threads that may block?
    pub(super) fn is_watched(&self) -> bool {
        matches!(self.way, Way::Watched { .. })
    }

    /// Takes an event.
    pub(super) fn ready(&mut self, bits: u64) {
        if let Way::Watched { ready, .. } = &mut self.way {
            // Only a read finds the end; a read or a write finds a failure.
            *ready |= if bits & HANGUP != 0 { bits | READABLE } else { bits };
        }
    }

    /// Reads at most `most` bytes from a watched descriptor.
    pub(super) fn read_ready(&mut self, most: usize) -> io::Result<Got> {
        let Way::Watched { registered, ready, is_socket } = &mut self.way else { return Ok(Got::Later) };
        if *ready & READABLE == 0 {
            return Ok(Got::Later);
        }
        with_read_buffer(|buffer| {
            let most = most.min(buffer.len());
            let buffer = &mut buffer[..most];
            let arrived = match is_socket {
                true => registered.read(buffer)?,
                false => match retry(|| rustix::io::read(&**registered, &mut *buffer)) {
                    Ok(0) => Arrived::End,
                    Ok(count) => Arrived::Bytes(count),
                    Err(Errno::AGAIN) => Arrived::Nothing,
                    Err(Errno::IO) if self.is_device => Arrived::End,
                    Err(error) => return Err(error.into()),
                },
            };
            Ok(match arrived {
                Arrived::Bytes(count) => Got::Bytes(Bytes::copy_from_slice(&buffer[..count])),
                Arrived::End => Got::End,
                Arrived::Nothing => {
                    *ready &= !READABLE;
                    Got::Later
                }
            })
        })
    }

    /// Writes the beginning of `data` to a watched descriptor and returns the number of bytes.
    /// `None`: there is no room now.
    pub(super) fn write_ready(&mut self, data: &Data, most: usize) -> io::Result<Option<usize>> {
        let Way::Watched { registered, ready, is_socket } = &mut self.way else { return Ok(None) };
        if *ready & WRITABLE == 0 {
            return Ok(None);
        }
        let sent = with_pieces(data, most, |pieces| match is_socket {
            true => registered.write_gathered(pieces),
            false => match retry(|| rustix::io::writev(&**registered, pieces)) {
                Err(Errno::AGAIN) => Ok(None),
                sent => Ok(Some(sent?)),
            },
        })?;
        if sent.is_none() {
            *ready &= !WRITABLE;
        }
        sent.map(some_written).transpose()
    }

    /// Returns the descriptor itself, as it came. `None`: another reference is left, which is a bug
    /// of this module's users.
    pub(super) fn give_back(self) -> Option<OwnedFd> {
        let is_watched = matches!(&self.way, Way::Watched { is_socket: false, .. });
        drop(self.way);
        if is_watched
            && !self.flags.contains(OFlags::NONBLOCK)
            && let Err(error) = fcntl_setfl(&*self.fd, self.flags)
        {
            log::warn!("a descriptor could not be made blocking again: {error}");
        }
        Arc::into_inner(self.fd)
    }
}

fn watch(fd: &Arc<OwnedFd>, io: &Io, is_socket: bool, told: impl FnOnce() -> Source) -> io::Result<Way> {
    match io.register(fd.clone(), Interest::Both) {
        Ok((registered, attach)) => {
            attach.to(told());
            Ok(Way::Watched { registered, ready: 0, is_socket })
        }
        // The system says that it is always ready: it is a file, or a device such as /dev/zero.
        Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => Ok(Way::Disk),
        Err(error) => Err(error),
    }
}

/// Reads at most `most` bytes from a file; blocks. Without an offset, it reads at the current
/// position.
pub(super) fn read_file(fd: &OwnedFd, offset: Option<u64>, most: usize) -> io::Result<Got> {
    let mut bytes = Vec::with_capacity(most.min(CHUNK));
    let count = retry(|| match offset {
        Some(offset) => rustix::io::pread(fd, spare_capacity(&mut bytes), offset),
        None => rustix::io::read(fd, spare_capacity(&mut bytes)),
    })?;
    if count == 0 {
        return Ok(Got::End);
    }
    // A large buffer must not stay allocated for a few bytes.
    bytes.shrink_to_fit();
    Ok(Got::Bytes(bytes.into()))
}

/// Writes the beginning of `data` to a file and returns the number of bytes. Blocks.
pub(super) fn write_file(fd: &OwnedFd, offset: Option<u64>, data: &Data, most: usize) -> io::Result<usize> {
    let written = with_pieces(data, most, |pieces| {
        retry(|| match offset {
            Some(offset) => rustix::io::pwritev(fd, pieces, offset),
            None => rustix::io::writev(fd, pieces),
        })
    });
    some_written(written?)
}

/// Passes the first pieces of `data` to `f`: together at most `most` bytes, and no more than one
/// call takes.
fn with_pieces<R>(data: &Data, most: usize, f: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
    let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
    let (mut left, mut count) = (most.min(WRITE_CHUNK), 0);
    for (piece, bytes) in pieces.iter_mut().zip(data.regions()) {
        if left == 0 {
            break;
        }
        let part = &bytes[..bytes.len().min(left)];
        *piece = IoSlice::new(part);
        (left, count) = (left - part.len(), count + 1);
    }
    f(&pieces[..count])
}

/// Makes a write of no bytes an error: otherwise it would be tried for ever.
fn some_written(written: usize) -> io::Result<usize> {
    match written {
        0 => Err(io::Error::new(io::ErrorKind::WriteZero, "the system took no bytes, and gave no reason")),
        count => Ok(count),
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Makes sure that SIGPIPE does not kill. A write to a pipe without a reader raises SIGPIPE, whose
/// default action ends the process. Rust programs ignore the signal from their start; a program in
/// another language that uses this library may not. In that case a handler that does nothing
/// replaces the default action, and the write just fails. A disposition that the program chose
/// stays.
fn survive_sigpipe() -> io::Result<()> {
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.get().is_none() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if !handles(&status, signal_hook::consts::SIGPIPE) {
            signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default())?;
        }
        DONE.get_or_init(|| ());
    }
    Ok(())
}

/// Does the /proc status say that the process ignores or catches `signal`?
fn handles(status: &str, signal: i32) -> bool {
    let masks = status.lines().filter_map(|line| line.strip_prefix("SigIgn:").or(line.strip_prefix("SigCgt:")));
    masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_would_die_of_sigpipe_is_told_from_one_that_would_not() {
        let ignores = "Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000000\n";
        let catches = "SigIgn:\t0000000000000000\nSigCgt:\t0000000180001440\n";
        let neither = "SigIgn:\t0000000000000000\nSigCgt:\t0000000180000440\n";
        assert!(handles(ignores, 13) && handles(catches, 13) && !handles(neither, 13) && !handles("", 13));
    }
}
