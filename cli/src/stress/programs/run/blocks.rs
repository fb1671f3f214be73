//! The operations of threads and blocks of a random program, and the record of each.
//!
//! Not for: the program as a whole (`run`), nor for the library's calls (`api`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::super::api::{Handle, Timer, Tried};
use super::super::program::{About, Block, Events, How, Kind, Op, Stay};
use super::super::verify::Check;
use super::{Cell, Handles, Here, Run, locked};

/// How long a `sync` that must be refused waits if it is not.
const AGAIN: Duration = Duration::from_millis(20);

impl Run {
    /// A closure that runs `block` with these handles, in blocks of `outer`.
    fn body(self: &Arc<Self>, block: &Arc<Block>, handles: Arc<Handles>, outer: &[usize]) -> impl Fn() + Send + use<> {
        let (captured, block, mut held) = (self.captured(Some(block.id)), block.clone(), outer.to_vec());
        held.push(self.program.blocks[block.id].on);
        let here = Here { handles, held };
        move || captured.run.enter(&block, &here)
    }

    fn enter(self: &Arc<Self>, block: &Block, here: &Here) {
        let cell = &self.cells[block.id];
        self.begin(cell, block.id);
        self.look_around(here);
        stay(block.stay);
        block.then.iter().for_each(|op| self.op_caught(op, here));
        self.end(cell);
    }

    fn begin(&self, cell: &Cell, id: usize) {
        let due = cell.due.load(SeqCst);
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if now < due {
            self.find(Check::Timers, format!("block {id} began {} us too early", (due - now) / 1_000));
        }
        cell.begins.fetch_add(1, SeqCst);
        _ = cell.begin.compare_exchange(0, self.tick(), SeqCst, SeqCst);
        self.moves.fetch_add(1, SeqCst);
    }

    fn end(&self, cell: &Cell) {
        cell.end.store(self.tick(), SeqCst);
        cell.ends.fetch_add(1, SeqCst);
        self.moves.fetch_add(1, SeqCst);
    }

    /// Compares this thread's position with the library's report of it.
    pub(super) fn look_around(&self, here: &Here) {
        let (Some(&own), forest) = (here.held.last(), &self.program.forest) else {
            return;
        };
        let is_within = |held: &[usize], queue| held.iter().any(|&of| forest.chain(of).any(|level| level == queue));
        for (&queue, handle) in &here.handles.queues {
            let (own, any) = (is_within(&[own], queue), is_within(&here.held, queue));
            // A main queue is a thread: a `sync` in its block may run on another one.
            let is_main = matches!(handle, Handle::Main(_));
            let answer = if own || any && !is_main {
                catch_unwind(AssertUnwindSafe(|| self.api.expect_inside(handle)))
            } else if !any {
                catch_unwind(AssertUnwindSafe(|| self.api.expect_outside(handle)))
            } else {
                continue;
            };
            let answer = answer.unwrap_or_else(|panic| Err(sentence(&*panic)));
            if let Err(what) = answer {
                self.find(Check::Place, format!("in blocks of {:?}, asked about queue {queue}: {what}", here.held));
            }
        }
        let has_value = |&level: &usize| !matches!(forest.0[level].kind, Kind::Workloop | Kind::Main);
        let (expected, number) = (forest.chain(own).find(has_value), self.api.current_number());
        if number != expected {
            self.find(Check::Place, format!("in blocks of {:?}: the value of the queue is {number:?}", here.held));
        }
    }

    /// No operation of a program panics.
    pub(super) fn op_caught(self: &Arc<Self>, op: &Op, here: &Here) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.op(op, here))) {
            self.find(
                Check::Place,
                format!("in blocks of {:?}, a legal call panicked: {}", here.held, sentence(&*panic)),
            );
        }
    }

    fn op(self: &Arc<Self>, op: &Op, here: &Here) {
        match op {
            Op::Run(how, block) => self.run_block(*how, block, here),
            Op::Group { number, members, by_hand, notify } => {
                self.group(*number, members, by_hand.as_ref(), notify.as_ref(), here);
            }
            Op::Apply { on, first, n, stay: time } => {
                let on = on.and_then(|on| here.handles.queues.get(&on));
                (*first..first + n).for_each(|id| self.cells[id].outcome.store(1, SeqCst));
                self.api.apply(on, *n, |number| {
                    let cell = &self.cells[first + number];
                    self.begin(cell, first + number);
                    stay(*time);
                    self.end(cell);
                });
            }
            Op::Permit { semaphore, stay: time } => {
                let permits = &self.permits[*semaphore];
                self.api.with_permit(&permits.semaphore, || {
                    let inside = permits.inside.fetch_add(1, SeqCst) + 1;
                    if inside > permits.most {
                        let text =
                            format!("{inside} have one of the {} permits of semaphore {semaphore}", permits.most);
                        self.find(Check::Permits, text);
                    }
                    stay(*time);
                    permits.inside.fetch_sub(1, SeqCst);
                });
            }
            Op::Merge { events, value } => {
                if let Some(source) = here.handles.sources.get(events) {
                    locked(&self.events[*events]).merged += value;
                    self.api.merge(source, *value);
                }
            }
            Op::Cancel { events } => {
                if let Some(source) = here.handles.sources.get(events) {
                    locked(&self.events[*events]).cancelled = true;
                    self.api.cancel_source(source);
                }
            }
            Op::Suspend(on, then) => {
                let Some(queue) = here.handles.queues.get(on) else {
                    return;
                };
                self.api.suspend(queue);
                then.iter().for_each(|op| self.op_caught(op, here));
                if !self.api.resume(queue) {
                    self.find(Check::Results, format!("queue {on} was suspended, and resume says that it was not"));
                }
            }
            Op::Ticker { events, interval, cancel, then } => {
                let Events { on, .. } = self.program.events[*events];
                let Some(queue) = here.handles.queues.get(&on) else {
                    return;
                };
                let (handler, end) = self.handlers(*events);
                let ticker = self.api.ticker(queue, Duration::from_micros(*interval), handler, end);
                then.iter().for_each(|op| self.op_caught(op, here));
                if *cancel {
                    self.api.cancel_ticker(&ticker);
                }
            }
            Op::Again(on) => {
                let Some(queue) = here.handles.queues.get(on) else {
                    return;
                };
                let about = About { on: *on, barrier: false, ordered: false, class: 0 };
                let tried = self.api.timed_sync(queue, about, AGAIN, || ());
                if tried != Tried::Deadlock {
                    let text =
                        format!("in blocks of {:?}, sync on queue {on} is a deadlock, and was {tried:?}", here.held);
                    self.find(Check::Place, text);
                }
            }
            Op::Drop(_) => (),
        }
    }

    /// Submits by `submit`, and records the times of that.
    fn submitting<R>(&self, id: usize, submit: impl FnOnce() -> R) -> R {
        let cell = &self.cells[id];
        cell.outcome.store(1, SeqCst);
        cell.called.store(self.tick(), SeqCst);
        let result = submit();
        cell.returned.store(self.tick(), SeqCst);
        result
    }

    fn refused(&self, id: usize) {
        self.cells[id].outcome.store(2, SeqCst);
    }

    fn run_block(self: &Arc<Self>, how: How, block: &Arc<Block>, here: &Here) {
        let (id, about) = (block.id, self.program.blocks[block.id]);
        let Some(queue) = here.handles.queues.get(&about.on) else {
            return;
        };
        let away = || self.body(block, Arc::new(here.handles.of(self, block)), &[]);
        let within = || self.body(block, here.handles.clone(), &here.held);
        match how {
            How::Submit => self.submitting(id, || self.api.submit(queue, about, away())),
            How::Sync => self.submitting(id, || self.api.sync(queue, about, within())),
            How::Try => {
                let tried = self.submitting(id, || self.api.try_sync(queue, about, within()));
                self.tried(id, tried, here);
            }
            How::Timed(time) => {
                let time = Duration::from_micros(time);
                let tried = self.submitting(id, || self.api.timed_sync(queue, about, time, within()));
                self.tried(id, tried, here);
            }
            How::Call { wait } => {
                let task = self.submitting(id, || self.api.call(queue, about, away()));
                if wait {
                    let result = self.api.wait(task);
                    self.expect_ended(id, result.is_ok(), &format!("{result:?}"));
                }
            }
            How::Delayed { delay, cancel } => {
                let timer = self.submitting(id, || self.delayed(id, delay, queue, away()));
                if cancel && self.api.cancel_timer(&timer) {
                    self.refused(id);
                }
            }
            How::Item { cancel, wait } => {
                let item = self.submitting(id, || self.api.item(queue, about, away()));
                let cancelled = cancel && self.api.cancel_item(&item);
                if cancelled {
                    self.refused(id);
                }
                if wait {
                    let ran = self.api.wait_item(&item);
                    self.expect_ended(id, ran != cancelled, if ran { "it ran" } else { "it did not run" });
                }
            }
        }
    }

    fn delayed(&self, id: usize, delay: u64, queue: &Handle, body: impl Fn() + Send + 'static) -> Timer {
        let due = self.start.elapsed() + Duration::from_micros(delay);
        self.cells[id].due.store(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX), SeqCst);
        self.api.delayed(queue, self.program.blocks[id], Duration::from_micros(delay), body)
    }

    /// The block was waited for, so it must have ended.
    fn expect_ended(&self, id: usize, is_right: bool, result: &str) {
        let cell = &self.cells[id];
        let is_due = cell.outcome.load(SeqCst) == 1;
        if !is_right || is_due && cell.end.load(SeqCst) == 0 {
            self.find(Check::Results, format!("the wait for block {id} said: {result}"));
        }
    }

    fn tried(&self, id: usize, tried: Tried, here: &Here) {
        if tried == Tried::Ran {
            return;
        }
        self.refused(id);
        let (forest, on) = (&self.program.forest, self.program.blocks[id].on);
        let shares = here.held.iter().any(|&held| forest.root(held) == forest.root(on));
        if tried == Tried::Shutdown || tried == Tried::Deadlock && !shares {
            let text = format!("in blocks of {:?}, sync on queue {on} was refused: {tried:?}", here.held);
            self.find(Check::Place, text);
        }
    }

    fn group(
        self: &Arc<Self>,
        number: usize,
        members: &[Arc<Block>],
        by_hand: Option<&Arc<Block>>,
        notify: Option<&Arc<Block>>,
        here: &Here,
    ) {
        let group = self.api.group();
        let away = |block: &Arc<Block>| self.body(block, Arc::new(here.handles.of(self, block)), &[]);
        let queue = |block: &Block| here.handles.queues.get(&self.program.blocks[block.id].on);
        if let Some(block) = by_hand
            && let Some(queue) = queue(block)
        {
            self.api.enter(&group);
            let (body, run, own) = (away(block), self.clone(), group.clone());
            let body = move || {
                body();
                if !run.api.leave(&own) {
                    run.find(Check::Groups, format!("group {number} was entered, and leave says that it was not"));
                }
            };
            self.submitting(block.id, || self.delayed(block.id, 100, queue, body));
        }
        for block in members {
            if let Some(queue) = queue(block) {
                let (id, about) = (block.id, self.program.blocks[block.id]);
                self.submitting(id, || self.api.submit_member(&group, queue, about, away(block)));
            }
        }
        match notify {
            Some(block) => {
                if let Some(queue) = queue(block) {
                    self.submitting(block.id, || self.api.notify(&group, queue, away(block)));
                }
            }
            None => {
                self.api.wait_group(&group);
                self.waited[number].store(self.tick(), SeqCst);
            }
        }
    }
}

fn stay(stay: Stay) {
    match stay {
        Stay::Short(dwell) => dwell.pass(),
        Stay::Long(time) => {
            let end = Instant::now() + Duration::from_micros(time);
            while Instant::now() < end {
                std::thread::yield_now();
            }
        }
    }
}

fn sentence(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.into())).unwrap_or_default()
}
