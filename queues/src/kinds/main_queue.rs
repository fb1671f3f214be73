//! A serial queue that one thread drains: the main thread of a program with windows, between the
//! frames it draws.
//!
//! [`MainQueue`] is the owner: it stays on its thread, runs blocks there ([`run`](MainQueue::run),
//! or [`drain`](MainQueue::drain) from a foreign event loop) and keeps values that live only there
//! ([`Local`]). All other threads use a [`MainHandle`]. The parts: `inbox` (the waiting entries,
//! and the one wake per burst), `entry` (one waiting entry), `place` (the main thread's half),
//! `budget`, `handle`, `local`.
//!
//! Not for: workers and the pool (`queue`): the runtime never runs a block of a main queue, and a
//! main queue needs a runtime only for timers.

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

use crate::base::catch;
use crate::base::report;
use crate::pool::runtime::Runtime;

pub use self::budget::Budget;
use self::handle::Shared;
pub use self::handle::{MainHandle, MainStats};
pub use self::local::Local;
use self::place::Place;

/// A serial queue whose blocks run on the thread that made it, when that thread runs or drains it.
///
/// It cannot leave that thread; every other thread uses a [`MainHandle`]. There are two ways to run
/// it:
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
/// A thread with an event loop sets a callback that wakes the loop, and [drains](Self::drain) the
/// queue when the loop wakes:
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
/// With the common toolkits, each side is one line. `4 ms` stands for
/// `Budget::time(Duration::from_millis(4))`:
///
/// | toolkit | in the callback, on any thread | on the main thread |
/// |---|---|---|
/// | egui (eframe) | `context.request_repaint()` | in `App::logic`: `main.turn(4 ms);` |
/// | winit | `proxy.send_event(Woken)` | in `user_event`: `main.turn(4 ms);` |
/// | glib, GTK | `glib::timeout_add_once(16 ms, move \|\| { handle.turn(4 ms); })` | nothing: the closure [is the turn](MainHandle::turn) |
/// | slint | `slint::invoke_from_event_loop(move \|\| { handle.turn(4 ms); })` | nothing, as above |
///
/// The callback must post and return. A callback that runs its closure at once if it is on the main
/// thread already, as glib's `MainContext::invoke` does, would run blocks in the middle of the code
/// that submits. If the turn is part of a frame, or a frame away, a whole burst needs one wake.
/// With glib's `idle_add_once` the first block of a burst runs sooner, and every few blocks need a
/// wake. Whole programs: `examples/desktop` in the repository.
///
/// The number of waiting blocks has no bound. A worker that may be faster than the window should
/// wait now and then, after some thousand blocks, for a block of its own, by
/// `handle.call(|| ()).wait()`. Then the queue uses little memory, and the window never shows old
/// data. An error from that wait means that the window is gone.
///
/// Dropping the queue drops the blocks that did not run, logged and counted, and then the values
/// that live on it. From then on blocks are refused, and threads that wait in [`MainHandle::sync`]
/// are released.
///
/// The queue is bound to its thread:
/// ```compile_fail
/// let main = singletrack_queues::MainQueue::new("main");
/// std::thread::spawn(move || main.run());
/// ```
/// This holds for references too, and its blocks come from any thread, so they must be `Send`:
/// ```compile_fail
/// let main = singletrack_queues::MainQueue::new("main");
/// std::thread::scope(|scope| { scope.spawn(|| main.run()); });
/// ```
/// ```compile_fail
/// let main = singletrack_queues::MainQueue::new("main");
/// let not_send = std::rc::Rc::new(1);
/// main.handle().submit(move || drop(not_send));
/// ```
#[doc(alias = "dispatch_get_main_queue")]
#[doc(alias = "_dispatch_runloop_root_queue_create_4CF")]
pub struct MainQueue {
    place: Rc<Place>,
}

impl MainQueue {
    /// Makes a queue that this thread will drain.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    ///
    /// let main = MainQueue::new("main"); // bound to this thread
    /// main.handle().submit(|| println!("on this thread"));
    /// assert!(!main.drain(Budget::ALL), "nothing is left");
    /// ```
    #[must_use]
    pub fn new(label: impl Into<Cow<'static, str>>) -> Self {
        Self { place: Place::new(Shared::new(label.into(), None)) }
    }

    /// Like [`new`](Self::new), but `runtime`, and not the default one, keeps the time for
    /// [`MainHandle::submit_after`].
    ///
    /// ```
    /// use singletrack_queues::{MainQueue, Runtime};
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// let main = MainQueue::with_runtime("main", &runtime);
    /// let handle = main.handle();
    /// main.handle().submit_after(Duration::from_millis(1), move || handle.stop());
    /// main.run();
    /// assert_eq!(main.handle().stats().ran, 1);
    /// ```
    #[must_use]
    pub fn with_runtime(label: impl Into<Cow<'static, str>>, runtime: &Runtime) -> Self {
        Self { place: Place::new(Shared::new(label.into(), Some(runtime.clone()))) }
    }

    /// The queue's name.
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    ///
    /// assert_eq!(MainQueue::new("window").label(), "window");
    /// ```
    #[must_use]
    pub fn label(&self) -> &str {
        self.place.shared.label()
    }

    /// The handle for other threads. It may be cloned and sent.
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    /// use std::thread;
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// thread::spawn(move || {
    ///     handle.submit(|| println!("from another thread"));
    ///     handle.stop();
    /// });
    /// main.run();
    /// ```
    #[must_use]
    pub fn handle(&self) -> MainHandle {
        MainHandle { shared: self.place.shared.clone() }
    }

    /// Sets the callback that makes a foreign event loop call [`drain`](Self::drain). It replaces
    /// the previous callback.
    ///
    /// It is called once per burst: when a block is submitted and no turn is owed already, on the
    /// submitting thread, with no lock of the queue held. It should do no more than post an event.
    /// A turn is owed until one returns `false`. If a turn is owed now, `wake` is called at once. A
    /// panic of `wake` is logged and does not propagate.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    /// use std::sync::mpsc;
    ///
    /// let (post, events) = mpsc::channel();
    /// let main = MainQueue::new("main");
    /// main.set_wake(move || post.send("wake").unwrap_or_default());
    /// main.handle().submit(|| ());
    /// main.handle().submit(|| ());
    /// assert_eq!(events.try_iter().count(), 1, "one event for the burst");
    /// assert!(!main.drain(Budget::ALL));
    /// ```
    #[doc(alias = "_dispatch_get_main_queue_handle_4CF")]
    #[doc(alias = "_dispatch_get_main_queue_port_4CF")]
    #[doc(alias = "_dispatch_runloop_root_queue_wakeup_4CF")]
    pub fn set_wake<F: Fn() + Send + Sync + 'static>(&self, wake: F) {
        let label = self.place.shared.label().to_owned();
        self.place.shared.inbox.set_wake(Arc::new(move || {
            if let Err(payload) = catch::catch(&wake) {
                report::error(format_args!(
                    "the wake callback of main queue {label:?} panicked: {}",
                    catch::message(&*payload)
                ));
                catch::drop_quietly(payload);
            }
        }));
    }

    /// Takes one turn: runs the blocks that wait now, in order, within `budget`. `true`: more
    /// blocks wait, and no wake comes for them, so call this again ([`turn`](Self::turn) asks for
    /// that itself).
    ///
    /// Blocks that are submitted during the turn, including those that the running blocks submit,
    /// wait for the next turn: a block that submits itself again cannot hold the thread. In a block
    /// of this queue, which means in a nested event loop, this does nothing and returns `false`: no
    /// block ever runs in the middle of another.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    ///
    /// let main = MainQueue::new("main");
    /// for line in 0..3 {
    ///     main.handle().submit(move || println!("line {line}"));
    /// }
    /// assert!(main.drain(Budget::blocks(2)), "one more waits");
    /// assert!(!main.drain(Budget::blocks(2)));
    /// ```
    #[must_use = "if more waits no wake comes for it: come back, or use `turn`"]
    pub fn drain(&self, budget: Budget) -> bool {
        self.place.turn(budget, false)
    }

    /// Like [`drain`](Self::drain). If more blocks wait, this calls the wake callback again, so
    /// that the loop comes back after it has handled its own events.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    /// use std::sync::mpsc;
    ///
    /// let (post, events) = mpsc::channel();
    /// let main = MainQueue::new("main");
    /// main.set_wake(move || post.send("wake").unwrap_or_default());
    /// for line in 0..3 {
    ///     main.handle().submit(move || println!("line {line}"));
    /// }
    /// while events.try_recv().is_ok() {
    ///     main.turn(Budget::blocks(1)); // calls the callback while more waits
    /// }
    /// assert_eq!(main.handle().stats().ran, 3);
    /// ```
    #[doc(alias = "_dispatch_main_queue_callback_4CF")]
    #[doc(alias = "_dispatch_runloop_root_queue_perform_4CF")]
    pub fn turn(&self, budget: Budget) -> bool {
        self.place.turn_and_ask(budget)
    }

    /// Runs blocks, and sleeps when there are none, until [`MainHandle::stop`]. Blocks submitted
    /// before that still run.
    ///
    /// It may be called again after that, and continues with the blocks submitted since.
    ///
    /// ```
    /// use singletrack_queues::{MainQueue, Queue};
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// Queue::new("search").submit(move || {
    ///     let found = "a needle";
    ///     handle.submit(move || println!("show {found}"));
    ///     handle.stop();
    /// });
    /// main.run();
    /// assert_eq!(main.handle().stats().ran, 1);
    /// ```
    ///
    /// # Panics
    /// If called in a block of this queue: it would never return to that block.
    #[doc(alias = "dispatch_main")]
    pub fn run(&self) {
        assert!(
            !self.place.is_draining(),
            "run was called in a block of main queue {:?}, which is being run already: return from the block instead",
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

    /// Was the queue [asked to stop](MainHandle::stop), and did all blocks submitted before run?
    /// This is for loops that drain.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    ///
    /// let main = MainQueue::new("main");
    /// main.handle().submit(|| println!("the last block"));
    /// main.handle().stop();
    /// while !main.is_stopped() {
    ///     main.turn(Budget::ALL); // a frame of the loop
    /// }
    /// assert_eq!(main.handle().stats().ran, 1);
    /// ```
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.place.is_stopped()
    }
}

impl MainHandle {
    /// Like [`MainQueue::turn`], for code on the main thread that has only a handle. Most toolkits
    /// take a closure from any thread and run it on the main thread. Such a closure must be `Send`,
    /// which the queue is not.
    ///
    /// After the queue was dropped, this does nothing and returns `false`: the toolkit may still
    /// run a closure that it kept.
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
    /// If called on a thread other than the main one.
    pub fn turn(&self, budget: Budget) -> bool {
        assert!(
            self.is_main_thread(),
            "turn of main queue {:?} was called on another thread, where its blocks must not run: have the toolkit run it \
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
