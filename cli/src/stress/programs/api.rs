//! The library as random programs call it, or the same with one promise broken.
//!
//! Together with `objects`, this is the only place of the random programs that names the library's
//! calls. Without a plant every call goes straight to the library. With one, every few calls
//! something else is done, made of ordinary calls. Not for: noticing that (`verify`).

mod objects;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use singletrack_queues::{
    Budget, ConcurrentQueue, Isolated, MainHandle, MainQueue, Qos, Queue, Runtime, SpecificKey, SyncError, TargetQueue,
    TrySyncError, WorkEnd, WorkItem, Workloop,
};
/// Types that a program holds without calling them.
pub(crate) use singletrack_queues::{Semaphore, Source, Task, Timer, WorkHandle};

use super::program::{About, Forest, Kind, Node};

/// A promise that is broken on purpose, now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// A block runs twice.
    Twice,
    /// A block is dropped.
    Lost,
    /// A block is submitted behind the next.
    Swapped,
    /// A block runs on a queue of its own.
    Astray,
    /// A barrier is an ordinary block.
    Overtaken,
    /// A delay is half as long.
    Early,
    /// A work item is cancelled, and yet its block runs.
    CancelIgnored,
    /// A semaphore is signalled twice.
    PermitTwice,
    /// A queue is not given its value.
    ValueMissing,
    /// The end of a source is reported twice.
    EndTwice,
    /// A group does not wait for a member.
    MemberForgotten,
    /// A parallel loop leaves a number out.
    NumberSkipped,
    /// A number is merged twice.
    AdditionTwice,
    /// A resume does nothing.
    ResumeLost,
}

/// One call in this many is broken.
const EVERY: u64 = 4;
/// The value of each queue is its number.
static NUMBER: SpecificKey<usize> = SpecificKey::new();

/// Any queue.
#[derive(Clone)]
pub(crate) enum Handle {
    Serial(Queue),
    Concurrent(ConcurrentQueue),
    Workloop(Workloop),
    Main(MainHandle),
    Isolated(Isolated<Tally>),
}

/// The value of an isolated queue. It counts without an atomic how often it was borrowed.
pub(crate) struct Tally {
    count: u64,
    exact: Arc<AtomicU64>,
    end: Box<dyn Fn(u64, u64) + Send>,
}

impl Tally {
    fn lent(&mut self) {
        self.count += 1;
        self.exact.fetch_add(1, SeqCst);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        (self.end)(self.count, self.exact.load(SeqCst));
    }
}

/// How a `try_sync` or a timed `sync` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    Ran,
    Late,
    Deadlock,
    Shutdown,
}

type Body = Box<dyn Fn() + Send>;

/// The calls.
pub(crate) struct Api {
    plant: Option<Plant>,
    calls: AtomicU64,
    runtime: Runtime,
    stray: ConcurrentQueue,
    held: Mutex<Option<(Handle, Body)>>,
}

impl Api {
    pub(crate) fn new(workers: usize, plant: Option<Plant>) -> Result<Self, String> {
        let runtime = Runtime::builder().workers(workers).thread_cap(512).name("random").build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let stray = ConcurrentQueue::builder("stray").runtime(&runtime).build();
        Ok(Self { plant, calls: AtomicU64::new(0), runtime, stray, held: Mutex::new(None) })
    }

    /// Whether this is the call to break.
    fn is_due(&self, plant: Plant) -> bool {
        self.plant == Some(plant) && self.calls.fetch_add(1, SeqCst) % EVERY == EVERY / 2
    }

    /// Makes a queue. `None` for a main queue, which its thread makes. `end` receives how often the
    /// value of an isolated queue was borrowed, by its own count and by an exact one.
    pub(crate) fn queue(
        &self,
        forest: &Forest,
        number: usize,
        handles: &[Handle],
        end: impl Fn(u64, u64) + Send + 'static,
    ) -> Option<Handle> {
        let Node { kind, target, inactive } = forest.0[number];
        let (label, target) = (forest.label(number), target.map(|to| &handles[to]));
        let serial = |label: String| {
            let builder = match target {
                Some(Handle::Workloop(workloop)) => return workloop.queue(label),
                Some(Handle::Concurrent(queue)) => Queue::builder(label).target(queue),
                Some(to) => Queue::builder(label).target(to.serial()),
                None => Queue::builder(label).runtime(&self.runtime),
            };
            if inactive { builder.inactive().build() } else { builder.build() }
        };
        let handle = match kind {
            Kind::Main => return None,
            Kind::Serial => Handle::Serial(serial(label)),
            Kind::Isolated => {
                let tally = Tally { count: 0, exact: Arc::default(), end: Box::new(end) };
                Handle::Isolated(Isolated::new(&serial(label), tally))
            }
            Kind::Concurrent(width) => {
                let builder = ConcurrentQueue::builder(label);
                let builder = match target {
                    Some(Handle::Concurrent(queue)) => builder.target(TargetQueue::from(queue)),
                    Some(to) => builder.target(to.serial()),
                    None => builder.runtime(&self.runtime),
                };
                let builder = if inactive { builder.inactive() } else { builder };
                Handle::Concurrent(width.into_iter().fold(builder, |builder, width| builder.width(width)).build())
            }
            Kind::Workloop => {
                let builder = Workloop::builder(label);
                let builder = match target {
                    Some(to) => builder.target(to.serial()),
                    None => builder.runtime(&self.runtime),
                };
                Handle::Workloop(if inactive { builder.inactive().build() } else { builder.build() })
            }
        };
        if !self.is_due(Plant::ValueMissing) {
            match &handle {
                Handle::Concurrent(queue) => _ = queue.set_specific(&NUMBER, number),
                Handle::Workloop(_) | Handle::Main(_) => (),
                Handle::Serial(_) | Handle::Isolated(_) => _ = handle.serial().set_specific(&NUMBER, number),
            }
        }
        Some(handle)
    }

    /// Makes a main queue and the thread that runs it, in turns of a number of blocks or until it
    /// is stopped.
    pub(crate) fn main_queue(&self, label: String, turns: Option<usize>) -> (Handle, JoinHandle<()>) {
        let (tell, told) = mpsc::channel();
        let runtime = self.runtime.clone();
        let thread = std::thread::spawn(move || {
            let main = MainQueue::with_runtime(label, &runtime);
            let (wake, woken) = mpsc::channel();
            if turns.is_some() {
                main.set_wake(move || wake.send(()).unwrap_or_default());
            }
            _ = tell.send(main.handle());
            drop((tell, runtime));
            match turns {
                None => main.run(),
                Some(blocks) => {
                    while !main.is_stopped() && woken.recv().is_ok() {
                        main.turn(Budget::blocks(blocks));
                    }
                }
            }
        });
        (Handle::Main(told.recv().expect("it sends the handle first")), thread)
    }

    pub(crate) fn activate(&self, handle: &Handle) {
        match handle {
            Handle::Concurrent(queue) => queue.activate(),
            Handle::Workloop(queue) => queue.activate(),
            Handle::Main(_) => (),
            Handle::Serial(_) | Handle::Isolated(_) => handle.serial().activate(),
        }
    }

    pub(crate) fn stop(&self, main: &Handle) {
        if let Handle::Main(main) = main {
            main.stop();
        }
    }

    pub(crate) fn submit(&self, to: &Handle, about: About, f: impl Fn() + Send + 'static) {
        if self.is_due(Plant::Lost) {
            return;
        }
        if self.is_due(Plant::Astray) {
            return self.stray.submit(f);
        }
        if self.is_due(Plant::Twice) {
            return self.really_submit(to, about, move || {
                f();
                f();
            });
        }
        if self.plant == Some(Plant::Swapped) && !about.barrier {
            return self.swap(to, about, Box::new(f));
        }
        self.really_submit(to, about, f);
    }

    fn really_submit(&self, to: &Handle, about: About, f: impl Fn() + Send + 'static) {
        match to {
            Handle::Concurrent(queue) if about.barrier && !self.is_due(Plant::Overtaken) => queue.barrier(f),
            Handle::Serial(queue) => queue.submit(f),
            Handle::Concurrent(queue) => queue.submit(f),
            Handle::Workloop(queue) => queue.submit(Qos::ALL[about.class], f),
            Handle::Main(queue) => queue.submit(f),
            Handle::Isolated(value) => value.submit(move |tally| {
                tally.lent();
                f();
            }),
        }
    }

    /// Submits a serial queue's block behind the next block of any queue.
    fn swap(&self, to: &Handle, about: About, f: Body) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.take();
        if before.is_none() && matches!(to, Handle::Serial(_)) && self.is_due(Plant::Swapped) {
            *held = Some((to.clone(), f));
            return;
        }
        drop(held);
        self.really_submit(to, about, f);
        if let Some((to, f)) = before {
            self.really_submit(&to, About { barrier: false, ..about }, f);
        }
    }

    /// Submits the block that is held back.
    pub(crate) fn settle(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((to, f)) = held {
            to.serial().submit(f);
        }
    }

    pub(crate) fn sync(&self, to: &Handle, about: About, f: impl Fn() + Send) {
        match to {
            Handle::Serial(queue) => queue.sync(f),
            Handle::Concurrent(queue) if about.barrier => queue.barrier_sync(f),
            Handle::Concurrent(queue) => queue.sync(f),
            Handle::Workloop(queue) => queue.sync(Qos::ALL[about.class], f),
            Handle::Main(queue) => queue.sync(f),
            Handle::Isolated(value) => value.sync(move |tally| {
                tally.lent();
                f();
            }),
        }
    }

    /// A main queue has no such call. A `sync` with no time is the same.
    pub(crate) fn try_sync(&self, to: &Handle, about: About, f: impl Fn() + Send) -> Tried {
        match to {
            Handle::Concurrent(queue) if about.barrier => tried(queue.try_barrier_sync(f)),
            Handle::Concurrent(queue) => tried(queue.try_sync(f)),
            Handle::Workloop(queue) => tried(queue.try_sync(f)),
            Handle::Main(_) => self.timed_sync(to, about, Duration::ZERO, f),
            Handle::Serial(_) | Handle::Isolated(_) => tried(to.serial().try_sync(f)),
        }
    }

    pub(crate) fn timed_sync(&self, to: &Handle, about: About, time: Duration, f: impl Fn() + Send) -> Tried {
        let ended = match to {
            Handle::Concurrent(queue) if about.barrier => queue.barrier_sync_timeout(time, f),
            Handle::Concurrent(queue) => queue.sync_timeout(time, f),
            Handle::Workloop(queue) => queue.sync_timeout(Qos::ALL[about.class], time, f),
            Handle::Main(queue) => queue.sync_timeout(time, f),
            Handle::Serial(_) | Handle::Isolated(_) => to.serial().sync_timeout(time, f),
        };
        match ended {
            Ok(()) => Tried::Ran,
            Err(SyncError::Timeout { .. }) => Tried::Late,
            Err(SyncError::Deadlock(_)) => Tried::Deadlock,
            Err(_) => Tried::Shutdown,
        }
    }

    pub(crate) fn call(&self, to: &Handle, about: About, f: impl Fn() + Send + 'static) -> Task<()> {
        match to {
            Handle::Serial(queue) => queue.call(f),
            Handle::Concurrent(queue) if about.barrier => queue.barrier_call(f),
            Handle::Concurrent(queue) => queue.call(f),
            Handle::Workloop(queue) => queue.call(Qos::ALL[about.class], f),
            Handle::Main(queue) => queue.call(f),
            Handle::Isolated(value) => value.call(move |tally| {
                tally.lent();
                f();
            }),
        }
    }

    pub(crate) fn wait(&self, task: Task<()>) -> Result<(), String> {
        task.wait().map_err(|error| error.to_string())
    }

    pub(crate) fn delayed(&self, to: &Handle, about: About, delay: Duration, f: impl Fn() + Send + 'static) -> Timer {
        let delay = if self.is_due(Plant::Early) { delay / 2 } else { delay };
        match to {
            Handle::Serial(queue) => queue.submit_after(delay, f),
            Handle::Concurrent(queue) => queue.submit_after(delay, f),
            Handle::Workloop(queue) => queue.submit_after(Qos::ALL[about.class], delay, f),
            Handle::Main(queue) => queue.submit_after(delay, f),
            Handle::Isolated(value) => value.submit_after(delay, move |tally| {
                tally.lent();
                f();
            }),
        }
    }

    pub(crate) fn cancel_timer(&self, timer: &Timer) -> bool {
        timer.cancel()
    }

    pub(crate) fn item(&self, to: &Handle, about: About, f: impl Fn() + Send + 'static) -> WorkHandle {
        let item = WorkItem::new(f);
        match to {
            Handle::Concurrent(queue) if about.barrier => item.barrier().submit(queue),
            Handle::Concurrent(queue) => item.submit(queue),
            Handle::Workloop(queue) => item.qos(Qos::ALL[about.class]).submit(queue),
            Handle::Main(queue) => item.submit(queue),
            Handle::Serial(_) | Handle::Isolated(_) => item.submit(to.serial()),
        }
    }

    /// `true`: its block will not run.
    pub(crate) fn cancel_item(&self, item: &WorkHandle) -> bool {
        self.is_due(Plant::CancelIgnored) || item.cancel()
    }

    /// `true`: its block ran.
    pub(crate) fn wait_item(&self, item: &WorkHandle) -> bool {
        item.wait() == WorkEnd::Ran
    }

    pub(crate) fn shutdown(&self, deadline: Duration) -> Result<(), String> {
        let report = self.runtime.shutdown(deadline);
        if report.deadline_passed || report.dropped > 0 { Err(report.to_string()) } else { Ok(()) }
    }
}

impl Handle {
    fn serial(&self) -> &Queue {
        match self {
            Handle::Serial(queue) => queue,
            Handle::Isolated(value) => value.queue(),
            _ => unreachable!("a program asks for this of serial queues only"),
        }
    }
}

fn tried<F>(ended: Result<(), TrySyncError<F>>) -> Tried {
    match ended {
        Ok(()) => Tried::Ran,
        Err(TrySyncError::Busy(_)) => Tried::Late,
        Err(_) => Tried::Deadlock,
    }
}
