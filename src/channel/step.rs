//! One step of an operation: the system call that it wants next, here or by a thread that may block.
//!
//! Not for: whose turn it is (`core`), nor for what a call means to the operation (`operation`).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::core::{Desk, at};
use super::descriptor::{self, Descriptor, Got};
use super::error::ChannelError;
use super::ground::Ground;
use super::line::{Entry, verb};

/// Bytes that one block moves before it lets others have the thread.
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

/// Takes the outcome of a system call into an operation.
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

/// Moves what one operation wants: by a disk thread, or here as long as the descriptor is ready.
pub(super) fn step(entry: &mut Entry, open: &mut Descriptor, name: &Arc<str>, ground: &Ground, desk: &Desk) {
    if entry.busy || entry.again || entry.operation.want() == 0 {
        return;
    }
    let id = entry.id;
    if !open.is_watched() {
        entry.busy = true;
        let (fd, desk, offset) = (open.fd().clone(), desk.clone(), entry.operation.offset());
        let (want, is_read) = (entry.operation.want(), entry.operation.is_read());
        let data = entry.operation.rest(want);
        return ground.on_disk(move || {
            let moved = match is_read {
                true => descriptor::read_file(&fd, offset, want).map(Moved::Read),
                false => descriptor::write_file(&fd, offset, &data, want).map(Moved::Wrote),
            };
            // The last use of it: the core may give it back.
            drop((fd, data));
            at(&desk, move |core, desk| core.moved(desk, id, moved));
        });
    }
    let mut left = TURN;
    while entry.operation.want() > 0 {
        if left == 0 {
            entry.again = true;
            return at(desk, move |core, desk| core.again(desk, id));
        }
        let want = entry.operation.want().min(left);
        let moved = match entry.operation.is_read() {
            true => open.read_ready(want).map(Moved::Read),
            false => open
                .write_ready(&entry.operation.rest(want), want)
                .map(|n| n.map_or(Moved::Read(Got::Later), Moved::Wrote)),
        };
        left -= match &moved {
            Ok(Moved::Read(Got::Later)) => return,
            Ok(Moved::Read(Got::Bytes(bytes))) => bytes.len(),
            Ok(Moved::Wrote(count)) => *count,
            _ => 0,
        };
        take_in(entry, moved, name);
    }
}
