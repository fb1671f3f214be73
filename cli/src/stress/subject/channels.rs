//! The verbs of channels, perhaps broken ones.
//!
//! Not for: noticing. Rule: as in `src/stress/subject.rs`.

use std::os::fd::BorrowedFd;

use singletrack::Data;
use singletrack::channel::{Channel, ChannelError, Delivery};

use super::{Fault, Now};

/// Channels as one thread uses them, perhaps broken ones.
pub(crate) struct ChannelVerbs {
    now: Now,
    held: Option<(Channel, BarrierBlock)>,
}

type BarrierBlock = Box<dyn FnOnce(Result<BorrowedFd<'_>, ChannelError>) + Send>;

impl ChannelVerbs {
    /// The verbs of a thread.
    pub(crate) fn new(fault: Option<Fault>) -> ChannelVerbs {
        ChannelVerbs { now: Now { fault, calls: 0 }, held: None }
    }

    /// As [`Channel::write`].
    pub(crate) fn write<F>(&mut self, channel: &Channel, offset: u64, bytes: Vec<u8>, handler: F)
    where
        F: FnMut(Delivery) + Send + 'static,
    {
        let mut data = Data::from(bytes);
        if self.now.is_due(Fault::BytesLost) {
            data = data.split_to(data.len() - 1);
        }
        channel.write(offset, data, handler);
        if let Some((channel, held)) = self.held.take() {
            channel.barrier(held);
        }
    }

    /// As [`Channel::barrier`].
    pub(crate) fn barrier<F>(&mut self, channel: &Channel, block: F)
    where
        F: FnOnce(Result<BorrowedFd<'_>, ChannelError>) + Send + 'static,
    {
        if self.now.is_due(Fault::ChannelOvertaken) {
            self.held = Some((channel.clone(), Box::new(block)));
        } else {
            channel.barrier(block);
        }
    }

    /// As [`Channel::set_high_water`].
    pub(crate) fn set_high_water(&mut self, channel: &Channel, bytes: usize) {
        let bytes = if self.now.is_due(Fault::WaterIgnored) { usize::MAX } else { bytes };
        channel.set_high_water(bytes);
    }

    /// Submits what is held back, if anything.
    pub(crate) fn settle(&mut self) {
        if let Some((channel, held)) = self.held.take() {
            channel.barrier(held);
        }
    }
}
