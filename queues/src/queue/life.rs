//! The handles of a queue, strong and weak, and what happens when the last one is dropped.
//!
//! There are two counts ([`Counts`]). One counts the handles of the program. The other counts
//! everything that keeps the queue, such as a queue that targets it ([`Kept`]). All handles
//! together count as one in the second. When the last handle is dropped, nobody can resume the
//! queue any more, so it runs what it holds. When nothing keeps the queue, it [ends](Level::end).
//!
//! | handles | kept | the last handle is dropped | the last that keeps it is dropped |
//! |---|---|---|---|
//! | some | 1 for them | goes on, and drops their one | |
//! | some | more | goes on, and drops their one | |
//! | none | some | | ends |
//!
//! Few queues have weak handles, so a queue has no count of them. The first one makes a cell beside
//! the queue, which is kept as one of the queue's [values](super::specific) and leads back to the
//! queue until the last handle is gone.

use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use super::level::{Kept, Level};
use super::specific::SpecificKey;
#[cfg(doc)]
use crate::base::counts::Counts;
use crate::base::sync::{Mutex, lock};

/// A handle of the program.
#[repr(transparent)]
pub(crate) struct Handle<L: Level>(NonNull<L>);

// SAFETY: as for `Kept`.
unsafe impl<L: Level> Send for Handle<L> {}
// SAFETY: as above.
unsafe impl<L: Level> Sync for Handle<L> {}

impl<L: Level> Handle<L> {
    /// Takes over a handle that is counted already.
    ///
    /// # Safety
    /// It is the caller's, and is given up with this call.
    pub(super) unsafe fn counted(queue: NonNull<L>) -> Self {
        Self(queue)
    }

    /// A reference that keeps the queue without being a handle.
    pub(crate) fn kept(&self) -> Kept<L> {
        Kept::new(self)
    }

    pub(super) fn as_ptr(&self) -> NonNull<L> {
        self.0
    }

    pub(crate) fn downgrade(&self) -> Weak<L> {
        let make = || Back(Mutex::new(Some(self.0.cast())));
        Weak(BACK.get_or_put(self.head(), make), PhantomData)
    }

    /// The last handle is dropped: nobody can suspend or resume the queue any more.
    #[cold]
    fn abandon(queue: NonNull<L>) {
        // SAFETY: no handle is left, so the count that they shared is this thread's.
        let kept = unsafe { Kept::counted(queue) };
        if let Some(back) = BACK.own(kept.head()) {
            *lock(&back.0) = None;
        }
        let head = kept.head();
        if !head.state.is_clear() {
            let level: &dyn Level = &*kept;
            level.let_go(!head.mail.is_idle());
        }
    }
}

impl<L: Level> Deref for Handle<L> {
    type Target = L;

    #[inline]
    fn deref(&self) -> &L {
        // SAFETY: counted.
        unsafe { self.0.as_ref() }
    }
}

impl<L: Level> Clone for Handle<L> {
    fn clone(&self) -> Self {
        self.head().counts.add_handle();
        Self(self.0)
    }
}

impl<L: Level> Drop for Handle<L> {
    fn drop(&mut self) {
        if self.head().counts.remove_handle() {
            Self::abandon(self.0);
        }
    }
}

impl<L: Level> PartialEq for Handle<L> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<L: Level> Eq for Handle<L> {}

impl<L: Level> Hash for Handle<L> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

static BACK: SpecificKey<Back> = SpecificKey::new();

/// The way back to the queue. `None`: the last handle is gone, and the queue may be.
struct Back(Mutex<Option<NonNull<()>>>);

// SAFETY: the address is followed under the lock, and what it leads to is shared by design.
unsafe impl Send for Back {}
// SAFETY: as above.
unsafe impl Sync for Back {}

/// A handle that does not keep the queue: for what belongs to a queue, and would otherwise keep it
/// for ever.
pub(crate) struct Weak<L>(Arc<Back>, PhantomData<fn() -> L>);

impl<L> Clone for Weak<L> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<L: Level> Weak<L> {
    /// A handle, unless the last one is gone, whatever still keeps the queue.
    pub(crate) fn upgrade(&self) -> Option<Handle<L>> {
        let back = lock(&self.0.0);
        let queue = back.as_ref()?.cast::<L>();
        // SAFETY: a queue of this kind made the cell, and is freed after `abandon`, which takes
        // this lock.
        unsafe { queue.as_ref() }.head().counts.become_handle().then(|| Handle(queue))
    }
}
