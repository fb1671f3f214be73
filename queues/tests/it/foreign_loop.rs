//! A main queue under a foreign event loop, which sleeps in its own way, is woken by the callback,
//! and has other work between two turns.

use crate::{LONG, runtime};
use singletrack_queues::{Budget, MainQueue};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};

/// The loop of a toolkit: posted events, and a condition variable.
#[derive(Default)]
struct Toolkit {
    posted: Mutex<bool>,
    bell: Condvar,
}

impl Toolkit {
    fn post(&self) {
        *self.posted.lock().expect("no panic under it") = true;
        self.bell.notify_one();
    }

    /// Sleeps until an event is posted.
    fn wait(&self) {
        let posted = self.posted.lock().expect("no panic under it");
        let (mut posted, _) = self.bell.wait_timeout_while(posted, LONG, |posted| !*posted).expect("no panic under it");
        assert!(*posted, "the loop was never woken");
        *posted = false;
    }
}

#[test]
fn a_loop_that_sleeps_by_itself_is_woken_for_every_burst_and_misses_nothing() {
    let (main, runtime) = (MainQueue::new("main"), runtime(2));
    let toolkit = Arc::new(Toolkit::default());
    let wake = toolkit.clone();
    main.set_wake(move || wake.post());
    let log = main.local(Rc::new(RefCell::new(vec![0; 4])));
    let ended = main.local(Rc::new(RefCell::new(0)));
    for who in 0..4 {
        let (log, ended, handle) = (log.clone(), ended.clone(), main.handle());
        runtime.queue(format!("producer.{who}")).submit(move || {
            for i in 0..2_000 {
                log.submit(move |log| {
                    assert_eq!(log.borrow()[who], i, "producer {who} is out of order");
                    log.borrow_mut()[who] += 1;
                });
                if i % 100 == 0 {
                    // The loop must process it, whatever else it does.
                    assert_eq!(handle.call(move || i).wait().ok(), Some(i));
                }
            }
            ended.submit(|ended| *ended.borrow_mut() += 1);
        });
    }
    let mut turns = 0;
    while ended.with(&main, |ended| *ended.borrow()) < 4 {
        toolkit.wait();
        turns += 1;
        // One small turn per wake-up: the rest wakes the loop again.
        main.turn(Budget::blocks(64));
    }
    assert_eq!(log.with(&main, |log| log.borrow().clone()), [2_000; 4]);
    let stats = main.handle().stats();
    assert_eq!(stats.waiting, 0);
    assert!(turns <= stats.wakes, "{turns} turns, {} wakes", stats.wakes);
    assert_eq!(runtime.stats().panics, 0);
}
