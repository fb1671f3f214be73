//! Submits to a queue in the name of a caller, later.
//!
//! For libraries that take a closure now and submit it when something has happened. Not for:
//! deciding when.

use std::fmt;
use std::panic::Location;

use crate::base::qos::Qos;
use crate::kinds::concurrent::ConcurrentQueue;
use crate::kinds::main_queue::MainHandle;
use crate::kinds::submit::Site;
use crate::queue::concurrent::Body;
use crate::queue::{Kept, Queue, QueueCore};

/// Submits to a queue in the name of the caller that made it: a panic is reported with that place.
///
/// It keeps the queue, but it is not a handle: when the last handle of a suspended queue is
/// dropped, the queue runs what it holds, even if there are submitters. It is for libraries that
/// take a closure now, and submit it when something has happened.
///
/// ```
/// use singletrack_queues::Queue;
/// use std::sync::mpsc::channel;
///
/// let (tell, told) = channel();
/// let queue = Queue::new("replies");
/// queue.suspend();
/// let reply = queue.submitter();
/// reply.submit(move || tell.send("at last").unwrap());
/// drop(queue); // nobody can resume it any more
/// assert_eq!(told.recv(), Ok("at last"));
/// ```
#[derive(Clone)]
pub struct Submitter {
    to: To,
    site: Site,
}

#[derive(Clone)]
enum To {
    Serial(Kept<QueueCore>),
    Concurrent(Kept<Body>),
    Main(MainHandle),
}

impl Submitter {
    #[track_caller]
    fn new(to: To) -> Self {
        Self { to, site: Location::caller() }
    }

    /// The same submitter, in the name of this caller.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Submitter};
    ///
    /// /// Keeps where to reply, and who asked.
    /// #[track_caller]
    /// fn asked(replies: &Submitter) -> Submitter {
    ///     replies.here()
    /// }
    /// let replies = Queue::new("replies").submitter();
    /// asked(&replies).submit(|| println!("a panic in here is reported with the line of this call"));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn here(&self) -> Self {
        Self::new(self.to.clone())
    }

    /// Submits a block and does not wait, as the queue does. After a shutdown the block is dropped,
    /// logged and counted.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let reply = Queue::new("replies").submitter();
    /// reply.submit(move || tell.send("answer").unwrap());
    /// assert_eq!(told.recv(), Ok("answer"));
    /// ```
    pub fn submit<F: FnOnce() + Send + 'static>(&self, f: F) {
        match &self.to {
            To::Serial(queue) => queue.submit(f, self.site),
            To::Concurrent(body) => body.submit_or_drop(f, Qos::Background, self.site),
            To::Main(main) => main.submit_at(f, self.site),
        }
    }

    /// The name of the queue.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// assert_eq!(Queue::new("replies").submitter().label(), "replies");
    /// ```
    #[must_use]
    pub fn label(&self) -> &str {
        match &self.to {
            To::Serial(queue) => queue.label(),
            To::Concurrent(body) => body.label(),
            To::Main(main) => main.label(),
        }
    }
}

impl Queue {
    /// A submitter in the name of the caller, which is no handle.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Submitter};
    /// use std::{sync::mpsc, thread};
    ///
    /// /// Calls `done` on the queue of the caller when the file is read.
    /// fn read_file(replies: Submitter, done: impl FnOnce(&str) + Send + 'static) {
    ///     thread::spawn(move || replies.submit(move || done("contents")));
    /// }
    /// let (tell, told) = mpsc::channel();
    /// read_file(Queue::new("editor").submitter(), move |text| tell.send(text.len()).unwrap());
    /// assert_eq!(told.recv(), Ok(8));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn submitter(&self) -> Submitter {
        Submitter::new(To::Serial(self.kept()))
    }
}

impl ConcurrentQueue {
    /// A submitter in the name of the caller, which is no handle.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let table = ConcurrentQueue::new("table").submitter();
    /// for row in 1..=3 {
    ///     let tell = tell.clone();
    ///     table.submit(move || tell.send(row).unwrap());
    /// }
    /// drop(tell);
    /// assert_eq!(told.iter().sum::<u32>(), 6);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn submitter(&self) -> Submitter {
        Submitter::new(To::Concurrent(self.kept()))
    }
}

impl MainHandle {
    /// A submitter in the name of the caller.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    /// use std::thread;
    ///
    /// let main = MainQueue::new("main");
    /// let reply = main.handle().submitter();
    /// thread::spawn(move || reply.submit(|| println!("on the main thread"))).join().unwrap();
    /// assert!(!main.drain(Budget::ALL));
    /// assert_eq!(main.handle().stats().ran, 1);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn submitter(&self) -> Submitter {
        Submitter::new(To::Main(self.clone()))
    }
}

impl fmt::Debug for Submitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitter").field("label", &self.label()).field("site", &self.site).finish()
    }
}
