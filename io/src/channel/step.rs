//! One step of an operation: the system call that it wants next, made here or by a thread that may
//! block.
//!
//! Not for: deciding whose turn it is and where a call is made (`core`), nor what its outcome means
//! to the operation (`operation`).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::descriptor::{self, Descriptor, Got};
use super::error::ChannelError;
use super::line::{Entry, verb};
use crate::data::Data;

/// The bytes that one block moves before it lets others have the thread.
const TURN: usize = 1024 * 1024;

/// The outcome of a system call.
pub(super) enum Moved {
    Read(Got),
    Wrote(usize),
}

/// Opens a file; blocks. A FIFO is opened without waiting for its other end.
pub(super) fn open(path: &Path, mut options: OpenOptions) -> io::Result<OwnedFd> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    if std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo()) {
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path).map(OwnedFd::from)
}

/// Passes the outcome of a system call to an operation.
pub(super) fn take_in(entry: &mut Entry, moved: io::Result<Moved>, name: &Arc<str>) {
    let verb = verb(&entry.operation);
    match moved {
        Ok(Moved::Read(Got::Bytes(bytes))) => entry.operation.arrived(bytes),
        Ok(Moved::Read(Got::End)) => entry.operation.end(None),
        Ok(Moved::Read(Got::Later)) => {}
        Ok(Moved::Wrote(count)) => entry.operation.went(count),
        Err(error) => entry.operation.end(Some(ChannelError::system(name, verb, error))),
    }
}

/// The need of an operation that continues.
pub(super) enum Next {
    /// Nothing, or the next event of its descriptor.
    Wait,
    /// Another block: it has moved enough for this one.
    Again,
    /// A system call by a thread that may block.
    OnDisk(Call),
}

/// A system call on a file.
pub(super) struct Call {
    fd: Arc<OwnedFd>,
    offset: Option<u64>,
    want: usize,
    /// The data of a write; `None` for a read.
    data: Option<Data>,
}

impl Call {
    /// Makes the call; may block.
    pub(super) fn make(self) -> io::Result<Moved> {
        // The call drops the descriptor before it returns: the core may then give it back.
        let Call { fd, offset, want, data } = self;
        match data {
            None => descriptor::read_file(&fd, offset, want).map(Moved::Read),
            Some(data) => descriptor::write_file(&fd, offset, &data, want).map(Moved::Wrote),
        }
    }
}

/// Moves the bytes that one operation wants, as long as the descriptor is ready, and returns its
/// next need.
pub(super) fn step(entry: &mut Entry, open: &mut Descriptor, name: &Arc<str>) -> Next {
    if entry.busy || entry.again || entry.operation.want() == 0 {
        return Next::Wait;
    }
    if !open.is_watched() {
        entry.busy = true;
        let want = entry.operation.want();
        let data = (!entry.operation.is_read()).then(|| entry.operation.rest(want));
        return Next::OnDisk(Call { fd: open.fd().clone(), offset: entry.operation.offset(), want, data });
    }
    let mut left = TURN;
    while entry.operation.want() > 0 {
        if left == 0 {
            entry.again = true;
            return Next::Again;
        }
        let want = entry.operation.want().min(left);
        let moved = match entry.operation.is_read() {
            true => open.read_ready(want).map(Moved::Read),
            false => open
                .write_ready(&entry.operation.rest(want), want)
                .map(|n| n.map_or(Moved::Read(Got::Later), Moved::Wrote)),
        };
        left -= match &moved {
            Ok(Moved::Read(Got::Later)) => return Next::Wait,
            Ok(Moved::Read(Got::Bytes(bytes))) => bytes.len(),
            Ok(Moved::Wrote(count)) => *count,
            _ => 0,
        };
        take_in(entry, moved, name);
    }
    Next::Wait
}
