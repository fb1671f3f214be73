//! The queues that this thread is in right now: a chain of frames on its stack.
//!
//! A drain, a `sync` and a block of a concurrent queue each push a frame for as long as they run
//! blocks. The chain is walked only for a question such as `is_current`, or before a wait. The fast
//! paths never walk it.
//!
//! A thread in a block of a queue is in all of that queue's targets too: alone in the serial ones,
//! beside others in the concurrent ones. A barrier is alone in its own queue.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

use super::level::Level;
#[cfg(queues_loom)]
use crate::base::sync::CellKey as _;
use crate::base::sync::thread_local;
use crate::pool;

thread_local! {
    static INNERMOST: Cell<*const Frame> = const { Cell::new(ptr::null()) };
    /// The number of main queues that this thread has.
    static MAIN_QUEUES: Cell<usize> = const { Cell::new(0) };
}

/// One level of "this thread runs blocks of ...".
#[derive(Debug)]
pub(crate) struct Frame {
    place: Place,
    outer: *const Frame,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// A queue in which this thread is alone: any serial one, and another one in a barrier.
    Alone(*const dyn Level),
    /// A concurrent queue, beside others.
    Beside(*const dyn Level),
    /// No queue, but something that is waited for as a whole, such as a group that this thread
    /// works for as a member. Identified by its address.
    Part(*const ()),
    /// No queue, but the thread of a main queue that runs a closure of another thread.
    Main,
}

/// Ends the frame on drop.
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
    /// The frame of a block of a serial queue, or of a barrier.
    #[inline]
    pub(super) fn alone(queue: *const dyn Level) -> Self {
        Self { place: Place::Alone(queue), outer: INNERMOST.get() }
    }

    /// The frame of a block of a concurrent queue.
    #[inline]
    pub(super) fn beside(queue: *const dyn Level) -> Self {
        Self { place: Place::Beside(queue), outer: INNERMOST.get() }
    }

    /// For something that others wait for as a whole: a task, a work item, a member of a group, or
    /// the maker of a value.
    #[inline]
    pub(crate) fn part_of<T>(whole: *const T) -> Self {
        Self { place: Place::Part(whole.cast()), outer: INNERMOST.get() }
    }

    /// Makes this the innermost frame until the result is dropped.
    pub(crate) fn enter(&self) -> Inside<'_> {
        Inside { before: INNERMOST.replace(self), _frame: PhantomData }
    }
}

/// Leaves the innermost frame before its `Inside` is dropped, which then does nothing. For a drain
/// whose queue is about to end.
pub(super) fn leave() {
    // SAFETY: as in `frames`.
    if let Some(frame) = unsafe { INNERMOST.get().as_ref() } {
        INNERMOST.set(frame.outer);
    }
}

/// May this thread run blocks while it waits, or closures of threads that wait for it? It may if it
/// is in no block of a queue or of the pool, is not bound to a main queue, and does not unwind.
/// (Closures would find themselves `panicking`.)
pub(super) fn is_free() -> bool {
    INNERMOST.get().is_null() && MAIN_QUEUES.get() == 0 && !pool::is_worker_here() && !std::thread::panicking()
}

/// Marks this thread as having a main queue, until this is dropped.
pub(crate) struct OnMainThread(PhantomData<*const ()>);

impl OnMainThread {
    pub(crate) fn begin() -> Self {
        MAIN_QUEUES.set(MAIN_QUEUES.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for OnMainThread {
    fn drop(&mut self) {
        MAIN_QUEUES.set(MAIN_QUEUES.get() - 1);
    }
}

/// The innermost frame of a waiting thread, for other threads that do a part of its work meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Whereabouts(*const Frame);

impl Whereabouts {
    #[inline]
    pub(crate) fn here() -> Self {
        Self(INNERMOST.get())
    }

    /// Until the result is dropped, this thread is in the frames of the other thread, instead of
    /// its own.
    ///
    /// # Safety
    /// The other thread leaves none of these frames before the result is dropped.
    pub(crate) unsafe fn enter<'a>(self) -> Inside<'a> {
        Inside { before: INNERMOST.replace(self.0), _frame: PhantomData }
    }

    /// Runs `f` as the waiting thread would have run it. During the call this thread is in the
    /// queue whose block it runs, and beyond that in the frames of the waiting thread, instead of
    /// its own.
    ///
    /// # Safety
    /// As for [`enter`](Self::enter), until `f` has returned.
    pub(super) unsafe fn lend<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: as in `frames`.
        let place = unsafe { INNERMOST.get().as_ref() }.map_or(Place::Main, |innermost| innermost.place);
        let frame = Frame { place, outer: self.0 };
        let _inside = frame.enter();
        f()
    }
}

impl Place {
    /// The queue, and whether this thread is alone in it.
    ///
    /// # Safety
    /// The place is one of this thread's frames, and the result is not used after that frame.
    unsafe fn level<'a>(self) -> Option<(&'a dyn Level, bool)> {
        let (level, alone) = match self {
            Self::Alone(level) => (level, true),
            Self::Beside(level) => (level, false),
            Self::Part(_) | Self::Main => return None,
        };
        // SAFETY: a queue whose block runs is alive, and it keeps its targets alive.
        Some((unsafe { &*level }, alone))
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

/// The queues among the frames, from the inside out, each with whether this thread is alone in it.
///
/// # Safety
/// The result is not used after this thread has left the blocks that it is in.
unsafe fn queues<'a>() -> impl Iterator<Item = (&'a dyn Level, bool)> {
    // SAFETY: the caller's promise.
    frames().filter_map(|place| unsafe { place.level() })
}

/// Is this thread in a part of `whole`, see [`Frame::part_of`]?
pub(crate) fn is_part_of<T>(whole: *const T) -> bool {
    frames().any(|place| matches!(place, Place::Part(part) if ptr::addr_eq(part, whole)))
}

/// Is this thread in a block of `level`, or of a queue that targets it? `Some(true)`: alone in it.
pub(crate) fn entered(level: &dyn Level) -> Option<bool> {
    // SAFETY: used within this call.
    unsafe { queues() }.find_map(|(inside, alone)| {
        let depth = inside.chain().position(|mine| mine.is(level))?;
        Some(level.is_serial() || depth == 0 && alone)
    })
}

/// Is this thread in a barrier of `level`?
pub(super) fn is_barrier_of(level: &dyn Level) -> bool {
    // SAFETY: used within this call.
    unsafe { queues() }.any(|(inside, alone)| alone && inside.is(level))
}

/// Calls `f` with the queue whose block this thread runs: the innermost one only.
pub(super) fn with_current<R>(f: impl FnOnce(&dyn Level) -> R) -> Option<R> {
    let place = frames().find(|place| !matches!(place, Place::Part(_)))?;
    // SAFETY: this is called in a block of it, which lasts.
    unsafe { place.level() }.map(|(level, _)| f(level))
}

/// The label of a queue that this thread is in, and must leave before `level` (or a barrier of it)
/// can go on. That is a serial queue or a barrier that both need, or a block that a barrier has to
/// wait for. Called when `level` cannot be had at once, and this thread would wait.
pub(super) fn blocks_on(level: &dyn Level, barrier: bool) -> Option<String> {
    find_inside(|mine, alone| alone && level.chain().any(|theirs| theirs.is(mine)) || barrier && mine.is(level))
}

/// Must this thread leave a queue before a block of `level`, a barrier or not, can run? As
/// [`blocks_on`], for a block that other threads run. Such a block does not pass a level that this
/// thread is in already, as a `sync` does. So it also needs the one place of a queue of width 1.
pub(super) fn holds_up(level: &dyn Level, barrier: bool) -> bool {
    let needed = |mine: &dyn Level, alone: bool| {
        (alone || mine.has_one_place_taken()) && level.chain().any(|theirs| theirs.is(mine))
            || barrier && mine.is(level)
    };
    find_inside(needed).is_some()
}

/// The label of the innermost queue that this thread is in and for which `needed` returns true, for
/// its own level or a target. `needed` also gets whether the thread is alone in that level.
fn find_inside(needed: impl Fn(&dyn Level, bool) -> bool) -> Option<String> {
    // SAFETY: used within this call.
    unsafe { queues() }.find_map(|(inside, alone)| {
        let needed = |(depth, mine): (usize, &dyn Level)| needed(mine, mine.is_serial() || depth == 0 && alone);
        inside.chain().enumerate().any(needed).then(|| inside.label().to_owned())
    })
}
