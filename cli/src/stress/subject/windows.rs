//! A main queue, perhaps a broken one: lost or swapped blocks, lost wakes, values that are not at
//! home.

use std::sync::{Arc, Mutex};

use singletrack::queues::{Local, MainHandle, MainQueue};

use super::Now;
use crate::stress::fault::Fault;
use crate::stress::score::locked;

/// Wakes the loop of the main thread.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// As [`MainQueue::set_wake`].
pub(crate) fn set_wake(main: &MainQueue, wake: &Wake, fault: Option<Fault>) {
    let (wake, now) = (wake.clone(), Mutex::new(Now { fault, calls: 0 }));
    main.set_wake(move || {
        if !locked(&now).is_due(Fault::WakeLost) {
            wake();
        }
    });
}

/// Submits blocks to a main queue.
pub(crate) struct ToMain {
    handle: MainHandle,
    wake: Wake,
    now: Now,
    held: Option<Box<dyn FnOnce() + Send>>,
}

impl ToMain {
    /// One source of blocks.
    pub(crate) fn new(handle: &MainHandle, wake: &Wake, fault: Option<Fault>) -> ToMain {
        ToMain { handle: handle.clone(), wake: wake.clone(), now: Now { fault, calls: 0 }, held: None }
    }

    /// As [`MainHandle::submit`].
    pub(crate) fn submit<F: FnOnce() + Send + 'static>(&mut self, f: F) {
        if self.now.is_due(Fault::MainLost) {
            return;
        }
        if self.now.is_due(Fault::MainSwapped) {
            self.let_go();
            self.held = Some(Box::new(f));
            return;
        }
        self.handle.submit(f);
        self.let_go();
        if self.now.is_due(Fault::WakeTwice) {
            (self.wake)();
        }
    }

    /// As [`Local::submit`].
    pub(crate) fn visit<T: Default + 'static, F: FnOnce(&mut T) + Send + 'static>(&mut self, local: &Local<T>, f: F) {
        if self.now.is_due(Fault::LocalAstray) {
            f(&mut T::default());
        } else {
            local.submit(f);
        }
        self.let_go();
    }

    fn let_go(&mut self) {
        if let Some(held) = self.held.take() {
            self.handle.submit(held);
        }
    }
}

impl Drop for ToMain {
    fn drop(&mut self) {
        self.let_go();
    }
}
