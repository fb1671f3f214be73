//! Which queues is this thread in right now? A chain of frames on the thread's stack.
//!
//! A drain, a `sync` and a reader of a concurrent queue each push a frame for as long as they run blocks. Asked only when
//! somebody wants to know, or before a wait: the fast paths never walk it.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

use super::core::QueueCore;

thread_local! {
    static INNERMOST: Cell<*const Frame> = const { Cell::new(ptr::null()) };
}

/// One level of "this thread runs blocks of".
#[derive(Debug)]
pub(crate) struct Frame {
    place: Place,
    outer: *const Frame,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// A serial queue, and with it all its targets.
    Serial(*const QueueCore),
    /// A concurrent queue, by address; alone in it (a barrier) or not.
    Concurrent(*const (), bool),
}

/// Ends the frame when it is dropped.
pub(crate) struct Inside<'a> {
    before: *const Frame,
    /// Neither outlives the frame nor leaves the thread.
    _frame: PhantomData<(&'a Frame, *const ())>,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        INNERMOST.set(self.before);
    }
}

impl Frame {
    pub(super) fn serial(core: *const QueueCore) -> Self {
        Self { place: Place::Serial(core), outer: INNERMOST.get() }
    }

    /// As `serial`, hiding what the thread was in before: for a block of another thread that runs here only by chance.
    pub(super) fn serial_alone(core: *const QueueCore) -> Self {
        Self { place: Place::Serial(core), outer: ptr::null() }
    }

    /// In a concurrent queue, known by its address.
    pub(crate) fn concurrent(queue: *const (), alone: bool) -> Self {
        Self { place: Place::Concurrent(queue, alone), outer: INNERMOST.get() }
    }

    /// Makes this the innermost frame until the result is dropped.
    pub(crate) fn enter(&self) -> Inside<'_> {
        Inside { before: INNERMOST.replace(self), _frame: PhantomData }
    }
}

fn frames() -> impl Iterator<Item = Place> {
    let mut frame = INNERMOST.get();
    std::iter::from_fn(move || {
        // SAFETY: frames lie on this thread's stack, and `Inside` takes each out before it ends.
        let this = unsafe { frame.as_ref() }?;
        frame = this.outer;
        Some(this.place)
    })
}

/// Is this thread in a block of `core`, or of a queue that targets it?
pub(super) fn is_inside(core: &QueueCore) -> bool {
    frames().any(|place| match place {
        // SAFETY: a queue whose block runs is alive, and it keeps its targets alive.
        Place::Serial(inside) => unsafe { &*inside }.chain().any(|queue| ptr::eq(queue, core)),
        Place::Concurrent(..) => false,
    })
}

/// What `f` makes of the queue whose block this thread runs: the innermost alone, if that is a serial one.
pub(super) fn with_current<R>(f: impl FnOnce(&QueueCore) -> R) -> Option<R> {
    match frames().next()? {
        // SAFETY: as in `is_inside`.
        Place::Serial(inside) => Some(f(unsafe { &*inside })),
        Place::Concurrent(..) => None,
    }
}

/// Is this thread in a block of any queue at all?
pub(super) fn is_anywhere() -> bool {
    frames().next().is_some()
}

/// The label of a queue that this thread is in, and that `core` cannot run without: the queue itself, a queue up its
/// target chain, or one that shares a target with it.
pub(super) fn blocks_on(core: &QueueCore) -> Option<String> {
    frames().find_map(|place| match place {
        Place::Serial(inside) => {
            // SAFETY: as in `is_inside`.
            let inside = unsafe { &*inside };
            let shared = inside.chain().any(|mine| core.chain().any(|theirs| ptr::eq(mine, theirs)));
            shared.then(|| inside.label().to_owned())
        }
        Place::Concurrent(..) => None,
    })
}

/// Is this thread in a block of the concurrent queue at `queue`? `Some(true)`: in a barrier.
pub(crate) fn concurrent(queue: *const ()) -> Option<bool> {
    frames().find_map(|place| match place {
        Place::Concurrent(inside, alone) if ptr::eq(inside, queue) => Some(alone),
        _ => None,
    })
}
