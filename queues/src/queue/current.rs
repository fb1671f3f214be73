//! Which queues is this thread in right now? A chain of frames on the thread's stack.
//!
//! A drain, a `sync` and a block of a concurrent queue each push a frame for as long as they run blocks. Asked only when
//! somebody wants to know, or before a wait: the fast paths never walk it.
//!
//! A thread in a block of a queue is in all of that queue's targets too: alone in the serial ones, beside others in the
//! concurrent ones. A barrier is alone in its own queue.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

use super::concurrent::Body;
use super::core::QueueCore;
use super::target::Level;

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
    Serial(*const QueueCore),
    /// Alone in it (a barrier) or not.
    Concurrent(*const Body, bool),
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

    /// In a concurrent queue, as a barrier or not.
    pub(super) fn concurrent(queue: *const Body, alone: bool) -> Self {
        Self { place: Place::Concurrent(queue, alone), outer: INNERMOST.get() }
    }

    /// Makes this the innermost frame until the result is dropped.
    pub(crate) fn enter(&self) -> Inside<'_> {
        Inside { before: INNERMOST.replace(self), _frame: PhantomData }
    }
}

/// Leaves the innermost frame before its `Inside` is dropped, which then finds it left: for a drain whose queue is about to end.
pub(super) fn leave() {
    // SAFETY: as in `frames`.
    if let Some(frame) = unsafe { INNERMOST.get().as_ref() } {
        INNERMOST.set(frame.outer);
    }
}

/// What a thread is in, for those who do a part of its work elsewhere while it waits for them.
#[derive(Clone, Copy)]
pub(crate) struct Whereabouts(*const Frame);

impl Whereabouts {
    #[inline]
    pub(crate) fn here() -> Self {
        Self(INNERMOST.get())
    }

    /// Until the result is dropped this thread is in what the other one is in, instead of what it was in before.
    ///
    /// # Safety
    /// The other thread leaves nothing of that before the result was dropped.
    pub(crate) unsafe fn enter<'a>(self) -> Inside<'a> {
        Inside { before: INNERMOST.replace(self.0), _frame: PhantomData }
    }
}

impl Place {
    /// # Safety
    /// The place is one of this thread's frames, and the result is not used after that frame.
    unsafe fn level<'a>(self) -> Level<'a> {
        // SAFETY: a queue whose block runs is alive, and it keeps its targets alive.
        unsafe {
            match self {
                Self::Serial(core) => Level::Serial(&*core),
                Self::Concurrent(body, _) => Level::Concurrent(&*body),
            }
        }
    }

    fn is_barrier(self) -> bool {
        matches!(self, Self::Concurrent(_, true))
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

/// Is this thread in a block of `level`, or of a queue that targets it?
pub(super) fn is_inside(level: Level<'_>) -> bool {
    // SAFETY: used at once.
    frames().any(|place| unsafe { place.level() }.chain().any(|mine| mine.is(level)))
}

/// Is this thread in a barrier of `body`?
pub(super) fn is_barrier_of(body: &Body) -> bool {
    // SAFETY: used at once.
    frames().any(|place| place.is_barrier() && unsafe { place.level() }.is(Level::Concurrent(body)))
}

/// What `f` makes of the queue whose block this thread runs: the innermost alone.
pub(super) fn with_current<R>(f: impl FnOnce(Level<'_>) -> R) -> Option<R> {
    // SAFETY: this is called in a block of it, which lasts.
    Some(f(unsafe { frames().next()?.level() }))
}

/// The label of a queue that this thread is in, and that must be left before `level` can go on, for a barrier of it or not: a
/// serial queue or a barrier that both need, or what a barrier has to wait for. To be asked by whoever cannot have `level` at
/// once, and would wait.
pub(super) fn blocks_on(level: Level<'_>, barrier: bool) -> Option<String> {
    find_inside(|mine, alone| alone && level.chain().any(|theirs| theirs.is(mine)) || barrier && mine.is(level))
}

/// The label of the innermost queue that this thread is in with a level, its own or a target, that `needed` says yes to; it is
/// told whether the thread is alone in that.
fn find_inside(needed: impl Fn(Level<'_>, bool) -> bool) -> Option<String> {
    frames().find_map(|place| {
        // SAFETY: used within this call, in a block of it.
        let inside = unsafe { place.level() };
        let needed = |(depth, mine): (usize, Level<'_>)| {
            needed(mine, matches!(mine, Level::Serial(_)) || depth == 0 && place.is_barrier())
        };
        inside.chain().enumerate().any(needed).then(|| inside.label().to_owned())
    })
}

/// What has to be left by others before a block in a queue can run, as addresses: a handle would keep the queue. They say
/// something as long as the block is there.
pub(crate) struct Needs(Box<[usize]>);

impl Needs {
    /// Of a block that is submitted to `level`, if this very thread is in the way.
    pub(super) fn of_this_thread(level: Level<'_>) -> Option<Self> {
        blocks_on(level, false).map(|_| Self(level.chain().map(|level| level.address().addr()).collect()))
    }

    /// Is the calling thread in the way?
    pub(crate) fn wait_for_this_thread(&self) -> bool {
        find_inside(|mine, alone| alone && self.0.contains(&mine.address().addr())).is_some()
    }
}

/// Is this thread in a block of `body`, or of a queue that targets it? `Some(true)`: in its barrier.
pub(super) fn entered(body: &Body) -> Option<bool> {
    frames().find_map(|place| {
        // SAFETY: as in `blocks_on`.
        let depth = unsafe { place.level() }.chain().position(|mine| mine.is(Level::Concurrent(body)))?;
        Some(depth == 0 && place.is_barrier())
    })
}
