//! The subject of the checks: the real queue, or the same behind a wrapper that breaks one promise
//! now and then.
//!
//! The product is not touched: a fault is made of ordinary calls to it, in the wrong number or
//! order. Each fault touches one verb, and the check that must notice calls each breakable verb
//! through here. Without a fault every call goes straight to the queue. Not for: noticing. Rule:
//! the frequency of a fault is counted, not drawn, so that it occurs in every round.

mod chains;
mod channels;
mod classes;
mod events;
mod objects;
mod urgent;
mod verbs;
mod windows;

pub(crate) use chains::{Chains, Either};
pub(crate) use channels::ChannelVerbs;
pub(crate) use classes::Classes;
pub(crate) use events::readable;
pub(crate) use urgent::Urgent;
pub(crate) use windows::{ToMain, Wake, set_wake};

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use singletrack::queues::{ConcurrentQueue, NotSuspended, Queue, Runtime, Source, Timer};

use super::fault::Fault;

/// One call in this many is broken.
const EVERY: u64 = 16;
/// The longest that two blocks wait to meet each other.
const MEETING: Duration = Duration::from_millis(50);

/// Decides when the fault is due.
#[derive(Clone, Debug)]
struct Now {
    fault: Option<Fault>,
    calls: u64,
}

impl Now {
    /// Counts one call, and returns whether it is the one to break.
    fn is_due(&mut self, fault: Fault) -> bool {
        if self.fault != Some(fault) {
            return false;
        }
        self.calls += 1;
        self.calls % EVERY == EVERY / 2
    }
}

/// A serial queue, perhaps a broken one.
#[derive(Debug)]
pub(crate) struct Subject {
    queue: Queue,
    /// The queue for blocks that must run beside those of `queue`.
    second: Queue,
    fault: Option<Fault>,
    /// Two blocks must meet. One pair at a time: the partners of two pairs could wait for each
    /// other crosswise.
    meeting: AtomicBool,
}

impl Subject {
    /// Makes the queue.
    pub(crate) fn new(runtime: &Runtime, label: String, fault: Option<Fault>) -> Arc<Subject> {
        let second = runtime.queue(format!("{label}.second"));
        Arc::new(Subject { queue: runtime.queue(label), second, fault, meeting: AtomicBool::new(false) })
    }

    /// One source of blocks. A fault of order swaps blocks of the same submitter.
    pub(crate) fn submitter(self: &Arc<Self>) -> Submitter {
        let now = Now { fault: self.fault, calls: 0 };
        Submitter { subject: self.clone(), now, held: None, meeting: None }
    }

    /// Waits until all that was submitted has run.
    pub(crate) fn settle(&self) {
        self.queue.sync(|| ());
        if self.fault.is_some() {
            self.second.sync(|| ());
        }
    }
}

/// Submits blocks to a [`Subject`].
pub(crate) struct Submitter {
    subject: Arc<Subject>,
    now: Now,
    held: Option<Box<dyn Fn() + Send>>,
    meeting: Option<Arc<Meeting>>,
}

impl Submitter {
    /// As [`Queue::submit`]. The body could run twice, so that a broken queue can do it.
    pub(crate) fn submit<F: Fn() + Send + 'static>(&mut self, body: F) {
        let queue = &self.subject.queue;
        let fault = self.now.fault;
        match fault {
            Some(Fault::OrderSwapped) => {
                if let Some(held) = self.held.take() {
                    queue.submit(body);
                    queue.submit(held);
                } else if self.now.is_due(Fault::OrderSwapped) {
                    self.held = Some(Box::new(body));
                } else {
                    queue.submit(body);
                }
            }
            Some(Fault::TwoAtOnce) => {
                if let Some(meeting) = self.meeting.take() {
                    self.subject.second.submit(move || {
                        meeting.meet();
                        body();
                    });
                } else if self.now.is_due(Fault::TwoAtOnce) && !self.subject.meeting.swap(true, SeqCst) {
                    let meeting = Arc::new(Meeting::new(&self.subject));
                    self.meeting = Some(meeting.clone());
                    queue.submit(move || {
                        meeting.meet();
                        body();
                    });
                } else {
                    queue.submit(body);
                }
            }
            Some(Fault::BlockLost) if self.now.is_due(Fault::BlockLost) => drop(body),
            Some(Fault::BlockTwice) if self.now.is_due(Fault::BlockTwice) => queue.submit(move || {
                body();
                body();
            }),
            _ => queue.submit(body),
        }
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.subject.queue.submit(held);
        }
    }
}

/// Two blocks begin together. It sleeps first, so that a replacement thread may bring the other
/// one, and spins for the last moment.
struct Meeting {
    subject: Arc<Subject>,
    arrived: Mutex<u32>,
    other: Condvar,
    awake: AtomicU32,
}

impl Drop for Meeting {
    fn drop(&mut self) {
        self.subject.meeting.store(false, SeqCst);
    }
}

impl Meeting {
    fn new(subject: &Arc<Subject>) -> Meeting {
        let (arrived, other) = (Mutex::default(), Condvar::new());
        Meeting { subject: subject.clone(), arrived, other, awake: AtomicU32::new(0) }
    }

    fn meet(&self) {
        let end = Instant::now() + MEETING;
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        *arrived += 1;
        self.other.notify_one();
        while *arrived < 2 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            arrived = self.other.wait_timeout(arrived, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(arrived);
        self.awake.fetch_add(1, SeqCst);
        while self.awake.load(SeqCst) < 2 && Instant::now() < end {
            std::hint::spin_loop();
        }
    }
}

/// A concurrent queue, perhaps a broken one, and one source of blocks for it.
pub(crate) struct ConcurrentSubmitter {
    queue: ConcurrentQueue,
    now: Now,
    held: Option<Box<dyn FnOnce() + Send>>,
}

impl ConcurrentSubmitter {
    /// Submits to `queue`.
    pub(crate) fn new(queue: &ConcurrentQueue, fault: Option<Fault>) -> ConcurrentSubmitter {
        ConcurrentSubmitter { queue: queue.clone(), now: Now { fault, calls: 0 }, held: None }
    }

    /// As [`ConcurrentQueue::submit`].
    pub(crate) fn submit<F: FnOnce() + Send + 'static>(&mut self, reader: F) {
        self.queue.submit(reader);
        self.let_go();
    }

    /// As [`ConcurrentQueue::barrier`].
    pub(crate) fn barrier<F: FnOnce() + Send + 'static>(&mut self, alone: F) {
        self.let_go();
        if self.now.is_due(Fault::BarrierOvertaken) {
            self.held = Some(Box::new(alone));
        } else {
            self.queue.barrier(alone);
        }
    }

    fn let_go(&mut self) {
        if let Some(held) = self.held.take() {
            self.queue.barrier(held);
        }
    }
}

impl Drop for ConcurrentSubmitter {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Verbs that one thread calls, perhaps broken ones.
#[derive(Clone, Debug)]
pub(crate) struct Verbs {
    now: Now,
}

impl Verbs {
    /// The verbs of a thread.
    pub(crate) fn new(fault: Option<Fault>) -> Verbs {
        Verbs { now: Now { fault, calls: 0 } }
    }

    /// As [`Queue::resume`].
    pub(crate) fn resume(&mut self, queue: &Queue) -> Result<(), NotSuspended> {
        if self.now.is_due(Fault::ResumeLost) { Ok(()) } else { queue.resume() }
    }

    /// As [`Queue::submit_after`].
    pub(crate) fn submit_after<F: FnOnce() + Send + 'static>(&mut self, queue: &Queue, delay: Duration, f: F) -> Timer {
        let delay = if self.now.is_due(Fault::TimerEarly) { delay / 2 } else { delay };
        queue.submit_after(delay, f)
    }

    /// As [`Source::merge`].
    pub(crate) fn merge(&mut self, source: &Source, bits: u64) {
        if !self.now.is_due(Fault::SignalLost) {
            source.merge(bits);
        }
    }
}
