//! The state of a descriptor: a path, open, failed, or given back. An operation and a barrier ask
//! here whether they can be done.
//!
//! Not for: opening it, or deciding when it is given back (`core`).

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::descriptor::Descriptor;
use super::error::ChannelError;
use super::line::verb;
use super::operation::Operation;

/// The state of the descriptor.
pub(super) enum Place {
    /// Not opened yet: the first operation or barrier opens it.
    Path(PathBuf, OpenOptions),
    Opening,
    Open(Descriptor),
    Failed(ChannelError),
    GivenBack,
}

impl Place {
    /// Says whether the operation can be done at all.
    pub(super) fn allows(&self, operation: &Operation, name: &Arc<str>) -> Result<(), ChannelError> {
        match self {
            Place::Failed(error) => Err(error.clone()),
            Place::Open(open)
                if operation.is_read() && !open.can_read() || !operation.is_read() && !open.can_write() =>
            {
                let needed = verb(operation);
                Err(ChannelError::Access { channel: name.clone(), operation: needed, needed })
            }
            _ => Ok(()),
        }
    }

    /// Returns the descriptor for the block of a barrier.
    pub(super) fn descriptor(&self, name: &Arc<str>) -> Result<Arc<OwnedFd>, ChannelError> {
        match self {
            Place::Open(open) => Ok(open.fd().clone()),
            Place::Failed(error) => Err(error.clone()),
            // Only an open channel has a barrier in its line, and the barrier opens the file.
            _ => Err(ChannelError::Closed { channel: name.clone(), operation: "run a barrier on" }),
        }
    }

    /// Gives the descriptor back, if there is one, and says whether it belongs to a file. Closing a
    /// file may block.
    pub(super) fn give_back(&mut self, name: &str) -> (Option<OwnedFd>, bool) {
        let Place::Open(open) = std::mem::replace(self, Place::GivenBack) else { return (None, false) };
        let is_file = !open.is_watched();
        let fd = open.give_back();
        if fd.is_none() {
            log::error!("{name} is still used when it is given back: this is a bug of singletrack");
        }
        (fd, is_file)
    }
}
