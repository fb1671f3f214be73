//! An entry in a group that lasts as long as a value.
//!
//! Not for: blocks, which count themselves.

use std::fmt;

use super::Group;

impl Group {
    /// Adds one to the count until the member is dropped, also by a panic: [`enter`](Self::enter)
    /// and [`leave`](Self::leave) in one.
    ///
    /// ```
    /// let group = singletrack_queues::Group::new();
    /// let member = group.member();
    /// std::thread::spawn(move || drop(member));
    /// group.wait();
    /// ```
    ///
    /// # Panics
    /// As in `enter`.
    pub fn member(&self) -> Member {
        self.enter();
        Member { group: self.clone() }
    }
}

/// Something that a [`Group`] waits for; see [`Group::member`]. Dropping it leaves the group.
///
/// ```
/// use singletrack_queues::{Group, Member};
/// use std::thread;
///
/// struct Download {
///     _member: Member,
/// }
/// let downloads = Group::new();
/// let first = Download { _member: downloads.member() };
/// thread::spawn(move || drop(first)); // it ends, however it ends
/// downloads.wait();
/// ```
#[must_use = "dropping it leaves the group"]
pub struct Member {
    group: Group,
}

impl Drop for Member {
    fn drop(&mut self) {
        // This fails only after an extra `leave` elsewhere, which took this entry.
        let _ = self.group.leave();
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Member(..)")
    }
}
