//! A closure erased to one pointer with its link inside: run or dropped exactly once.
//!
//! Everything that a queue or the pool can hold is a [`Node`]: a one-shot block, a thread that waits in `sync`, a queue
//! (whose run is its drain), a source. The link, the table of functions and the place that submitted it stand in front;
//! what follows is known to the table alone. One allocation a block, none for the others.
//! Not for: order and exclusion (`mailbox`), threads (`pool`).

pub(crate) mod chunk;

use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::{self, NonNull};

use crate::catch::{self, Payload};
use crate::sync::atomic::AtomicPtr;

/// The head of everything that runs.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Node {
    /// The next in a [`Mailbox`](crate::mailbox::Mailbox); null while it is in none, or last.
    pub(crate) next: AtomicPtr<Node>,
    pub(crate) vtable: &'static VTable,
    /// Who submitted the block, or made the queue or source.
    pub(crate) site: &'static Location<'static>,
}

/// What a drain does with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Run, unlink, finish. On a concurrent queue: together with its neighbours.
    Once,
    /// Like `Once`; on a concurrent queue: alone.
    Barrier,
    /// Like `Once`, for a thread that waits: whoever lets go of the queue may run it.
    Sync,
    /// As `Sync`; on a concurrent queue: alone.
    SyncBarrier,
    /// Looks after itself. May be pushed again while it runs (a queue, a source): detached first, then run.
    Lane,
    /// A thread that holds the queue itself: never run by anybody.
    Holder,
    /// The last node that a queue will ever see: the queue is freed.
    Last,
}

/// The functions of one kind of node. Each takes the pointer that was made for it, and is called at most once per push.
#[derive(Debug)]
pub(crate) struct VTable {
    pub(crate) kind: Kind,
    /// Runs it; a panic that nobody waits for comes back. The node stays allocated.
    pub(crate) run: unsafe fn(NonNull<Node>) -> Option<Payload>,
    /// After `run`, once it is in no list: frees it, or wakes the thread that waits. The pointer is dead afterwards.
    pub(crate) finish: unsafe fn(NonNull<Node>),
    /// Instead of `run` and `finish`: drops it unrun; returns how many blocks were dropped with it.
    pub(crate) discard: unsafe fn(NonNull<Node>) -> u64,
    /// The label of a lane; empty for others. Valid as long as the node.
    pub(crate) label: unsafe fn(NonNull<Node>) -> *const str,
}

/// Drops what a lane holds, for the holder of its drain right; how many blocks.
pub(crate) type Discard = unsafe fn(NonNull<Node>) -> u64;

impl Node {
    pub(crate) fn new(vtable: &'static VTable, site: &'static Location<'static>) -> Self {
        Self { next: AtomicPtr::new(ptr::null_mut()), vtable, site }
    }
}

/// What the pool takes: a lane with something to run, or a one-shot block. Exactly one holder has it at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runnable(pub(crate) NonNull<Node>);

// SAFETY: a runnable is made only of nodes whose content is `Send` (the constructors of blocks, queues and sources demand
// it), and whoever takes it out of the pool is its one holder.
unsafe impl Send for Runnable {}

/// Runs a node of the kind [`Lane`](Kind::Lane).
///
/// # Safety
/// As for [`VTable::run`].
#[inline]
pub(crate) unsafe fn run_lane(node: NonNull<Node>) {
    // SAFETY: the caller's promise.
    let none = unsafe { (node.as_ref().vtable.run)(node) };
    debug_assert!(none.is_none(), "lanes report their panics themselves");
    // Nothing to drop: without this the drop would look.
    std::mem::forget(none);
}

/// No label: for nodes that are not lanes.
///
/// # Safety
/// None needed; the signature is the table's.
pub(crate) unsafe fn no_label(_: NonNull<Node>) -> *const str {
    ""
}

/// Nothing to finish: for nodes whose memory does not end with their run, and those that free it themselves.
///
/// # Safety
/// None needed; the signature is the table's.
pub(crate) unsafe fn nothing_to_finish(_: NonNull<Node>) {}

/// A one-shot block. `BARRIER` tells what it is to a concurrent queue, `IN_CHUNK` where its memory is from.
#[repr(C)]
struct Block<F, const BARRIER: bool, const IN_CHUNK: bool> {
    node: Node,
    body: ManuallyDrop<F>,
}

impl<F: FnOnce() + Send + 'static, const BARRIER: bool, const IN_CHUNK: bool> Block<F, BARRIER, IN_CHUNK> {
    const VTABLE: VTable = VTable {
        kind: if BARRIER { Kind::Barrier } else { Kind::Once },
        run: Self::run,
        finish: Self::finish,
        discard: Self::discard,
        label: no_label,
    };

    fn new(body: F, site: &'static Location<'static>) -> Self {
        Self { node: Node::new(const { &Self::VTABLE }, site), body: ManuallyDrop::new(body) }
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: `node` is the head of a `Self` (repr(C)) made below, and the table promises one call: the closure is
        // there and is moved out here alone.
        let body = unsafe { ManuallyDrop::take(&mut node.cast::<Self>().as_mut().body) };
        catch::catch(body).err()
    }

    unsafe fn finish(node: NonNull<Node>) {
        // SAFETY: `block_behind` took the memory with this size, or `boxed` made it with `Box`; it is in no list and nobody
        // else has the pointer. The closure is gone: `ManuallyDrop` makes this free the memory only.
        unsafe {
            if IN_CHUNK {
                chunk::give_back(node.cast(), size_of::<Self>());
            } else {
                drop(Box::from_raw(node.cast::<Self>().as_ptr()));
            }
        }
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `run`, which was not called and never will be.
        let body = unsafe { ManuallyDrop::take(&mut node.cast::<Self>().as_mut().body) };
        catch::drop_quietly(body);
        // SAFETY: the closure was taken, the node is in no list.
        unsafe { Self::finish(node) };
        1
    }
}

fn boxed<F: FnOnce() + Send + 'static, const BARRIER: bool>(
    body: F,
    site: &'static Location<'static>,
) -> NonNull<Node> {
    NonNull::from(Box::leak(Box::new(Block::<F, BARRIER, false>::new(body, site)))).cast()
}

/// A one-shot block: its one allocation.
pub(crate) fn block<F: FnOnce() + Send + 'static>(body: F, site: &'static Location<'static>) -> NonNull<Node> {
    boxed::<F, false>(body, site)
}

/// A one-shot block that a concurrent queue runs alone.
pub(crate) fn barrier<F: FnOnce() + Send + 'static>(body: F, site: &'static Location<'static>) -> NonNull<Node> {
    boxed::<F, true>(body, site)
}

/// As [`block`], for the queue at the address `queue`, where others wait already: beside those of this thread, if it fits.
#[inline]
pub(crate) fn block_behind<F: FnOnce() + Send + 'static>(
    queue: usize,
    body: F,
    site: &'static Location<'static>,
) -> NonNull<Node> {
    let (size, align) = const { (size_of::<Block<F, false, true>>(), align_of::<Block<F, false, true>>()) };
    if size <= chunk::MOST
        && align <= chunk::ALIGN
        && let Some(place) = chunk::take(queue, size)
    {
        let place = place.cast::<Block<F, false, true>>();
        // SAFETY: fresh memory of that size, aligned.
        unsafe { place.write(Block::new(body, site)) };
        return place.cast();
    }
    block(body, site)
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    struct CountsDrops(Arc<AtomicUsize>);
    impl Drop for CountsDrops {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn sample(ran: &Arc<AtomicUsize>, dropped: &Arc<AtomicUsize>) -> NonNull<Node> {
        let (ran, token) = (ran.clone(), CountsDrops(dropped.clone()));
        block(
            move || {
                let _token = token;
                ran.fetch_add(1, Relaxed);
            },
            Location::caller(),
        )
    }

    #[test]
    fn a_block_is_run_once_and_its_captures_are_dropped_once() {
        let (ran, dropped) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let node = sample(&ran, &dropped);
        // SAFETY: made above, run once, then finished.
        unsafe {
            assert!((node.as_ref().vtable.run)(node).is_none());
            (node.as_ref().vtable.finish)(node);
        }
        assert_eq!((ran.load(Relaxed), dropped.load(Relaxed)), (1, 1));
    }

    #[test]
    fn a_discarded_block_does_not_run_and_frees_its_captures() {
        let (ran, dropped) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let node = sample(&ran, &dropped);
        // SAFETY: made above, discarded instead of run.
        assert_eq!(unsafe { (node.as_ref().vtable.discard)(node) }, 1);
        assert_eq!((ran.load(Relaxed), dropped.load(Relaxed)), (0, 1));
    }

    #[test]
    fn blocks_of_a_busy_queue_run_and_drop_like_others_whatever_their_size() {
        #[repr(align(64))]
        struct Aligned(u8);
        fn each<F: FnOnce() + Send + 'static>(make: impl Fn() -> F) {
            for round in 0..100 {
                let node = block_behind(0x1000, make(), Location::caller());
                // SAFETY: made above; run and finished, or discarded.
                unsafe {
                    if round % 2 == 0 {
                        assert!((node.as_ref().vtable.run)(node).is_none());
                        (node.as_ref().vtable.finish)(node);
                    } else {
                        assert_eq!((node.as_ref().vtable.discard)(node), 1);
                    }
                }
            }
        }
        let (ran, dropped) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let count = || {
            let (ran, token) = (ran.clone(), CountsDrops(dropped.clone()));
            move || {
                let _token = &token;
                ran.fetch_add(1, Relaxed);
            }
        };
        each(count);
        each(|| {
            let (count, large) = (count(), [7_u8; 200]);
            move || {
                assert_eq!(large, [7; 200]);
                count();
            }
        });
        each(|| {
            let (count, aligned) = (count(), Aligned(7));
            move || {
                let aligned = &aligned;
                assert_eq!((std::ptr::from_ref(aligned).addr() % 64, aligned.0), (0, 7));
                count();
            }
        });
        assert_eq!((ran.load(Relaxed), dropped.load(Relaxed)), (150, 300));
    }

    #[test]
    fn a_panic_comes_back_from_run() {
        let node = block(|| panic!("sour"), Location::caller());
        // SAFETY: made above, run once, then finished.
        let payload = unsafe {
            let payload = (node.as_ref().vtable.run)(node);
            (node.as_ref().vtable.finish)(node);
            payload
        };
        assert_eq!(catch::message(&*payload.expect("it panicked")), "sour");
    }
}
