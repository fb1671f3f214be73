//! Draws a random program from a seed.
//!
//! Rule: a block of tree `t` waits without a limit only for trees behind `t`, and for nothing while
//! it has suspended a queue. So no program can deadlock. Pure, as `program`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::choice::Choice;
use super::program::{About, Block, Events, Forest, How, Kind, Node, Op, Program, Stay, Team};

/// The most queues between a queue and the pool.
const DEPTH: usize = 4;
/// Blocks within blocks.
const NEST: usize = 4;

impl Forest {
    fn draw(choice: &mut Choice) -> Self {
        let mut forest = Self(Vec::new());
        for number in 0..choice.between(2..=10) {
            let target = (number > 0 && choice.one_in(2)).then(|| choice.between(0..=number - 1));
            let target = target.filter(|&to| forest.chain(to).count() <= DEPTH && forest.0[to].kind != Kind::Main);
            let kind = match choice.between(0..=9) {
                0..=3 => Kind::Serial,
                4 | 5 => Kind::Concurrent(choice.one_in(2).then(|| choice.between(1..=3))),
                6 => Kind::Workloop,
                7 => Kind::Main,
                _ => Kind::Isolated,
            };
            // A workloop has a serial target, and is the target of serial queues.
            let kind = match (kind, target.map(|to| forest.0[to].kind)) {
                (Kind::Workloop | Kind::Concurrent(_), Some(Kind::Workloop)) | (Kind::Main, Some(_)) => Kind::Serial,
                (Kind::Workloop, Some(Kind::Concurrent(_))) => Kind::Serial,
                _ => kind,
            };
            let of_a_workloop = target.is_some_and(|to| forest.0[to].kind == Kind::Workloop);
            let inactive = !of_a_workloop && kind != Kind::Main && choice.one_in(8);
            forest.0.push(Node { kind, target, inactive });
        }
        forest
    }
}

impl Program {
    /// The program of this seed.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut choice = Choice::new(seed, "program", 0).fork();
        let forest = Forest::draw(&mut choice);
        let semaphores = (0..choice.between(1..=2)).map(|_| choice.between(1..=3)).collect();
        let mut events = Vec::new();
        for _ in 0..choice.between(0..=3) {
            let on = choice.between(0..=forest.0.len() - 1);
            if matches!(forest.0[on].kind, Kind::Serial | Kind::Isolated) {
                events.push(Events { on, ticker: false });
            }
        }
        let (workers, turns) = (choice.between(1..=4), choice.one_in(2).then(|| choice.between(1..=8)));
        let (sources, budget) = (events.len(), choice.between(20..=160));
        let gone = BTreeSet::new();
        let mut draw =
            Draw { choice, forest, blocks: Vec::new(), teams: Vec::new(), semaphores, events, sources, budget, gone };
        let threads = (0..draw.choice.between(2..=4)).map(|_| draw.thread()).collect();
        let Draw { forest, blocks, teams, semaphores, events, .. } = draw;
        Self { seed, workers, forest, blocks, teams, semaphores, events, threads, turns }
    }
}

/// The position of the next operation.
#[derive(Clone, Copy)]
struct At {
    /// The first tree that may be waited for.
    floor: usize,
    /// The number of blocks around it.
    nest: usize,
    /// The queue of the block around it.
    inside: Option<usize>,
    /// A bit for each tree that a block around it is in.
    held: u32,
}

impl At {
    /// The position inside a block that is not waited for here.
    fn elsewhere(self) -> Self {
        Self { floor: 0, held: 0, ..self }
    }
}

const NEVER: usize = usize::MAX;

struct Draw {
    choice: Choice,
    forest: Forest,
    blocks: Vec<About>,
    teams: Vec<Team>,
    semaphores: Vec<usize>,
    events: Vec<Events>,
    /// The number of `events` that are sources.
    sources: usize,
    budget: usize,
    /// The queues of which this thread has no handle any more.
    gone: BTreeSet<usize>,
}

impl Draw {
    fn thread(&mut self) -> Vec<Op> {
        self.gone.clear();
        let (mut ops, n) = (Vec::new(), self.choice.between(4..=24));
        for _ in 0..n {
            if self.choice.one_in(24)
                && let Some(queue) = self.queue(|_, _| true)
            {
                self.gone.insert(queue);
                ops.push(Op::Drop(queue));
            }
            ops.extend(self.op(At { floor: 0, nest: 0, inside: None, held: 0 }));
        }
        ops
    }

    fn some(&mut self, at: At, most: usize) -> Vec<Op> {
        (0..self.choice.between(0..=most)).filter_map(|_| self.op(at)).collect()
    }

    /// A queue that the thread can reach and that is `fit`.
    fn queue(&mut self, fit: impl Fn(&Forest, usize) -> bool) -> Option<usize> {
        let of: Vec<usize> =
            (0..self.forest.0.len()).filter(|q| !self.gone.contains(q) && fit(&self.forest, *q)).collect();
        (!of.is_empty()).then(|| of[self.choice.between(0..=of.len() - 1)])
    }

    fn stay(&mut self) -> Stay {
        if self.choice.one_in(6) {
            Stay::Long(self.choice.between(10..=120) as u64)
        } else {
            Stay::Short(self.choice.dwell())
        }
    }

    fn about(&mut self, on: usize, ordered: bool, may_be_barrier: bool) -> usize {
        let barrier = may_be_barrier && self.forest.is_concurrent(on) && self.choice.one_in(3);
        let class = if self.forest.0[on].kind == Kind::Workloop { self.choice.between(0..=4) } else { 0 };
        self.blocks.push(About { on, barrier, ordered, class });
        self.budget = self.budget.saturating_sub(1);
        self.blocks.len() - 1
    }

    /// A block on that queue.
    fn block(&mut self, on: usize, ordered: bool, may_be_barrier: bool, around: At) -> Arc<Block> {
        let (id, stay) = (self.about(on, ordered, may_be_barrier), self.stay());
        let (floor, held) = (around.floor.max(self.forest.root(on) + 1), around.held | 1 << self.forest.root(on));
        let within = At { floor, nest: around.nest + 1, inside: Some(on), held };
        let then = if around.nest < NEST { self.some(within, 2) } else { Vec::new() };
        Arc::new(Block { id, stay, then })
    }

    fn op(&mut self, at: At) -> Option<Op> {
        if self.budget == 0 {
            return None;
        }
        match self.choice.between(0..=29) {
            0..=17 => self.run(at),
            18 | 19 => self.group(at),
            20 | 21 => {
                let on = self.queue(|forest, q| forest.root(q) >= at.floor && forest.is_concurrent(q));
                let on = on.filter(|_| self.choice.one_in(2));
                let (first, n) = (self.blocks.len(), self.choice.between(1..=6));
                if at.floor == NEVER {
                    return None;
                }
                // A number of the runtime is on no queue, so its place is never used.
                let about = About { on: on.unwrap_or(NEVER), barrier: false, ordered: false, class: 0 };
                self.blocks.extend(std::iter::repeat_n(about, n));
                self.budget = self.budget.saturating_sub(n);
                Some(Op::Apply { on, first, n, stay: self.stay() })
            }
            22 | 23 if at.floor != NEVER => {
                let semaphore = self.choice.between(0..=self.semaphores.len() - 1);
                let stay = if self.choice.one_in(2) { Stay::Long(50) } else { self.stay() };
                Some(Op::Permit { semaphore, stay })
            }
            24 | 25 if self.sources > 0 => {
                let events = self.choice.between(0..=self.sources - 1);
                let value = self.choice.between(1..=9) as u64;
                Some(if self.choice.one_in(20) { Op::Cancel { events } } else { Op::Merge { events, value } })
            }
            26 | 27 => {
                let on = self.queue(|forest, q| forest.0[q].kind != Kind::Main)?;
                let then = self.some(At { floor: NEVER, ..at }, 4);
                Some(Op::Suspend(on, then))
            }
            28 => {
                let on = self.queue(|forest, q| matches!(forest.0[q].kind, Kind::Serial | Kind::Isolated))?;
                self.events.push(Events { on, ticker: true });
                let (events, interval) = (self.events.len() - 1, self.choice.between(100..=1_000) as u64);
                let (cancel, then) = (self.choice.one_in(2), self.some(at, 3));
                Some(Op::Ticker { events, interval, cancel, then })
            }
            29 => {
                let is_serial = |q: &usize| !matches!(self.forest.0[*q].kind, Kind::Concurrent(_) | Kind::Main);
                at.inside.filter(is_serial).map(Op::Again)
            }
            _ => None,
        }
    }

    fn run(&mut self, at: At) -> Option<Op> {
        let us = self.choice.between(0..=1_500) as u64;
        let how = match self.choice.between(0..=15) {
            0..=4 => How::Submit,
            5..=7 => How::Sync,
            8 => How::Try,
            9 => How::Timed(us),
            10 | 11 => How::Call { wait: true },
            12 => How::Call { wait: false },
            13 => How::Delayed { delay: us, cancel: self.choice.one_in(3) },
            14 => How::Item { cancel: self.choice.one_in(3), wait: false },
            _ => How::Item { cancel: self.choice.one_in(3), wait: true },
        };
        let waits = matches!(how, How::Sync | How::Call { wait: true } | How::Item { wait: true, .. });
        let tries = matches!(how, How::Try | How::Timed(_));
        let is_item = matches!(how, How::Item { .. });
        // A thread may enter once more where it already is. Then two blocks run at once without
        // breaking a promise.
        let held = if tries { at.held } else { 0 };
        let on = self.queue(|forest, q| {
            (!waits || forest.root(q) >= at.floor)
                && held & 1 << forest.root(q) == 0
                && !(is_item && forest.0[q].kind == Kind::Main)
        })?;
        let around = if tries || how == How::Sync { at } else { at.elsewhere() };
        let is_delayed = matches!(how, How::Delayed { .. });
        // A group and `try_sync` say no class.
        let says_class = how != How::Try || self.forest.0[on].kind != Kind::Workloop;
        let block = self.block(on, !is_delayed && says_class, !is_delayed, around);
        Some(Op::Run(how, block))
    }

    fn group(&mut self, at: At) -> Option<Op> {
        let waits = at.floor != NEVER && self.choice.one_in(2);
        let floor = if waits { at.floor } else { 0 };
        let mut members = Vec::new();
        for _ in 0..self.choice.between(1..=4) {
            let on = self.queue(|forest, q| forest.root(q) >= floor)?;
            members.push(self.block(on, self.forest.0[on].kind != Kind::Workloop, false, at.elsewhere()));
        }
        let by_hand = self.choice.one_in(3).then(|| self.queue(|forest, q| forest.root(q) >= floor)).flatten();
        let by_hand = by_hand.map(|on| self.block(on, false, false, at.elsewhere()));
        let notify = if waits { None } else { self.queue(|_, _| true) };
        let notify = notify.map(|on| self.block(on, false, false, at.elsewhere()));
        let ids = members.iter().chain(&by_hand).map(|block| block.id).collect();
        self.teams.push(Team { members: ids, notify: notify.as_ref().map(|block| block.id) });
        Some(Op::Group { number: self.teams.len() - 1, members, by_hand, notify })
    }
}
