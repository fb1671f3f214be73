//! State of the main thread that other threads may ask for, and never see: made, used and dropped there.
//!
//! The handle holds a number; the value is in the [`Place`] of its thread, and closures that get there look it up. So the
//! value need not be `Send`, and no `unsafe` is needed to promise that it stays.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::MainQueue;
use super::entry::Entry;
use super::handle::MainHandle;
use super::place::Place;
use crate::queue::Timer;
use crate::task::Task;
use crate::time::When;

/// A value that lives on the thread of a [`MainQueue`]: widgets, an `Rc`, whatever is not [`Send`]. This handle is: its
/// closures travel to the value.
///
/// Cloning the handle does not clone the value. The value is dropped on the main thread: in a turn after the last handle
/// and the last block that can reach it are gone, or with the main queue, whichever is first.
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
/// What is inside stays inside:
/// ```compile_fail
/// # let main = singletrack_queues::MainQueue::new("main");
/// let local = main.local(std::rc::Rc::new(1));
/// let outside: std::rc::Rc<i32> = local.sync(|inside| inside.clone());
/// ```
/// and nothing that must stay on another thread gets in:
/// ```compile_fail
/// # let main = singletrack_queues::MainQueue::new("main");
/// let mine = std::rc::Rc::new(1);
/// main.handle().local(move || mine);
/// ```
pub struct Local<T> {
    token: Arc<Token>,
    /// The value itself never is where the handle is.
    _there: PhantomData<fn(T) -> T>,
}

/// One per value; the last one gone lets the value go.
struct Token {
    handle: MainHandle,
    number: u64,
}

impl Drop for Token {
    fn drop(&mut self) {
        // Refused: the value went with the owner.
        let _ = self.handle.shared.inbox.push(self.number, Entry::Forget);
    }
}

impl MainQueue {
    /// Puts `value` on this thread, and makes a handle with which every thread can submit closures to it.
    ///
    /// From another thread use [`MainHandle::local`].
    #[must_use = "the value is dropped when no handle is left"]
    pub fn local<T: 'static>(&self, value: T) -> Local<T> {
        let local = Local::numbered(&self.handle());
        self.place.keep(local.token.number, value);
        local
    }
}

impl MainHandle {
    /// Makes a value on the main thread, in a block of the queue, of things that may travel there.
    ///
    /// If `make` panics there is no value: that is logged, and so is every block that comes for the value.
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
        // Not a token: a handle that is dropped at once lets go of the value in a block behind this one.
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
    #[must_use]
    pub fn handle(&self) -> &MainHandle {
        &self.token.handle
    }

    /// Submits a block that gets the value; see [`MainHandle::submit`].
    #[track_caller]
    pub fn submit<F: FnOnce(&mut T) + Send + 'static>(&self, f: F) {
        let site = Location::caller();
        self.handle().submit_at(self.reach(site, f), site);
    }

    /// Submits a block that gets the value, and whose result is wanted; see [`MainHandle::call`].
    #[track_caller]
    pub fn call<R: Send + 'static, F: FnOnce(&mut T) -> R + Send + 'static>(&self, f: F) -> Task<R> {
        let reach = self.reach(Location::caller(), f);
        self.handle().call(reach)
    }

    /// Submits a block that gets the value once `delay` has passed; see [`MainHandle::submit_after`].
    #[track_caller]
    pub fn submit_after<F: FnOnce(&mut T) + Send + 'static>(&self, delay: Duration, f: F) -> Timer {
        let reach = self.reach(Location::caller(), f);
        self.handle().submit_after(delay, reach)
    }

    /// Submits a block that gets the value when the time has come; see [`MainHandle::submit_when`].
    #[track_caller]
    pub fn submit_when<F: FnOnce(&mut T) + Send + 'static>(&self, when: impl Into<When>, f: F) -> Timer {
        let reach = self.reach(Location::caller(), f);
        self.handle().submit_when(when, reach)
    }

    /// Runs `f` with the value on the main thread and returns what it returns; see [`MainHandle::sync`].
    ///
    /// # Panics
    /// As [`MainHandle::sync`], and as [`with`](Self::with).
    #[track_caller]
    pub fn sync<R: Send, F: FnOnce(&mut T) -> R + Send>(&self, f: F) -> R {
        let site = Location::caller();
        self.handle().sync(|| self.token.enter(site, f))
    }

    /// Runs `f` with the value here and now: for the main thread's own code, which has the queue at hand. Nothing needs to
    /// be `Send`.
    ///
    /// # Panics
    /// When `main` is not the queue that the value lives on; when the value is in use further up on this stack; when it
    /// does not exist, because its making has not run yet, or panicked.
    #[track_caller]
    pub fn with<R, F: FnOnce(&mut T) -> R>(&self, main: &MainQueue, f: F) -> R {
        assert!(
            main.handle() == *self.handle(),
            "a local of main queue \"{}\" was asked for with main queue \"{}\"; use the one that it lives on",
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
                "the local of main queue \"{label}\" used at {site} does not exist: its making panicked, or did not run"
            )
        };
        let Ok(mut value) = value.try_borrow_mut() else {
            panic!(
                "the local of main queue \"{label}\" used at {site} is in use further up on this stack; use what that \
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
