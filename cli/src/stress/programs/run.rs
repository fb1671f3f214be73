//! Runs a random program, and records what happens.
//!
//! Each thread has handles of its own. A block captures the handles that it needs, so that queues
//! come to their end while the program runs. A watchdog gives up a program that does not move, and
//! reports what it was doing. Its threads are left behind. Not for: verdicts on the record
//! (`verify`). Only what the running block alone can see is judged here.

mod blocks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::api::{Api, Handle, Plant, Semaphore, Source};
use super::program::{Block, Op, Program, needs};
use super::verify::{Check, EventsTrace, Finding, History, Outcome, Trace, verify};

/// The time between two looks of the watchdog.
const LOOK: Duration = Duration::from_micros(200);

/// The outcome of a program.
pub(crate) struct Outcomes {
    pub(crate) findings: Vec<Finding>,
    /// The number of blocks that ran.
    pub(crate) blocks: usize,
}

/// Runs `program`. Without progress for `patience` it counts as hung.
///
/// # Errors
/// When the system gives no threads.
pub(crate) fn run(program: Program, plant: Option<Plant>, patience: Duration) -> Result<Outcomes, String> {
    let api = Api::new(program.workers, plant)?;
    let run = Arc::new(Run::new(program, api));
    Ok(run.perform(patience))
}

/// The record of a block.
#[derive(Default)]
struct Cell {
    outcome: AtomicU8,
    called: AtomicU64,
    returned: AtomicU64,
    begin: AtomicU64,
    end: AtomicU64,
    begins: AtomicU32,
    ends: AtomicU32,
    made: AtomicU32,
    freed: AtomicU32,
    /// Nanoseconds since the program began. A run before that is early.
    due: AtomicU64,
}

/// A semaphore, and the number of its permits in use.
struct Permits {
    semaphore: Semaphore,
    most: usize,
    inside: AtomicUsize,
}

struct Run {
    program: Program,
    api: Api,
    start: Instant,
    clock: AtomicU64,
    /// Increases whenever anything but a ticker moves.
    moves: AtomicUsize,
    /// The number of captures that are not freed.
    alive: AtomicUsize,
    cells: Vec<Cell>,
    waited: Vec<AtomicU64>,
    events: Vec<Mutex<EventsTrace>>,
    permits: Vec<Permits>,
    /// The operations that each thread has begun.
    begun: Vec<AtomicUsize>,
    live: Mutex<Vec<Finding>>,
}

/// The handles of a thread or a block.
#[derive(Clone, Default)]
struct Handles {
    queues: BTreeMap<usize, Handle>,
    sources: BTreeMap<usize, Source>,
}

impl Handles {
    /// The handles that a block needs, and sometimes its own queue's.
    fn of(&self, run: &Run, block: &Block) -> Self {
        let (mut queues, mut sources) = (BTreeSet::new(), BTreeSet::new());
        needs(&block.then, &run.program, &mut queues, &mut sources);
        if block.id.is_multiple_of(2) {
            queues.insert(run.program.blocks[block.id].on);
        }
        let queues = queues.into_iter().filter_map(|queue| Some((queue, self.queues.get(&queue)?.clone())));
        let sources = sources.into_iter().filter_map(|source| Some((source, self.sources.get(&source)?.clone())));
        Self { queues: queues.collect(), sources: sources.collect() }
    }
}

/// The position of an operation: the handles in reach, and the queues of the blocks around it,
/// outermost first.
#[derive(Clone)]
struct Here {
    handles: Arc<Handles>,
    held: Vec<usize>,
}

/// Captured by a block. Its drop counts the block as freed.
struct Captured {
    run: Arc<Run>,
    id: Option<usize>,
}

impl Drop for Captured {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.run.cells[id].freed.fetch_add(1, SeqCst);
        }
        self.run.moves.fetch_add(1, SeqCst);
        self.run.alive.fetch_sub(1, SeqCst);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    fn new(program: Program, api: Api) -> Self {
        let permits = program.semaphores.iter().map(|&most| Permits {
            semaphore: api.semaphore(most),
            most,
            inside: AtomicUsize::new(0),
        });
        Self {
            permits: permits.collect(),
            cells: program.blocks.iter().map(|_| Cell::default()).collect(),
            waited: program.teams.iter().map(|_| AtomicU64::new(0)).collect(),
            events: program.events.iter().map(|_| Mutex::default()).collect(),
            begun: program.threads.iter().map(|_| AtomicUsize::new(0)).collect(),
            program,
            api,
            start: Instant::now(),
            clock: AtomicU64::new(0),
            moves: AtomicUsize::new(0),
            alive: AtomicUsize::new(0),
            live: Mutex::default(),
        }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, SeqCst) + 1
    }

    fn find(&self, check: Check, text: String) {
        locked(&self.live).push(Finding { check, text });
    }

    fn captured(self: &Arc<Self>, id: Option<usize>) -> Captured {
        self.alive.fetch_add(1, SeqCst);
        if let Some(id) = id {
            self.cells[id].made.fetch_add(1, SeqCst);
        }
        Captured { run: self.clone(), id }
    }
}

/// The program as a whole.
impl Run {
    fn perform(self: &Arc<Self>, patience: Duration) -> Outcomes {
        let (handles, mains) = self.plant_forest();
        let main_handles: Vec<Handle> =
            handles.queues.values().filter(|h| matches!(h, Handle::Main(_))).cloned().collect();
        let inactive: Vec<Handle> = handles
            .queues
            .iter()
            .filter(|(q, _)| self.program.forest.0[**q].inactive)
            .map(|(_, h)| h.clone())
            .collect();
        let threads: Vec<_> = (0..self.program.threads.len()).map(|thread| self.start(thread, &handles)).collect();
        drop(handles);
        inactive.iter().for_each(|queue| self.api.activate(queue));
        drop(inactive);
        let is_over = || threads.iter().all(JoinHandle::is_finished);
        let mut ended = self.watch(patience, is_over);
        self.api.settle();
        ended = ended && self.watch(patience, || self.alive.load(SeqCst) == 0);
        if ended {
            threads.into_iter().for_each(|thread| _ = thread.join());
            main_handles.iter().for_each(|main| self.api.stop(main));
            mains.into_iter().for_each(|thread| _ = thread.join());
            if let Err(report) = self.api.shutdown(patience) {
                self.find(Check::Once, format!("the runtime of a program that had ended was not idle: {report}"));
            }
        } else {
            self.find(Check::Hang, format!("nothing moved for {patience:?}: {}", self.state()));
        }
        let history = self.history();
        let mut findings = std::mem::take(&mut *locked(&self.live));
        findings.extend(verify(&self.program, &history));
        // A program that hangs has not freed its captures, which adds nothing to the report.
        if !ended {
            findings.retain(|finding| finding.check != Check::Once && finding.check != Check::Sources);
        }
        Outcomes { findings, blocks: history.blocks.iter().filter(|trace| trace.begin > 0).count() }
    }

    /// Waits until `is_over`. `false`: nothing moved for `patience`.
    fn watch(&self, patience: Duration, is_over: impl Fn() -> bool) -> bool {
        let (mut moves, mut since) = (usize::MAX, Instant::now());
        while !is_over() {
            let now = self.moves.load(SeqCst);
            if now != moves {
                (moves, since) = (now, Instant::now());
            } else if since.elapsed() > patience {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    fn plant_forest(self: &Arc<Self>) -> (Handles, Vec<JoinHandle<()>>) {
        let (mut queues, mut mains) = (Vec::new(), Vec::new());
        for number in 0..self.program.forest.0.len() {
            let captured = self.captured(None);
            let end = move |count, exact| {
                let run = &captured.run;
                if count != exact {
                    run.find(
                        Check::Results,
                        format!("the value of queue {number} was lent {exact} times and counted {count}"),
                    );
                }
            };
            let made = self.api.queue(&self.program.forest, number, &queues, end);
            queues.push(made.unwrap_or_else(|| {
                let label = self.program.forest.label(number);
                let (handle, thread) = self.api.main_queue(label, self.program.turns);
                mains.push(thread);
                handle
            }));
        }
        let sources = self.program.events.iter().enumerate().filter(|(_, events)| !events.ticker);
        let sources = sources.map(|(number, events)| {
            let (handler, end) = self.handlers(number);
            (number, self.api.source(&queues[events.on], handler, end))
        });
        let sources = sources.collect();
        (Handles { queues: queues.into_iter().enumerate().collect(), sources }, mains)
    }

    /// The handlers of a source or a ticker: for ticks or sums, and for its end.
    fn handlers(self: &Arc<Self>, number: usize) -> (impl FnMut(u64) + Send + 'static, impl Fn() + Send + 'static) {
        locked(&self.events[number]).made = true;
        let (on_event, on_end) = (self.captured(None), self.captured(None));
        let handler = move |value| {
            let run = &on_event.run;
            let begin = run.tick();
            run.look_around(&Here { handles: Arc::default(), held: vec![run.program.events[number].on] });
            std::thread::yield_now();
            locked(&run.events[number]).runs.push((begin, run.tick(), value));
        };
        let end = move || {
            let now = on_end.run.tick();
            locked(&on_end.run.events[number]).ended.push(now);
        };
        (handler, end)
    }

    fn start(self: &Arc<Self>, thread: usize, handles: &Handles) -> JoinHandle<()> {
        let (run, mut handles) = (self.clone(), handles.clone());
        std::thread::spawn(move || {
            for op in &run.program.threads[thread] {
                run.begun[thread].fetch_add(1, SeqCst);
                run.moves.fetch_add(1, SeqCst);
                if let Op::Drop(queue) = op {
                    handles.queues.remove(queue);
                    continue;
                }
                let here = Here { handles: Arc::new(handles.clone()), held: Vec::new() };
                run.op_caught(op, &here);
            }
        })
    }

    fn history(&self) -> History {
        let blocks = self.cells.iter().map(|cell| Trace {
            outcome: match cell.outcome.load(SeqCst) {
                0 => Outcome::None,
                1 => Outcome::Due,
                _ => Outcome::Refused,
            },
            called: cell.called.load(SeqCst),
            returned: cell.returned.load(SeqCst),
            begin: cell.begin.load(SeqCst),
            end: cell.end.load(SeqCst),
            begins: cell.begins.load(SeqCst),
            ends: cell.ends.load(SeqCst),
            made: cell.made.load(SeqCst),
            freed: cell.freed.load(SeqCst),
        });
        let events = self.events.iter().map(|events| locked(events).clone()).collect();
        History { blocks: blocks.collect(), events, waited: self.waited.iter().map(|at| at.load(SeqCst)).collect() }
    }

    /// The state of a hung program: running blocks, waiting blocks, and the position of each
    /// thread.
    fn state(&self) -> String {
        let mut text = String::new();
        for (id, trace) in self.history().blocks.iter().enumerate() {
            let on = self.program.forest.label(self.program.blocks[id].on);
            if trace.begin > 0 && trace.end == 0 {
                _ = write!(text, "\n  block {id} of queue {on} began at {} and did not end", trace.begin);
            } else if trace.outcome == Outcome::Due && trace.begin == 0 {
                _ = write!(text, "\n  block {id} of queue {on} was submitted at {} and did not begin", trace.called);
            }
        }
        for (thread, begun) in self.begun.iter().enumerate() {
            let (begun, all) = (begun.load(SeqCst), self.program.threads[thread].len());
            _ = write!(text, "\n  thread {thread} is in operation {begun} of {all}");
        }
        _ = write!(text, "\n  {} captures are alive", self.alive.load(SeqCst));
        text
    }
}
