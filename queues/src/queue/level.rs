//! The common part of queues of both kinds, and what each is to a queue that targets it.
//!
//! A target is given once, and exists before the queue that targets it. So no cycle can be built,
//! and the chain from a queue up to the pool can be walked without a lock.
//!
//! The drain right of a queue may pass to another thread in the middle of a method, and that thread
//! may free the queue. So both kinds are in a [`MayEnd`], and no method of [`Head`] gives the right
//! up. Not for: what a serial queue (`core`) and a concurrent one (`concurrent`) do with a node.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
#[cfg(not(queues_loom))]
use std::mem::offset_of;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::boosts::Boosts;
use super::error::Rejected;
use super::label::Label;
use super::ticket::Ticket;
use super::values::Values;
use crate::base::block::{Discard, Node, Run, Runnable, VTable};
use crate::base::catch::{self, Payload};
use crate::base::counts::Counts;
use crate::base::mailbox::Mailbox;
use crate::base::qos::Qos;
use crate::base::report;
use crate::base::state::State;
#[cfg(doc)]
use crate::base::sync::MayEnd;
use crate::base::sync::atomic::AtomicBool;
use crate::pool::runtime::Owner;
use crate::pool::{Place, Pool};

/// The part that queues of both kinds begin with.
///
/// The order of the fields separates those that a busy queue touches. Submitters write `mail` with
/// every block and read `target` beside it. The drainer reads `state` before every block. The
/// rarely used fields lie between the two and fill a cache line.
#[repr(C)]
pub(crate) struct Head {
    /// The link in the mailbox of the target, or the runnable of the pool. It comes first, so that
    /// a pointer to it is a pointer to the queue. While the queue drains, this node is in no list
    /// and serves as the stub of the queue's own mailbox.
    pub(super) node: Node,
    pub(super) state: State,
    /// For serial queues.
    pub(super) ticket: Ticket,
    pub(super) qos: Qos,
    /// A serial queue waits in its target and boosts the root of the target. Guarded by the drain
    /// right.
    pub(super) boosts_root: AtomicBool,
    pub(super) boosts: Boosts,
    /// The handles of the program, and everything else that keeps the queue; see `life`.
    pub(super) counts: Counts,
    label: Label,
    pub(super) values: Values,
    pub(super) mail: Mailbox,
    pub(super) target: Target,
}

/// A million idle queues are normal. (Atomics that a model watches are larger.)
#[cfg(not(queues_loom))]
const _: () = assert!(size_of::<Head>() <= 112);

/// At any alignment of the queue, submitters write to a different cache line from the one that the
/// drainer reads.
#[cfg(not(queues_loom))]
const _: () = assert!(offset_of!(Head, mail) + Mailbox::TAIL - offset_of!(Head, state) >= 64);

impl Head {
    /// Of one handle.
    pub(super) fn new(
        vtable: &'static VTable,
        label: Cow<'static, str>,
        target: Target,
        state: State,
        qos: Qos,
        site: &'static Location<'static>,
    ) -> Self {
        if qos != Qos::Default {
            target.pool().grade();
        }
        Self {
            node: Node::new(vtable, site),
            state,
            ticket: Ticket::new(),
            qos,
            boosts_root: AtomicBool::new(false),
            boosts: Boosts::default(),
            counts: Counts::new(),
            label: label.into(),
            values: Values::default(),
            mail: Mailbox::new(),
            target,
        }
    }

    /// The table of a queue's node.
    pub(super) const fn table(run: Run, discard: Discard) -> VTable {
        VTable { label: Self::label_of, ..VTable::lane(run, discard) }
    }

    unsafe fn label_of(node: NonNull<Node>) -> *const str {
        // SAFETY: the caller keeps the queue, which begins with its head.
        unsafe { node.cast::<Self>().as_ref() }.label()
    }

    pub(crate) fn label(&self) -> &str {
        self.label.as_str()
    }

    /// The queue's own class.
    pub(crate) fn qos(&self) -> Qos {
        self.qos
    }

    /// The class in which it is scheduled now: its own, or that of a thread that waits for it.
    #[inline]
    pub(super) fn class(&self) -> Qos {
        self.boosts.highest().map_or(self.qos, |boosted| boosted.max(self.qos))
    }

    #[inline]
    pub(crate) fn owner(&self) -> &Arc<Owner> {
        self.target.owner()
    }

    #[inline]
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.owner().pool()
    }

    /// The place that made it.
    pub(super) fn site(&self) -> &'static Location<'static> {
        self.node.site
    }

    /// The block, to be submitted. If nothing is taken any more, it comes back, which is counted.
    #[inline]
    pub(crate) fn admit<F>(&self, f: F) -> Result<F, Rejected<F>> {
        if self.pool().accepts() { Ok(f) } else { Err(self.reject(f)) }
    }

    #[cold]
    fn reject<F>(&self, f: F) -> Rejected<F> {
        self.pool().count_rejected();
        Rejected::new(f, self.label(), self.pool().why_refused())
    }

    /// Is nothing taken any more? That is logged and counted.
    #[inline]
    pub(crate) fn refused(&self, site: &'static Location<'static>) -> bool {
        let refused = !self.pool().accepts();
        if refused {
            self.refuse(site);
        }
        refused
    }

    #[cold]
    #[inline(never)]
    fn refuse(&self, site: &'static Location<'static>) {
        self.pool().count_rejected();
        let why = self.pool().why_refused();
        report::warn(format_args!("a block submitted to {:?} at {site} was dropped: {why}", self.label()));
    }

    /// Logs and counts the panic of a block.
    #[cold]
    pub(super) fn report(&self, site: &'static Location<'static>, payload: Payload) {
        self.pool().count_panic();
        catch::report_panic(self.label(), site, payload);
    }
}

/// A queue of either kind, as its blocks and the queues that target it see it.
pub(crate) trait Level: Any + Send + Sync {
    fn head(&self) -> &Head;

    /// Do its blocks run one at a time?
    fn is_serial(&self) -> bool;

    /// The maximum number of its blocks that run at once.
    fn width(&self) -> u32;

    /// Is it a concurrent queue of width 1 whose place is taken? If the caller is in it, the caller
    /// is the only one.
    fn has_one_place_taken(&self) -> bool;

    /// Takes a node, in the class `qos`, which a serial queue ignores. The node may run, and be
    /// freed, before this returns.
    ///
    /// # Safety
    /// `node` is valid for a [`Mailbox::push`], and its content may be sent to another thread. The
    /// code that runs or drops the node calls [`leave`](Self::leave) afterwards, unless the queue
    /// is serial.
    unsafe fn push(&self, node: NonNull<Node>, place: Place, qos: Qos);

    /// A [pushed](Self::push) node ran, or was dropped, and makes room. A serial queue has noticed
    /// that itself.
    fn leave(&self) {}

    /// A node that never got here is about to be dropped. It counts as let in, because it soon
    /// leaves as if it had been.
    fn count_reader(&self) {}

    /// A block of this queue waits for a node. Makes room for the node, here and in the targets.
    /// `false`: no block is in.
    fn try_join(&self) -> bool {
        true
    }

    /// As [`push`](Self::push), for a node that has [joined](Self::try_join).
    ///
    /// # Safety
    /// As for `push`.
    unsafe fn push_joined(&self, node: NonNull<Node>, place: Place, qos: Qos) {
        // SAFETY: the caller's promise.
        unsafe { self.push(node, place, qos) };
    }

    /// Sends the queue to where it is drained. The caller gives up the drain right.
    fn send(&self, place: Place);

    /// A suspension is about to count: from now on no node passes those in the mailbox.
    fn shut(&self) {}

    /// So many suspensions no longer count.
    fn open(&self, _suspensions: u32) {}

    /// Runs `f` here, as a barrier or not, if this queue and all its targets have room. `false`: it
    /// did not run.
    fn hold(&self, barrier: bool, site: &'static Location<'static>, f: &mut dyn FnMut()) -> bool;

    /// As [`hold`](Self::hold), but waits for each level. `f` may run on another thread.
    ///
    /// # Panics
    /// With the panic of `f`. When the runtime was shut down before `f` could run.
    fn wait(&self, barrier: bool, site: &'static Location<'static>, f: &mut (dyn FnMut() + Send));

    /// Pushes the node of a thread that may leave, and calls `wait`, during which the queue is as
    /// urgent as this thread.
    ///
    /// # Safety
    /// As for [`push`](Self::push). The node is that of a counted `Waiting`.
    unsafe fn push_and(&self, node: NonNull<Node>, barrier: bool, wait: &mut dyn FnMut());

    /// Nothing keeps the queue any more. It ends.
    ///
    /// # Safety
    /// Called once, when the last count was taken back.
    unsafe fn end(&self);
}

impl dyn Level {
    pub(crate) fn label(&self) -> &str {
        self.head().label()
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        self.head().pool()
    }

    /// This queue, its target, and so on up to the pool.
    pub(super) fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |level| level.head().target.level())
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        ptr::addr_eq(self, other)
    }

    /// The same queue, if it is of the kind `L`.
    pub(super) fn downcast<L: Level>(&self) -> Option<&L> {
        (self as &dyn Any).downcast_ref()
    }
}

impl fmt::Debug for dyn Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Level").field(&self.label()).finish()
    }
}

/// Keeps a queue without being a handle: when the last handle is dropped, a suspended queue goes on
/// in spite of it. For a queue that targets it, for its blocks, and for a later submission.
pub(crate) struct Kept<L: Level + ?Sized = dyn Level>(NonNull<L>);

// SAFETY: a queue is shared between threads by design: a mailbox of `Send` blocks, atomics, and
// fields that do not change. Its counts are atomic.
unsafe impl<L: Level + ?Sized> Send for Kept<L> {}
// SAFETY: as above.
unsafe impl<L: Level + ?Sized> Sync for Kept<L> {}

impl<L: Level + ?Sized> Kept<L> {
    /// Made from a reference to a queue that something keeps.
    pub(super) fn new(level: &L) -> Self {
        level.head().counts.add_weak();
        Self(NonNull::from(level))
    }

    /// Unless nothing keeps the queue any more.
    pub(super) fn try_new(level: &L) -> Option<Self> {
        level.head().counts.add_weak_if_any().then(|| Self(NonNull::from(level)))
    }

    /// Takes over a count.
    ///
    /// # Safety
    /// The count is the caller's, and is given up with this call.
    pub(super) unsafe fn counted(level: NonNull<L>) -> Self {
        Self(level)
    }
}

impl<L: Level> Kept<L> {
    /// The same count, of a queue of either kind.
    pub(crate) fn erased(self) -> Kept {
        let Self(level) = *std::mem::ManuallyDrop::new(self);
        Kept(level)
    }
}

impl<L: Level + ?Sized> Deref for Kept<L> {
    type Target = L;

    #[inline]
    fn deref(&self) -> &L {
        // SAFETY: counted.
        unsafe { self.0.as_ref() }
    }
}

impl<L: Level + ?Sized> Clone for Kept<L> {
    fn clone(&self) -> Self {
        Self::new(self)
    }
}

impl<L: Level + ?Sized> Drop for Kept<L> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: counted until here. The last count ends the queue.
        unsafe {
            let level = self.0.as_ref();
            if level.head().counts.remove_weak() {
                level.end();
            }
        }
    }
}

impl<L: Level + ?Sized> fmt::Debug for Kept<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.head().label()).finish()
    }
}

/// Where the blocks of a queue really run.
#[derive(Debug)]
pub(crate) enum Target {
    Pool(Arc<Owner>),
    Queue(Kept),
}

impl Target {
    #[inline]
    pub(super) fn is_pool(&self) -> bool {
        matches!(self, Self::Pool(_))
    }

    /// The queue, unless the target is the pool.
    #[inline]
    pub(crate) fn level(&self) -> Option<&dyn Level> {
        match self {
            Self::Pool(_) => None,
            Self::Queue(queue) => Some(&**queue),
        }
    }

    #[inline]
    pub(crate) fn owner(&self) -> &Arc<Owner> {
        match self {
            Self::Pool(owner) => owner,
            Self::Queue(queue) => owner_above(&**queue),
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.owner().pool()
    }

    /// The one door up a level, see [`Level::push`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn push(&self, node: NonNull<Node>, place: Place, qos: Qos) {
        match self {
            Self::Pool(owner) => owner.pool().submit_as(Runnable(node), place, qos),
            // SAFETY: the caller's promise.
            Self::Queue(queue) => unsafe { queue.push(node, place, qos) },
        }
    }

    /// See [`Level::hold`].
    pub(super) fn hold(&self, site: &'static Location<'static>, f: &mut dyn FnMut()) -> bool {
        match self {
            Self::Pool(_) => {
                f();
                true
            }
            Self::Queue(queue) => queue.hold(false, site, f),
        }
    }

    /// See [`Level::wait`].
    pub(super) fn wait(&self, site: &'static Location<'static>, f: &mut (dyn FnMut() + Send)) {
        match self {
            Self::Pool(_) => f(),
            Self::Queue(queue) => queue.wait(false, site, f),
        }
    }
}

// Not inlined: a queue on the pool, as most are, asks for its owner at every submit.
#[inline(never)]
fn owner_above(mut level: &dyn Level) -> &Arc<Owner> {
    loop {
        match &level.head().target {
            Target::Pool(owner) => return owner,
            Target::Queue(queue) => level = &**queue,
        }
    }
}
