//! The inbox of a main queue: no pushed item is forgotten, and the owner is notified once per
//! burst.

use std::collections::VecDeque;
use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::sync::{Condvar, Mutex, lock, wait};
use crate::kinds::main_queue::inbox::Inbox;

/// A foreign event loop: it sleeps until an event is posted, and counts the events.
struct Loop {
    posted: Mutex<(u32, u32)>,
    arrived: Condvar,
}

impl Loop {
    fn new() -> Arc<Self> {
        Arc::new(Self { posted: Mutex::new((0, 0)), arrived: Condvar::new() })
    }

    fn post(&self) {
        lock(&self.posted).0 += 1;
        self.arrived.notify_all();
    }

    /// Waits for an event and takes all that there are; returns how many have arrived so far.
    fn next(&self) -> u32 {
        let mut posted = lock(&self.posted);
        while posted.0 == posted.1 {
            posted = wait(&self.arrived, posted);
        }
        posted.1 = posted.0;
        posted.0
    }
}

/// Two threads push while the owner sleeps, drains, and goes back to sleep.
fn bursts() {
    let inbox = Arc::new(Inbox::new());
    let events = Loop::new();
    {
        let events = events.clone();
        inbox.set_wake(Arc::new(move || events.post()));
    }
    let pushers: Vec<_> = (1..=2)
        .map(|number| {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.push(number, |number| number).expect("it is open"))
        })
        .collect();
    begin();
    let (mut got, mut told, mut bursts) = (0, 0, 0);
    while got < 3 {
        told = events.next();
        loop {
            let mut taken = VecDeque::new();
            inbox.take(&mut taken);
            got += taken.iter().sum::<u32>();
            if !inbox.end_turn(false) {
                break;
            }
        }
        bursts += 1;
    }
    for pusher in pushers {
        pusher.join().expect("it does not panic");
    }
    told = told.max(lock(&events.posted).0);
    assert_eq!((got, told), (3, bursts), "each burst is announced once");
}

#[test]
fn one_wake_per_burst() {
    check(3, bursts);
}

/// An owner waits in the inbox itself until it is asked to stop.
fn runs_until_stop() {
    let inbox = Arc::new(Inbox::new());
    let pusher = {
        let inbox = inbox.clone();
        thread::spawn(move || {
            inbox.push(1, |one| one).expect("it is open");
            inbox.stop();
        })
    };
    begin();
    let mut done = 0;
    loop {
        let mut taken = VecDeque::new();
        inbox.take(&mut taken);
        done += taken.len() as u64;
        let _more: bool = inbox.end_turn(false);
        if inbox.stop_after().is_some_and(|after| done >= after) {
            break;
        }
        inbox.wait();
    }
    assert_eq!(done, 1, "what was pushed before the stop runs");
    pusher.join().expect("it does not panic");
}

#[test]
fn wait_against_push_and_stop() {
    check(4, runs_until_stop);
}

/// An item that is pushed while the owner ends is taken by it, or comes back.
fn owner_goes() {
    let inbox = Arc::new(Inbox::new());
    let pusher = {
        let inbox = inbox.clone();
        thread::spawn(move || inbox.push(7, |number| number).err())
    };
    begin();
    let mut taken = VecDeque::new();
    inbox.close(&mut taken);
    let came_back = pusher.join().expect("it does not panic");
    assert!(came_back.is_some() != (taken == [7]), "exactly one side has it");
}

#[test]
fn push_against_close() {
    check(4, owner_goes);
}
