//! A thread has a serial queue to itself: it takes an idle one, or waits for its turn.
//!
//! On an idle queue, one exchange takes the drain right with a node on the caller's stack, and one
//! exchange gives the right back. On a busy queue, the closure itself is pushed, by pointer, as a
//! [`Waiting`]. Then one of three things happens:
//!
//! - A worker that drains the queue runs the closure.
//! - A thread that leaves its own `sync` runs the closure, if that thread is in no block. It does
//!   this for a few closures and a limited time ("flat combining", Hendler, Incze, Shavit and
//!   Tzafrir, 2010). With eight threads that contend, a `sync` takes 36 ns then, instead of the
//!   3,500 ns of waking one thread after the other. With four it is 19 ns instead of 30 (2 cores).
//! - Otherwise the thread that leaves hands the queue over, and the waiting thread runs its closure
//!   itself.
//!
//! So the closure must be `Send`. It never runs in the middle of a block, on the thread of a main
//! queue, or inside a `try_sync`: it might wait for a queue that this thread is in.

use std::panic::{Location, resume_unwind};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use super::core::QueueCore;
use super::current;
use super::waiting::Waiting;
use crate::base::block::{self, Kind, Node, VTable};
use crate::base::catch::{self, Payload};
use crate::base::handoff::Ended;
use crate::base::sync::now;
use crate::pool::Place;

/// The maximum number of closures of other threads that a thread runs before it hands the queue
/// over.
const HELPS: u32 = 64;
/// The time limit for the same, which applies after two closures.
const HELPS_FOR: Duration = Duration::from_micros(50);

impl QueueCore {
    /// Takes the queue, if it is on the pool and idle. On drop, this thread may run closures of
    /// other threads, if it `helps`.
    #[inline]
    pub(super) fn try_hold<'a>(&'a self, node: &'a Holder, helps: bool) -> Option<Hold<'a>> {
        (self.target.is_pool() && self.state.is_clear() && self.takes(node)).then(|| Hold { core: self, node, helps })
    }

    #[inline]
    fn takes(&self, node: &Holder) -> bool {
        // SAFETY: the node stays until `Hold` is dropped, which unlinks it.
        unsafe { self.mail.try_hold(NonNull::from(&node.0)) }
    }

    /// Takes this queue and every level above it, if all are idle or have room, and runs `f`.
    pub(super) fn hold_chain(&self, site: &'static Location<'static>, f: &mut dyn FnMut()) -> bool {
        let node = Holder::new(site);
        if !self.state.is_clear() || !self.takes(&node) {
            return false;
        }
        let _hold = Hold { core: self, node: &node, helps: false };
        self.target.hold(site, f)
    }

    /// Runs `f` in the queue, at once or when its turn comes, here or on another thread.
    pub(super) fn wait_in_line(&self, site: &'static Location<'static>, f: &mut (dyn FnMut() + Send)) {
        if self.hold_chain(site, f) {
            return;
        }
        let mut panic = None;
        let mut body = || panic = catch::catch(&mut *f).err();
        // SAFETY: `body` is not touched until the wait has ended, and nothing unwinds past the
        // wait.
        let waiting = unsafe { Waiting::on_stack(Some(&mut body), false, site) };
        let node = NonNull::from(waiting.node());
        let wait = || {
            self.help_until(|| waiting.is_over());
            waiting.wait()
        };
        // SAFETY: the node stays on this stack until the wait has ended. It may be sent: `f` is
        // `Send`.
        let ended = catch::never_unwinds(|| unsafe { self.push_urgently(node, wait) });
        match ended {
            Ended::Turn => {
                let _turn = Turn { core: self, node };
                body();
            }
            Ended::Ran => {}
            Ended::Dropped | Ended::Late => panic!(
                "sync on {:?} at {site}: the queue was busy, and its runtime was shut down before the closure could run",
                self.label()
            ),
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

/// The node of a thread that holds a queue itself, on its stack. It is never run.
pub(super) struct Holder(Node);

impl Holder {
    #[inline]
    pub(super) fn new(site: &'static Location<'static>) -> Self {
        Self(Node::new(&HOLDER, site))
    }
}

static HOLDER: VTable = VTable {
    kind: Kind::Holder,
    run: holder_does_not_run,
    finish: holder_does_not_finish,
    discard: holder_is_not_discarded,
    label: block::no_label,
};

unsafe fn holder_does_not_run(_: NonNull<Node>) -> Option<Payload> {
    unreachable!("the thread that holds a queue unlinks its node itself")
}

unsafe fn holder_does_not_finish(_: NonNull<Node>) {
    unreachable!("the thread that holds a queue unlinks its node itself")
}

unsafe fn holder_is_not_discarded(_: NonNull<Node>) -> u64 {
    unreachable!("the thread that holds a queue unlinks its node itself")
}

/// The drain right, held by a thread for one closure. Released on drop, also when the closure
/// panics.
pub(super) struct Hold<'a> {
    core: &'a QueueCore,
    node: &'a Holder,
    /// The thread may run closures of other threads before it goes on.
    helps: bool,
}

impl Drop for Hold<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we hold the drain right since `try_hold`, and our node is the front.
        unsafe {
            if let Some(next) = self.core.mail.let_go(NonNull::from(&self.node.0)) {
                settle(self.core, next, self.helps);
            }
        }
    }
}

/// As [`Hold`], for a thread that waited for its turn.
struct Turn<'a> {
    core: &'a QueueCore,
    node: NonNull<Node>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // SAFETY: we have the drain right since our turn came, and our node is the front.
        unsafe {
            match self.core.mail.unlink(self.node) {
                Some(next) => settle(self.core, next, true),
                // The queue was counted by the thread that pushed behind the first holder that
                // passed the right on.
                None => self.core.pool().waited_outside(),
            }
        }
    }
}

/// Releases a queue in which other threads wait. If this thread is in no block, it runs some of
/// their closures. Then the next thread gets its turn, or the queue is scheduled.
///
/// A closure of another thread never runs in the middle of a block, nor on the thread of a main
/// queue, nor for a caller with a time limit: it might wait for a queue that this thread is in.
///
/// # Safety
/// The caller has the drain right, `node` is the front, and the pool counts the queue as outside.
#[cold]
unsafe fn settle(core: &QueueCore, mut node: NonNull<Node>, helps: bool) {
    let mut limit = Limit::default();
    let mut helps = helps && core.target.is_pool() && current::is_free();
    // SAFETY: the drain right is ours until the mailbox closes, another thread has its turn, or the
    // queue is scheduled.
    unsafe {
        while node.as_ref().vtable.kind == Kind::Sync && core.target.is_pool() && core.state.is_clear() {
            if !helps {
                core.mail.set_front(node);
                if Waiting::give_turn(node) {
                    return;
                }
                break;
            }
            let next = {
                let frame = core.frame();
                let _inside = frame.enter();
                core.run_front(node)
            };
            match next {
                Some(next) => node = next,
                None => return core.pool().waited_outside(),
            }
            helps = limit.allows_another();
        }
        core.mail.set_front(node);
        // The handle of this thread keeps the queue.
        core.schedule(Place::Next);
        core.pool().waited_outside();
    }
}

/// The amount of work that a thread does for others.
#[derive(Default)]
struct Limit {
    ran: u32,
    since: Option<Instant>,
}

impl Limit {
    fn allows_another(&mut self) -> bool {
        self.ran += 1;
        // Reading the clock costs as much as a short closure. So it is read after the first
        // closure, the second, and then ever more rarely.
        if !self.ran.is_multiple_of(8) && !self.ran.is_power_of_two() {
            return true;
        }
        let now = now();
        self.ran < HELPS && now.duration_since(*self.since.get_or_insert(now)) < HELPS_FOR
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_helps_a_number_of_times_and_for_a_time() {
        let helps = || {
            let mut limit = Limit::default();
            (0..10 * HELPS).take_while(|_| limit.allows_another()).count()
        };
        // A thread that loses its core between two closures has helped for long enough.
        assert!((0..100).any(|_| helps() == HELPS as usize - 1), "so many in all, the first one included");
        let long_ago = now().checked_sub(HELPS_FOR).expect("the clock began before");
        assert!(!Limit { ran: 7, since: Some(long_ago) }.allows_another(), "the time is over");
        assert!(Limit { ran: 8, since: Some(long_ago) }.allows_another(), "the clock is not read each time");
        assert!(Limit { ran: 0, since: None }.allows_another());
    }
}
