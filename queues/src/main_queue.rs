//! A serial queue that one thread drains: the main thread of a program with windows, between the frames it draws.
//!
//! [`MainQueue`] is the owner: it stays on its thread, runs blocks there ([`run`](MainQueue::run), or
//! [`drain`](MainQueue::drain) from a foreign event loop) and keeps values that live only there ([`Local`]).
//! [`MainHandle`] is what all threads have. Its parts: `inbox` (who waits, and the one wake per burst), `entry` (one thing
//! that waits), `place` (the main thread's half), `budget`, `handle`, `local`.
//!
//! Not for: workers and the pool (`queue`): the runtime never runs a block of a main queue, and a main queue needs no
//! runtime, but for timers.

mod budget;
mod entry;
mod handle;
pub(crate) mod inbox;
mod local;
mod place;

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::catch;
use crate::runtime::Runtime;

pub use self::budget::Budget;
use self::handle::Shared;
pub use self::handle::{MainHandle, MainStats};
pub use self::local::Local;
use self::place::Place;

/// A serial queue whose blocks run on the thread that made it, when that thread says so.
///
/// It cannot leave that thread; every other thread has a [`MainHandle`]. Two ways to run it:
///
/// A thread that does nothing else calls [`run`](Self::run):
/// ```
/// use singletrack_queues::{MainQueue, Queue};
///
/// let main = MainQueue::new("main");
/// let handle = main.handle();
/// Queue::new("work").submit(move || {
///     let result = 6 * 7;
///     handle.submit(move || println!("on the main thread: {result}"));
///     handle.stop();
/// });
/// main.run();
/// ```
///
/// A thread with an event loop gives a callback that makes the loop come round, and [drains](Self::drain) when it does:
/// ```
/// use singletrack_queues::{Budget, MainQueue};
/// use std::{sync::mpsc, time::Duration};
///
/// let (proxy, events) = mpsc::channel();               // the loop of some toolkit, and its way in
/// let main = MainQueue::new("main");
/// main.set_wake(move || proxy.send("user event").unwrap_or_default());
/// main.handle().submit(|| println!("on the main thread"));
/// main.handle().submit(|| println!("and so is this"));
///
/// while let Ok(event) = events.try_recv() {            // one event, though two blocks came
///     assert_eq!(event, "user event");
///     // At most 4 ms of this frame; if more waits, the callback is called again.
///     main.turn(Budget::time(Duration::from_millis(4)));
/// }
/// assert_eq!(main.handle().stats().ran, 2);
/// ```
///
/// With the common toolkits each side is one line. `4 ms` stands for `Budget::time(Duration::from_millis(4))`:
///
/// | toolkit | in the callback, on any thread | on the main thread |
/// |---|---|---|
/// | egui (eframe) | `context.request_repaint()` | in `App::logic`: `main.turn(4 ms);` |
/// | winit | `proxy.send_event(Woken)` | in `user_event`: `main.turn(4 ms);` |
/// | glib, GTK | `glib::timeout_add_once(16 ms, move \|\| { handle.turn(4 ms); })` | nothing: the closure [is the turn](MainHandle::turn) |
/// | slint | `slint::invoke_from_event_loop(move \|\| { handle.turn(4 ms); })` | nothing, as above |
///
/// The callback must post and return. One that runs its closure at once when it is on the main thread already, as glib's
/// `MainContext::invoke` does, would run blocks in the middle of the code that submits. Where the turn is part of a frame, or
/// a frame away, a whole burst needs one wake; with glib's `idle_add_once` the first block of it runs sooner, and a wake is
/// needed for every few blocks. Whole programs: `examples/desktop` in the repository.
///
/// Nothing bounds what waits. A worker that can be faster than the window waits now and then, after some thousand blocks,
/// for one of its own, `handle.call(|| ()).wait()`: then little memory is used and what is shown is never old. An error there
/// says that the window is gone.
///
/// Dropping it drops the blocks that did not run, logged and counted, then the values that live on it; from then on
/// blocks are refused, and threads that wait in [`MainHandle::sync`] are let go.
///
/// It is bound to its thread:
/// ```compile_fail
/// let main = singletrack_queues::MainQueue::new("main");
/// std::thread::spawn(move || main.run());
/// ```
/// also by reference, and its blocks come from anywhere, so they must be `Send`:
/// ```compile_fail
/// let main = singletrack_queues::MainQueue::new("main");
/// std::thread::scope(|scope| { scope.spawn(|| main.run()); });
/// ```
/// ```compile_fail
/// let main = singletrack_queues::MainQueue::new("main");
/// let not_send = std::rc::Rc::new(1);
/// main.handle().submit(move || drop(not_send));
/// ```
pub struct MainQueue {
    place: Rc<Place>,
}

impl MainQueue {
    /// Makes a queue that this thread will drain.
    #[must_use]
    pub fn new(label: impl Into<Cow<'static, str>>) -> Self {
        Self { place: Place::new(Shared::new(label.into(), None)) }
    }

    /// As [`new`](Self::new), with the runtime that keeps the time for [`MainHandle::submit_after`] instead of the default
    /// one.
    #[must_use]
    pub fn with_runtime(label: impl Into<Cow<'static, str>>, runtime: &Runtime) -> Self {
        Self { place: Place::new(Shared::new(label.into(), Some(runtime.clone()))) }
    }

    /// The name that it was given.
    #[must_use]
    pub fn label(&self) -> &str {
        self.place.shared.label()
    }

    /// What other threads need. May be cloned and sent.
    #[must_use]
    pub fn handle(&self) -> MainHandle {
        MainHandle { shared: self.place.shared.clone() }
    }

    /// Sets what makes a foreign event loop come round to [`drain`](Self::drain), in place of what was set before.
    ///
    /// Called once per burst: when something is submitted and no turn is owed already, on the thread that submits, without
    /// a lock of ours held. It should do no more than post an event. A turn is owed until one returns `false`. If one is
    /// owed now, `wake` is called at once. A panic of it is logged and goes no further.
    pub fn set_wake<F: Fn() + Send + Sync + 'static>(&self, wake: F) {
        let label = self.place.shared.label().to_owned();
        self.place.shared.inbox.set_wake(Arc::new(move || {
            if let Err(payload) = catch::catch(&wake) {
                log::error!("the wake callback of main queue \"{label}\" panicked: {}", catch::message(&*payload));
                catch::drop_quietly(payload);
            }
        }));
    }

    /// One turn: runs what waits now, in order, within `budget`. `true`: more waits, and no wake comes for it, so come back
    /// ([`turn`](Self::turn) asks for that itself).
    ///
    /// Blocks that are submitted meanwhile, also by the blocks that run, wait for the next turn: a block that submits
    /// itself again cannot hold the thread. In a block of this queue, that is in an event loop within an event loop, it
    /// does nothing and returns `false`: nothing ever runs in the middle of a block.
    #[must_use = "if more waits no wake comes for it: come back, or use `turn`"]
    pub fn drain(&self, budget: Budget) -> bool {
        self.place.turn(budget, false)
    }

    /// As [`drain`](Self::drain); if more waits, the wake callback is called again, so that the loop comes back after it
    /// dealt with its own events.
    pub fn turn(&self, budget: Budget) -> bool {
        self.place.turn_and_ask(budget)
    }

    /// Runs blocks, and sleeps when there are none, until [`MainHandle::stop`]: what was submitted before that still runs.
    ///
    /// It may be called again after that, and goes on with what was submitted since.
    ///
    /// # Panics
    /// When called in a block of this queue: it would never return to that.
    pub fn run(&self) {
        assert!(
            !self.place.is_draining(),
            "run was called in a block of main queue \"{}\", which is being run already: return from the block instead",
            self.label(),
        );
        let inbox = &self.place.shared.inbox;
        loop {
            let more = self.place.turn(Budget::ALL, true);
            if self.place.is_stopped() {
                inbox.stopped();
                if more {
                    inbox.wake_again();
                }
                return;
            }
            inbox.wait();
        }
    }

    /// Was it [asked to stop](MainHandle::stop), and did all that was submitted before run? For loops that drain.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.place.is_stopped()
    }
}

impl MainHandle {
    /// As [`MainQueue::turn`], for code on the main thread that has a handle only: most toolkits take a closure from any
    /// thread and run it on their own, and such a closure must be `Send`, which the queue is not.
    ///
    /// When the queue was dropped it does nothing and returns `false`: the toolkit may come with a closure that it had kept.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// type Job = Box<dyn FnOnce() + Send>;
    /// let (invoke_on_main, jobs) = mpsc::channel::<Job>();    // the loop of some toolkit, which runs closures
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// main.set_wake(move || {
    ///     let handle = handle.clone();
    ///     let turn = move || { handle.turn(Budget::time(Duration::from_millis(4))); };
    ///     invoke_on_main.send(Box::new(turn)).unwrap_or_default();
    /// });
    /// main.handle().submit(|| println!("on the main thread"));
    ///
    /// while let Ok(job) = jobs.try_recv() {
    ///     job();
    /// }
    /// assert_eq!(main.handle().stats().ran, 1);
    /// ```
    ///
    /// # Panics
    /// On another thread than the main one.
    pub fn turn(&self, budget: Budget) -> bool {
        assert!(
            self.is_main_thread(),
            "turn of main queue \"{}\" was called on another thread, where its blocks must not run: have the toolkit run it \
             on the main thread, or submit",
            self.label(),
        );
        Place::of(&self.shared).is_some_and(|place| place.turn_and_ask(budget))
    }
}

impl Drop for MainQueue {
    fn drop(&mut self) {
        self.place.close();
    }
}

impl fmt::Debug for MainQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MainQueue").field("label", &self.label()).finish_non_exhaustive()
    }
}
