//! A closure erased to one pointer, with its link inside. It is run or dropped exactly once.
//!
//! Everything that a queue or the pool can hold is a [`Node`]: a one-shot block, a thread that
//! waits in `sync`, a queue (whose run is its drain), a source. A node begins with the link, the
//! table of functions and the place that submitted it. Only the table knows what follows. A block
//! costs one allocation, the others none. Not for: order and exclusion (`mailbox`), threads
//! (`pool`).

pub(crate) mod chunk;

use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::{self, NonNull};

use crate::base::catch::{self, Payload};
use crate::base::memory;
use crate::base::sync::atomic::AtomicPtr;

/// The head of every runnable.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Node {
    /// The next node in a [`Mailbox`](crate::base::mailbox::Mailbox). Null while the node is in
    /// none, or last.
    pub(crate) next: AtomicPtr<Node>,
    pub(crate) vtable: &'static VTable,
    /// The place that submitted the block, or made the queue or source.
    pub(crate) site: &'static Location<'static>,
}

/// The way in which a drain treats a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Run, unlink, finish. On a concurrent queue: beside its neighbours.
    Once,
    /// Like `Once`; on a concurrent queue: alone.
    Barrier,
    /// Like `Once`, for a thread that waits: the thread that releases the queue may run it.
    Sync,
    /// Like `Sync`; on a concurrent queue: alone.
    SyncBarrier,
    /// Manages itself. It may be pushed again while it runs (a queue, a source): detached first,
    /// then run.
    Lane,
    /// A thread that holds the queue itself. It is never run.
    Holder,
    /// The last node of a queue: the queue is freed there.
    Last,
}

/// The functions of one kind of node. Each takes the pointer that was made for it, and is called at
/// most once per push.
#[derive(Debug)]
pub(crate) struct VTable {
    pub(crate) kind: Kind,
    /// Runs the node. Returns the panic, if no thread waits for it. The node stays allocated.
    pub(crate) run: Run,
    /// Called after `run`, once the node is in no list. Frees the node, or wakes the thread that
    /// waits. The pointer is dead afterwards.
    pub(crate) finish: unsafe fn(NonNull<Node>),
    /// Called instead of `run` and `finish`. Drops the node unrun, and returns how many blocks were
    /// dropped with it.
    pub(crate) discard: Discard,
    /// The label of a lane. Empty for others. Valid as long as the node.
    pub(crate) label: unsafe fn(NonNull<Node>) -> *const str,
}

/// Runs a node, see [`VTable::run`].
pub(crate) type Run = unsafe fn(NonNull<Node>) -> Option<Payload>;

/// Drops the contents of a lane, for the holder of its drain right. Returns the number of blocks.
pub(crate) type Discard = unsafe fn(NonNull<Node>) -> u64;

impl VTable {
    /// The table of a lane without a label. Its memory does not end with its run, or it frees
    /// itself.
    pub(crate) const fn lane(run: Run, discard: Discard) -> Self {
        Self { kind: Kind::Lane, run, finish: nothing_to_finish, discard, label: no_label }
    }
}

impl Node {
    pub(crate) fn new(vtable: &'static VTable, site: &'static Location<'static>) -> Self {
        Self { next: AtomicPtr::new(ptr::null_mut()), vtable, site }
    }
}

/// A runnable for the pool: a lane with something to run, or a one-shot block. It has exactly one
/// holder at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runnable(pub(crate) NonNull<Node>);

// SAFETY: a runnable is made only of nodes whose content is `Send` (the constructors of blocks,
// queues and sources demand it), and the thread that takes it out of the pool is its only holder.
unsafe impl Send for Runnable {}

/// A node that has not run yet, and its one owner. Dropping it discards the node.
pub(crate) struct Owned(Runnable);

impl Owned {
    /// # Safety
    /// `node` is in no list, and the caller gives it up: it is run or discarded by this owner
    /// alone. Its content may be sent to another thread.
    pub(crate) unsafe fn new(node: NonNull<Node>) -> Self {
        Self(Runnable(node))
    }

    fn node(&self) -> NonNull<Node> {
        self.0.0
    }

    /// The place that submitted it.
    pub(crate) fn site(&self) -> &'static Location<'static> {
        // SAFETY: the node is not finished yet.
        unsafe { self.node().as_ref() }.site
    }

    /// Runs the node and returns its panic, if no thread waits for that.
    pub(crate) fn run(self) -> Option<Payload> {
        let node = ManuallyDrop::new(self).node();
        // SAFETY: this is the node's one owner (it is not `Clone`), and is gone: the node runs
        // once, then is finished once.
        unsafe {
            let vtable = node.as_ref().vtable;
            let payload = (vtable.run)(node);
            (vtable.finish)(node);
            payload
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let node = self.node();
        // SAFETY: the node's one owner drops it: it did not run (`run` forgets its owner) and never
        // will.
        unsafe { (node.as_ref().vtable.discard)(node) };
    }
}

/// Runs a node of the kind [`Lane`](Kind::Lane).
///
/// # Safety
/// As for [`VTable::run`].
#[inline]
pub(crate) unsafe fn run_lane(node: NonNull<Node>) {
    // SAFETY: the caller's promise.
    let none = unsafe { (node.as_ref().vtable.run)(node) };
    debug_assert!(none.is_none(), "lanes report their panics themselves");
    // There is nothing to drop. Without this, the drop would check.
    std::mem::forget(none);
}

/// No label: for nodes that are no queue.
///
/// # Safety
/// None needed; the signature is the table's.
pub(crate) unsafe fn no_label(_: NonNull<Node>) -> *const str {
    ""
}

unsafe fn nothing_to_finish(_: NonNull<Node>) {}

/// A one-shot block. `BARRIER` says what it is to a concurrent queue, and `IN_CHUNK` where its
/// memory is from.
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

    /// # Safety
    /// `node` is the head of a `Self`; called once.
    #[inline]
    unsafe fn take_body(node: NonNull<Node>) -> F {
        // SAFETY: the closure is there, and only this moves it out. No reference to the block:
        // pushers store to `next`.
        ManuallyDrop::into_inner(unsafe { (&raw mut (*node.cast::<Self>().as_ptr()).body).read() })
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the table promises one call, of `run` or of `discard`.
        let body = unsafe { Self::take_body(node) };
        catch::catch(body).err()
    }

    unsafe fn finish(node: NonNull<Node>) {
        // SAFETY: `block_behind` took the memory with this size, or `boxed` made it. It is in no
        // list, and nothing else has the pointer. The closure is gone.
        unsafe {
            if IN_CHUNK {
                chunk::give_back(node.cast(), size_of::<Self>());
            } else {
                memory::free(node.cast::<Self>());
            }
        }
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `run`, which was not called and never will be.
        let body = unsafe { Self::take_body(node) };
        catch::drop_quietly(body);
        // SAFETY: the closure was taken, the node is in no list.
        unsafe { Self::finish(node) };
        1
    }
}

#[inline]
fn boxed<F: FnOnce() + Send + 'static, const BARRIER: bool>(
    body: F,
    site: &'static Location<'static>,
) -> NonNull<Node> {
    memory::boxed(Block::<F, BARRIER, false>::new(body, site)).cast()
}

/// A one-shot block, with its one allocation.
#[inline]
pub(crate) fn block<F: FnOnce() + Send + 'static>(body: F, site: &'static Location<'static>) -> NonNull<Node> {
    boxed::<F, false>(body, site)
}

/// A one-shot block that a concurrent queue runs alone.
pub(crate) fn barrier<F: FnOnce() + Send + 'static>(body: F, site: &'static Location<'static>) -> NonNull<Node> {
    boxed::<F, true>(body, site)
}

/// As [`block`], for the queue at the address `queue`, in which other blocks wait already. It is
/// placed beside the blocks of this thread, if it fits.
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
