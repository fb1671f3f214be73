//! Waiting for blocks, counting them and cancelling them.

pub(crate) mod work_item;
pub use work_item::{BarrierItem, WorkEnd, WorkHandle, WorkItem};

pub(crate) mod group;
pub use group::{Empty, Group, Member, UnbalancedLeave};

mod submitter;
pub use submitter::Submitter;
