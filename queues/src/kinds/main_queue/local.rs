//! State of the main thread that other threads can reach by closures only: it is made, used and
//! dropped on the main thread.
//!
//! The handle holds a number. The value is in the [`Place`] of its thread, and closures that run
//! there look it up. So the value need not be `Send`, and no `unsafe` is needed to promise that it
//! stays on its thread.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use super::MainQueue;
use super::entry::Entry;
use super::handle::MainHandle;
use super::place::Place;
use crate::queue::Timer;
use crate::queue::task::Task;
use crate::time::when::When;

/// A value that lives on the thread of a [`MainQueue`]: widgets, an `Rc`, anything that is not
/// [`Send`]. This handle is `Send`: its closures travel to the value.
///
/// Cloning the handle does not clone the value. The value is dropped on the main thread: in a turn
/// after the last handle and the last block that can reach it are gone, or with the main queue,
/// whichever comes first.
///
/// ```
/// use singletrack_queues::{MainQueue, Queue};
/// use std::{cell::Cell, rc::Rc};
///
/// let main = MainQueue::new("main");
/// let clicks = Rc::new(Cell::new(0));          // not Send, shared with the window
/// let counter = main.local(clicks.clone());    // Send
/// let handle = main.handle();
/// Queue::new("worker").submit(move || {
///     counter.submit(|clicks| clicks.set(clicks.get() + 1));
///     assert_eq!(counter.sync(|clicks| clicks.get()), 1);
///     handle.stop();
/// });
/// main.run();
/// assert_eq!(clicks.get(), 1);
/// ```
///
/// A result must be `Send`, so an `Rc` inside the value cannot leave its thread:
/// ```compile_fail
/// # let main = singletrack_queues::MainQueue::new("main");
/// let local = main.local(std::rc::Rc::new(1));
/// let outside: std::rc::Rc<i32> = local.sync(|inside| inside.clone());
/// ```
/// Nor can a value that must stay on another thread get in:
/// ```compile_fail
/// # let main = singletrack_queues::MainQueue::new("main");
/// let mine = std::rc::Rc::new(1);
/// main.handle().local(move || mine);
/// ```
pub struct Local<T> {
    token: Arc<Token>,
    /// The handle holds no `T`: the value stays on its thread.
    _there: PhantomData<fn(T) -> T>,
}

/// One per value, shared by handles and blocks. Its drop asks the main thread to drop the value.
struct Token {
    handle: MainHandle,
    number: u64,
}

impl Drop for Token {
    fn drop(&mut self) {
        // If the push is refused, the owner already dropped the value.
        let _ = self.handle.shared.inbox.push(self.number, Entry::Forget);
    }
}

impl MainQueue {
    /// Stores `value` on this thread, and returns a handle with which every thread can submit
    /// closures to it.
    ///
    /// From another thread use [`MainHandle::local`].
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    /// use std::rc::Rc;
    /// use std::thread;
    ///
    /// let main = MainQueue::new("main");
    /// let title = main.local(Rc::new("untitled")); // it is not `Send`, and need not be
    /// let other = title.clone();
    /// thread::spawn(move || other.submit(|title| *title = Rc::new("letter"))).join().unwrap();
    /// assert!(!main.drain(Budget::ALL));
    /// assert_eq!(title.with(&main, |title| **title), "letter");
    /// ```
    #[must_use = "the value is dropped when no handle is left"]
    pub fn local<T: 'static>(&self, value: T) -> Local<T> {
        let local = Local::numbered(&self.handle());
        self.place.keep(local.token.number, value);
        local
    }
}

impl MainHandle {
    /// Makes a value on the main thread, in a block of the queue. `make` must be `Send`; the value
    /// need not be.
    ///
    /// If `make` panics there is no value. The panic is logged, and so is every later block that
    /// needs the value.
    ///
    /// ```
    /// use singletrack_queues::{MainQueue, Queue};
    /// use std::rc::Rc;
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// Queue::new("worker").submit(move || {
    ///     let title = String::from("made elsewhere");
    ///     let label = handle.local(move || Rc::new(title));
    ///     assert_eq!(label.sync(|label| Rc::strong_count(label)), 1);
    ///     handle.stop();
    /// });
    /// main.run();
    /// ```
    #[track_caller]
    #[must_use = "the value is dropped when no handle is left"]
    pub fn local<T: 'static, F: FnOnce() -> T + Send + 'static>(&self, make: F) -> Local<T> {
        let local = Local::numbered(self);
        let number = local.token.number;
        // This block holds no token: a handle that is dropped at once drops the value in an entry
        // behind this block.
        let handle = self.clone();
        self.submit_at(
            move || {
                let value = make();
                if let Some(place) = Place::of(&handle.shared) {
                    place.keep(number, value);
                }
            },
            Location::caller(),
        );
        local
    }
}

impl<T: 'static> Local<T> {
    fn numbered(handle: &MainHandle) -> Self {
        let token = Token { handle: handle.clone(), number: handle.shared.next_local() };
        Self { token: Arc::new(token), _there: PhantomData }
    }

    /// The queue that the value lives on.
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    ///
    /// let main = MainQueue::new("main");
    /// let title = main.local("untitled");
    /// assert_eq!(title.handle().label(), "main");
    /// ```
    #[must_use]
    pub fn handle(&self) -> &MainHandle {
        &self.token.handle
    }

    /// Submits a block that gets the value; see [`MainHandle::submit`].
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    ///
    /// let main = MainQueue::new("main");
    /// let list = main.local(vec!["tea"]);
    /// list.submit(|list| list.push("salt"));
    /// assert_eq!(list.with(&main, |list| list.len()), 1, "not yet");
    /// assert!(!main.drain(Budget::ALL));
    /// assert_eq!(list.with(&main, |list| list.len()), 2);
    /// ```
    #[track_caller]
    pub fn submit<F: FnOnce(&mut T) + Send + 'static>(&self, f: F) {
        let site = Location::caller();
        self.handle().submit_at(self.reach(site, f), site);
    }

    /// Submits a block that gets the value, and returns a task for its result; see
    /// [`MainHandle::call`].
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    ///
    /// let main = MainQueue::new("main");
    /// let list = main.local(vec!["tea", "salt"]);
    /// let length = list.call(|list| list.len());
    /// assert!(!main.drain(Budget::ALL));
    /// assert_eq!(length.wait().unwrap(), 2);
    /// ```
    #[track_caller]
    pub fn call<R: Send + 'static, F: FnOnce(&mut T) -> R + Send + 'static>(&self, f: F) -> Task<R> {
        let reach = self.reach(Location::caller(), f);
        self.handle().call(reach)
    }

    /// Submits a block that gets the value, after a delay or at a point in time; see
    /// [`MainHandle::submit_after`].
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    /// use std::time::Duration;
    ///
    /// let main = MainQueue::new("main");
    /// let cursor = main.local(false);
    /// let ui = main.handle();
    /// cursor.submit_after(Duration::from_millis(1), move |visible| {
    ///     *visible = !*visible;
    ///     ui.stop();
    /// });
    /// main.run();
    /// assert!(cursor.with(&main, |visible| *visible));
    /// ```
    #[track_caller]
    pub fn submit_after<F: FnOnce(&mut T) + Send + 'static>(&self, delay: impl Into<When>, f: F) -> Timer {
        let reach = self.reach(Location::caller(), f);
        self.handle().submit_after(delay, reach)
    }

    /// Runs `f` with the value on the main thread and returns its result; see
    /// [`MainHandle::sync`].
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    /// use std::thread;
    ///
    /// let main = MainQueue::new("main");
    /// let list = main.local(vec!["tea", "salt"]);
    /// let asker = thread::spawn(move || {
    ///     let length = list.sync(|list| list.len());
    ///     list.handle().stop();
    ///     length
    /// });
    /// main.run();
    /// assert_eq!(asker.join().unwrap(), 2);
    /// ```
    ///
    /// # Panics
    /// As [`MainHandle::sync`], and as [`with`](Self::with).
    #[track_caller]
    pub fn sync<R: Send, F: FnOnce(&mut T) -> R + Send>(&self, f: F) -> R {
        let site = Location::caller();
        self.handle().sync(|| self.token.enter(site, f))
    }

    /// Runs `f` with the value at once. This is for the main thread's own code, which has the
    /// queue. Nothing needs to be `Send`.
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    /// use std::rc::Rc;
    ///
    /// let main = MainQueue::new("main");
    /// let title = main.local(String::from("untitled"));
    /// let font = Rc::new("serif"); // closures of this thread may hold anything
    /// let line = title.with(&main, |title| format!("{title} in {font}"));
    /// assert_eq!(line, "untitled in serif");
    /// ```
    ///
    /// # Panics
    /// If `main` is not the queue that the value lives on. If the value is in use further up on
    /// this stack. If the value does not exist, because the closure that makes it has not run yet,
    /// or panicked.
    #[track_caller]
    pub fn with<R, F: FnOnce(&mut T) -> R>(&self, main: &MainQueue, f: F) -> R {
        assert!(
            main.handle() == *self.handle(),
            "a local of main queue {:?} was asked for with main queue {:?}; use the one that it lives on",
            self.handle().label(),
            main.label(),
        );
        self.token.enter(Location::caller(), f)
    }

    fn reach<R, F: FnOnce(&mut T) -> R + Send + 'static>(
        &self,
        site: &'static Location<'static>,
        f: F,
    ) -> impl FnOnce() -> R + Send + 'static {
        let token = self.token.clone();
        move || token.enter(site, f)
    }
}

impl Token {
    /// On the main thread: runs `f` with the value.
    fn enter<T: 'static, R>(&self, site: &'static Location<'static>, f: impl FnOnce(&mut T) -> R) -> R {
        let label = self.handle.label();
        let value: Option<Rc<RefCell<T>>> = Place::of(&self.handle.shared).and_then(|place| place.local(self.number));
        let Some(value) = value else {
            panic!(
                "the local of main queue {label:?} used at {site} does not exist: its making panicked, or did not run"
            )
        };
        let Ok(mut value) = value.try_borrow_mut() else {
            panic!(
                "the local of main queue {label:?} used at {site} is in use further up on this stack; use what that \
                 closure was given, or submit"
            )
        };
        f(&mut value)
    }
}

impl<T> Clone for Local<T> {
    fn clone(&self) -> Self {
        Self { token: self.token.clone(), _there: PhantomData }
    }
}

impl<T> fmt::Debug for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("queue", &self.token.handle.label()).finish_non_exhaustive()
    }
}
