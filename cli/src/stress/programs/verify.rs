//! The record of a run of a random program, compared with the promises.
//!
//! Every event took a number from one counter. So two blocks whose spans of numbers overlap were
//! running at once, and a submission that returned before another was called took effect first.
//! Pure: it names no queue of the library.

use super::program::{Forest, Kind, Program};

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    /// Each block ran once, and was freed once. If it was refused or cancelled, it was only freed.
    Once,
    /// First in, first out.
    Order,
    /// One block at a time, in serial queues and in all that target them.
    Exclusion,
    /// No more than the width.
    Width,
    /// A barrier is alone, behind what came before and ahead of what came after.
    Barriers,
    /// A thread is in the queues that it is in, by `assert_on`, `is_current`, values of queues and
    /// deadlocks.
    Place,
    /// The end of a group is the end of all members.
    Groups,
    /// Sources: sums, and one last call.
    Sources,
    /// A permit is one thread's.
    Permits,
    /// No timer is early.
    Timers,
    /// Values on queues, and work items.
    Results,
    /// Everything comes to an end.
    Hang,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    pub(crate) text: String,
}

/// The fate of a submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was never made.
    #[default]
    None,
    /// The block must run.
    Due,
    /// The block must not run.
    Refused,
}

/// One block. 0 means never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) outcome: Outcome,
    pub(crate) called: u64,
    pub(crate) returned: u64,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) begins: u32,
    pub(crate) ends: u32,
    pub(crate) made: u32,
    pub(crate) freed: u32,
}

/// One source or ticker.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventsTrace {
    /// Begin, end and value of each run of the handler.
    pub(crate) runs: Vec<(u64, u64, u64)>,
    /// The times at which the handler of its end ran.
    pub(crate) ended: Vec<u64>,
    /// The sum of what was merged.
    pub(crate) merged: u64,
    pub(crate) cancelled: bool,
    pub(crate) made: bool,
}

/// The whole record.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) blocks: Vec<Trace>,
    pub(crate) events: Vec<EventsTrace>,
    /// The time at which the wait for each group returned.
    pub(crate) waited: Vec<u64>,
}

/// A span in which something ran.
#[derive(Clone, Copy)]
struct Span {
    /// The block, if it is one.
    id: Option<usize>,
    on: usize,
    begin: u64,
    end: u64,
}

impl Span {
    fn name(&self) -> String {
        match self.id {
            Some(id) => format!("block {id} (queue {})", self.on),
            None => format!("a handler (queue {})", self.on),
        }
    }
}

/// The promises that were broken.
pub(crate) fn verify(program: &Program, history: &History) -> Vec<Finding> {
    let mut found = Found { program, history, findings: Vec::new() };
    found.once();
    found.order();
    let spans = found.spans();
    found.widths(&spans);
    found.barriers(&spans);
    found.groups();
    found.sources();
    found.findings
}

struct Found<'a> {
    program: &'a Program,
    history: &'a History,
    findings: Vec<Finding>,
}

impl Found<'_> {
    fn find(&mut self, check: Check, text: String) {
        self.findings.push(Finding { check, text });
    }

    fn once(&mut self) {
        for (id, trace) in self.history.blocks.iter().enumerate() {
            let runs = u32::from(trace.outcome == Outcome::Due);
            if (trace.begins, trace.ends) != (runs, runs) {
                let Trace { begins, ends, outcome, .. } = trace;
                self.find(
                    Check::Once,
                    format!("block {id} was {outcome:?} and began {begins} times, ended {ends} times"),
                );
            }
            if trace.made != trace.freed {
                self.find(
                    Check::Once,
                    format!("block {id} was made {} times, freed {} times", trace.made, trace.freed),
                );
            }
        }
    }

    /// In each serial queue, and each class of a workloop, the block that was submitted first began
    /// first.
    fn order(&mut self) {
        let forest = &self.program.forest;
        for queue in (0..forest.0.len()).filter(|&queue| !forest.is_concurrent(queue)) {
            let classes = if forest.0[queue].kind == Kind::Workloop { 5 } else { 1 };
            for class in 0..classes {
                let mut line: Vec<(usize, Trace)> =
                    self.ran(queue).filter(|&(id, _)| self.program.blocks[id].class == class).collect();
                line.sort_by_key(|(_, trace)| trace.begin);
                let mut latest = (0, 0);
                for (id, trace) in line {
                    if trace.returned < latest.1 {
                        self.find(
                            Check::Order,
                            format!(
                                "queue {queue}: block {id} ran behind block {}, which was submitted after it",
                                latest.0
                            ),
                        );
                        break;
                    }
                    if trace.called > latest.1 {
                        latest = (id, trace.called);
                    }
                }
            }
        }
    }

    /// The blocks of that queue that have a place in its order, and ran.
    fn ran(&self, queue: usize) -> impl Iterator<Item = (usize, Trace)> {
        let blocks = self.history.blocks.iter().copied().enumerate();
        blocks.filter(move |&(id, trace)| {
            let about = self.program.blocks[id];
            about.on == queue && about.ordered && trace.begin > 0 && trace.returned > 0
        })
    }

    fn spans(&self) -> Vec<Span> {
        let end = |end| if end == 0 { u64::MAX } else { end };
        let blocks = self.history.blocks.iter().enumerate().filter(|(_, trace)| trace.begin > 0);
        let blocks = blocks.map(|(id, trace)| Span {
            id: Some(id),
            on: self.program.blocks[id].on,
            begin: trace.begin,
            end: end(trace.end),
        });
        let handlers = self.history.events.iter().zip(&self.program.events).flat_map(|(trace, events)| {
            trace.runs.iter().map(|run| Span { id: None, on: events.on, begin: run.0, end: end(run.1) })
        });
        // A number of a loop of the runtime is on no queue.
        blocks.chain(handlers).filter(|span| span.on < self.program.forest.0.len()).collect()
    }

    fn widths(&mut self, spans: &[Span]) {
        let forest = &self.program.forest;
        for queue in 0..forest.0.len() {
            let width = forest.width(queue);
            let mut within: Vec<&Span> = spans.iter().filter(|span| targets(forest, span.on, queue)).collect();
            within.sort_by_key(|span| span.begin);
            let mut inside: Vec<&Span> = Vec::new();
            for span in within {
                inside.retain(|other| other.end > span.begin);
                inside.push(span);
                if inside.len() > width {
                    let names: Vec<String> = inside.iter().map(|span| span.name()).collect();
                    let check =
                        if width == 1 && !forest.is_concurrent(queue) { Check::Exclusion } else { Check::Width };
                    self.find(check, format!("queue {queue} has width {width}, and at once ran {}", names.join(", ")));
                    break;
                }
            }
        }
    }

    fn barriers(&mut self, spans: &[Span]) {
        let forest = &self.program.forest;
        for barrier in spans {
            let Some(id) = barrier.id.filter(|&id| self.program.blocks[id].barrier) else {
                continue;
            };
            let beside = spans.iter().find(|span| {
                span.id != barrier.id
                    && targets(forest, span.on, barrier.on)
                    && span.begin < barrier.end
                    && barrier.begin < span.end
            });
            if let Some(beside) = beside {
                self.find(
                    Check::Barriers,
                    format!("beside barrier {id} of queue {} ran {}", barrier.on, beside.name()),
                );
            }
            if !self.program.blocks[id].ordered {
                continue;
            }
            let own = self.history.blocks[id];
            let wrong = self.ran(barrier.on).find(|&(_, trace)| {
                let (end, own_end) = (trace.end, own.end);
                trace.returned < own.called && (end == 0 || end > own.begin)
                    || own.returned > 0 && own.returned < trace.called && (own_end == 0 || own_end > trace.begin)
            });
            if let Some((other, _)) = wrong {
                self.find(
                    Check::Barriers,
                    format!(
                        "queue {}: barrier {id} and block {other} did not run in the order of their submissions",
                        barrier.on
                    ),
                );
            }
        }
    }

    fn groups(&mut self) {
        for (number, team) in self.program.teams.iter().enumerate() {
            let waited = self.history.waited.get(number).copied().unwrap_or(0);
            let notified = team.notify.map_or(0, |id| self.history.blocks[id].begin);
            for (what, when) in [("wait", waited), ("notification", notified)] {
                let late = |id: &&usize| {
                    let trace = self.history.blocks[**id];
                    trace.outcome == Outcome::Due && (trace.end == 0 || trace.end > when)
                };
                if when > 0
                    && let Some(late) = team.members.iter().find(late)
                {
                    self.find(Check::Groups, format!("the {what} of group {number} was over before block {late}"));
                }
            }
        }
    }

    fn sources(&mut self) {
        for (number, trace) in self.history.events.iter().enumerate().filter(|(_, trace)| trace.made) {
            let what = if self.program.events[number].ticker { "ticker" } else { "source" };
            if trace.ended.len() != 1 {
                self.find(Check::Sources, format!("{what} {number} ended {} times", trace.ended.len()));
            }
            let first = trace.ended.first().copied().unwrap_or(u64::MAX);
            if trace.runs.iter().any(|run| run.1 == 0 || run.1 > first) {
                self.find(Check::Sources, format!("the handler of {what} {number} ran after its end"));
            }
            let sum: u64 = trace.runs.iter().map(|run| run.2).sum();
            if what == "source" && (sum > trace.merged || sum < trace.merged && !trace.cancelled) {
                self.find(Check::Sources, format!("source {number} was given {} and handled {sum}", trace.merged));
            }
        }
    }
}

/// Whether `queue` is `on` itself or in the target chain of `on`.
fn targets(forest: &Forest, on: usize, queue: usize) -> bool {
    forest.chain(on).any(|level| level == queue)
}

#[cfg(test)]
mod tests {
    use super::super::program::{About, Events, Node, Team};
    use super::*;

    /// Queue 0 is serial, 1 targets it, 2 is concurrent with width 2, 3 targets 2.
    fn program(on: &[usize]) -> Program {
        let node = |kind, target| Node { kind, target, inactive: false };
        let forest = Forest(vec![
            node(Kind::Serial, None),
            node(Kind::Serial, Some(0)),
            node(Kind::Concurrent(Some(2)), None),
            node(Kind::Serial, Some(2)),
        ]);
        let blocks = on.iter().map(|&on| About { on, barrier: false, ordered: true, class: 0 }).collect();
        let (teams, semaphores, events, threads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Program { seed: 0, workers: 1, forest, blocks, teams, semaphores, events, threads, turns: None }
    }

    /// The times: called, returned, begin, end.
    fn ran((called, returned, begin, end): (u64, u64, u64, u64)) -> Trace {
        let outcome = Outcome::Due;
        Trace { outcome, called, returned, begin, end, begins: 1, ends: 1, made: 1, freed: 1 }
    }

    fn history(blocks: &[(u64, u64, u64, u64)]) -> History {
        History { blocks: blocks.iter().copied().map(ran).collect(), ..History::default() }
    }

    #[track_caller]
    fn finds(program: &Program, history: &History, expected: &[Check]) {
        let found: Vec<Check> = verify(program, history).iter().map(|finding| finding.check).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_good_history_is_good() {
        finds(&program(&[0, 0, 1]), &history(&[(1, 2, 3, 4), (5, 6, 7, 8), (1, 9, 10, 11)]), &[]);
    }

    #[test]
    fn a_block_that_did_not_run_or_ran_twice() {
        let mut bad = history(&[(1, 2, 3, 4)]);
        bad.blocks[0].begins = 2;
        finds(&program(&[0]), &bad, &[Check::Once]);
        bad.blocks[0] = Trace { outcome: Outcome::Due, called: 1, returned: 2, made: 1, freed: 1, ..Trace::default() };
        finds(&program(&[0]), &bad, &[Check::Once]);
        bad.blocks[0].outcome = Outcome::Refused;
        finds(&program(&[0]), &bad, &[]);
    }

    #[test]
    fn a_block_that_ran_though_it_was_refused_and_one_that_was_not_freed() {
        let mut bad = history(&[(1, 2, 3, 4)]);
        bad.blocks[0].outcome = Outcome::Refused;
        finds(&program(&[0]), &bad, &[Check::Once]);
        bad = history(&[(1, 2, 3, 4)]);
        bad.blocks[0].freed = 0;
        finds(&program(&[0]), &bad, &[Check::Once]);
    }

    #[test]
    fn order_within_a_queue_and_none_between_submissions_at_once() {
        finds(&program(&[0, 0]), &history(&[(1, 2, 7, 8), (3, 4, 5, 6)]), &[Check::Order]);
        finds(&program(&[0, 0]), &history(&[(1, 3, 7, 8), (2, 4, 5, 6)]), &[]);
        finds(&program(&[0, 1]), &history(&[(1, 2, 7, 8), (3, 4, 5, 6)]), &[]);
    }

    #[test]
    fn two_blocks_at_once_in_a_serial_queue_or_in_what_targets_it() {
        for on in [[0, 0], [0, 1], [1, 0]] {
            finds(&program(&on), &history(&[(1, 4, 2, 6), (3, 7, 5, 8)]), &[Check::Exclusion]);
        }
        finds(&program(&[0, 2]), &history(&[(1, 4, 2, 6), (3, 7, 5, 8)]), &[]);
    }

    #[test]
    fn a_handler_beside_a_block() {
        let mut with_handler = program(&[0]);
        with_handler.events.push(Events { on: 1, ticker: true });
        let mut bad = history(&[(1, 2, 3, 8)]);
        bad.events.push(EventsTrace { runs: vec![(4, 5, 1)], ended: vec![9], made: true, ..EventsTrace::default() });
        finds(&with_handler, &bad, &[Check::Exclusion]);
    }

    #[test]
    fn one_more_than_the_width() {
        let at_once = [(1, 2, 7, 20), (3, 4, 8, 21), (5, 6, 9, 22)];
        finds(&program(&[2, 2, 2]), &history(&at_once), &[Check::Width]);
        finds(&program(&[2, 3, 2]), &history(&at_once), &[Check::Width]);
        finds(&program(&[2, 2, 0]), &history(&at_once), &[]);
    }

    #[test]
    fn a_barrier_that_is_not_alone_or_not_in_its_place() {
        let mut with_barrier = program(&[2, 2]);
        with_barrier.blocks[0].barrier = true;
        // Submitted at once: in no order, but alone.
        finds(&with_barrier, &history(&[(1, 3, 5, 7), (2, 4, 6, 8)]), &[Check::Barriers]);
        finds(&with_barrier, &history(&[(1, 3, 5, 6), (2, 4, 7, 8)]), &[]);
        // One behind the other, and in the wrong order.
        finds(&with_barrier, &history(&[(1, 2, 7, 8), (3, 4, 5, 6)]), &[Check::Barriers]);
        finds(&with_barrier, &history(&[(3, 4, 5, 6), (1, 2, 7, 8)]), &[Check::Barriers]);
        with_barrier.blocks[1].on = 3;
        finds(&with_barrier, &history(&[(1, 3, 5, 7), (2, 4, 6, 8)]), &[Check::Barriers]);
    }

    #[test]
    fn a_group_that_ends_before_a_member() {
        let mut with_group = program(&[0, 1]);
        with_group.teams.push(Team { members: vec![0], notify: Some(1) });
        finds(&with_group, &history(&[(1, 2, 7, 8), (3, 4, 5, 6)]), &[Check::Groups]);
        with_group.teams[0].notify = None;
        let mut bad = history(&[(1, 2, 7, 8), (3, 4, 5, 6)]);
        bad.waited.push(7);
        finds(&with_group, &bad, &[Check::Groups]);
        bad.waited[0] = 9;
        finds(&with_group, &bad, &[]);
    }

    #[test]
    fn a_source_that_ends_twice_or_too_early_or_loses_something() {
        let mut with_source = program(&[]);
        with_source.events.push(Events { on: 0, ticker: false });
        let good = EventsTrace { runs: vec![(1, 2, 5)], ended: vec![3], merged: 5, cancelled: false, made: true };
        let verdict = |trace: EventsTrace, expected: &[Check]| {
            finds(&with_source, &History { events: vec![trace], ..History::default() }, expected);
        };
        verdict(good.clone(), &[]);
        verdict(EventsTrace { ended: vec![3, 4], ..good.clone() }, &[Check::Sources]);
        verdict(EventsTrace { ended: vec![], ..good.clone() }, &[Check::Sources]);
        verdict(EventsTrace { runs: vec![(4, 5, 5)], ..good.clone() }, &[Check::Sources]);
        verdict(EventsTrace { merged: 4, ..good.clone() }, &[Check::Sources]);
        verdict(EventsTrace { merged: 6, ..good.clone() }, &[Check::Sources]);
        verdict(EventsTrace { merged: 6, cancelled: true, ..good }, &[]);
    }
}
