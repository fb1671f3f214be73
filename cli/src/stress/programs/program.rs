//! A random program: queues, and what threads do to them.
//!
//! Every block runs once at most, so its number identifies it. Pure: it names no queue of the
//! library. Not for: drawing one (`draw`).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::super::choice::Dwell;

/// The kind of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Serial,
    /// With a width, or without.
    Concurrent(Option<usize>),
    Workloop,
    Main,
    /// A serial queue with a value on it.
    Isolated,
}

/// A queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// A queue with a lower number.
    pub(crate) target: Option<usize>,
    /// Activated when all threads run.
    pub(crate) inactive: bool,
}

/// All queues. The number of a tree is that of its root.
#[derive(Clone, Debug)]
pub(crate) struct Forest(pub(crate) Vec<Node>);

impl Forest {
    /// The queue, its target, and so on.
    pub(crate) fn chain(&self, of: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(of), |&queue| self.0[queue].target)
    }

    pub(crate) fn root(&self, of: usize) -> usize {
        self.chain(of).last().unwrap_or(of)
    }

    /// The most blocks of the queue and of the queues that target it that run at once.
    pub(crate) fn width(&self, of: usize) -> usize {
        match self.0[of].kind {
            Kind::Concurrent(width) => width.unwrap_or(usize::MAX),
            _ => 1,
        }
    }

    pub(crate) fn is_concurrent(&self, queue: usize) -> bool {
        matches!(self.0[queue].kind, Kind::Concurrent(_))
    }

    /// A name that describes the queue fully.
    pub(crate) fn label(&self, of: usize) -> String {
        let Some(Node { kind, target, .. }) = self.0.get(of) else { return "none".into() };
        let target = target.map_or(String::new(), |target| format!(" on {target}"));
        format!("{of}: {kind:?}{target}")
    }
}

/// The properties of a block that the verification needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) on: usize,
    pub(crate) barrier: bool,
    /// It has a place in the order of submissions: it belongs to no timer, no loop and no group's
    /// end.
    pub(crate) ordered: bool,
    /// Of a workloop: which of the five classes.
    pub(crate) class: usize,
}

/// A block: its duration, and its operations.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) id: usize,
    pub(crate) stay: Stay,
    pub(crate) then: Vec<Op>,
}

/// How a block passes its time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stay {
    Short(Dwell),
    /// Microseconds, in which other threads run.
    Long(u64),
}

/// How a block comes to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Submit,
    Sync,
    Try,
    /// Microseconds.
    Timed(u64),
    Call {
        wait: bool,
    },
    /// Microseconds.
    Delayed {
        delay: u64,
        cancel: bool,
    },
    Item {
        cancel: bool,
        wait: bool,
    },
}

/// An operation of a thread or a block.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Run(How, Arc<Block>),
    /// Members on their queues, perhaps one more that enters and leaves by hand. Then a wait, or a
    /// block.
    Group {
        number: usize,
        members: Vec<Arc<Block>>,
        by_hand: Option<Arc<Block>>,
        notify: Option<Arc<Block>>,
    },
    /// Blocks from `first` on, one for each number. `on` is a queue, or the runtime.
    Apply {
        on: Option<usize>,
        first: usize,
        n: usize,
        stay: Stay,
    },
    Permit {
        semaphore: usize,
        stay: Stay,
    },
    Merge {
        events: usize,
        value: u64,
    },
    Cancel {
        events: usize,
    },
    /// Suspends the queue during the operations. They wait for nothing.
    Suspend(usize, Vec<Op>),
    /// Runs a ticker during the operations.
    Ticker {
        events: usize,
        interval: u64,
        cancel: bool,
        then: Vec<Op>,
    },
    /// A timed `sync` of a queue that the thread is in.
    Again(usize),
    /// Drops the thread's handle.
    Drop(usize),
}

/// A group, for its verdict.
#[derive(Clone, Debug)]
pub(crate) struct Team {
    pub(crate) members: Vec<usize>,
    pub(crate) notify: Option<usize>,
}

/// A source or a ticker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Events {
    pub(crate) on: usize,
    pub(crate) ticker: bool,
}

/// A program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    pub(crate) forest: Forest,
    /// The blocks, by number.
    pub(crate) blocks: Vec<About>,
    pub(crate) teams: Vec<Team>,
    /// The number of permits of each.
    pub(crate) semaphores: Vec<usize>,
    pub(crate) events: Vec<Events>,
    pub(crate) threads: Vec<Vec<Op>>,
    /// An event loop runs the main queues, with this many blocks a turn.
    pub(crate) turns: Option<usize>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {} on {} workers, main queues turned by {:?}", self.seed, self.workers, self.turns)?;
        for (number, node) in self.forest.0.iter().enumerate() {
            let inactive = if node.inactive { ", inactive at first" } else { "" };
            writeln!(f, "  queue {}{inactive}", self.forest.label(number))?;
        }
        writeln!(f, "  semaphores {:?}, sources and tickers {:?}", self.semaphores, self.events)?;
        for (number, ops) in self.threads.iter().enumerate() {
            writeln!(f, "  thread {number}:")?;
            self.write_ops(f, ops, 2)?;
        }
        Ok(())
    }
}

impl Program {
    fn write_ops(&self, f: &mut fmt::Formatter<'_>, ops: &[Op], depth: usize) -> fmt::Result {
        ops.iter().try_for_each(|op| self.write_op(f, op, depth))
    }

    fn write_op(&self, f: &mut fmt::Formatter<'_>, op: &Op, depth: usize) -> fmt::Result {
        write!(f, "{:1$}", "", 2 * depth)?;
        match op {
            Op::Run(how, block) => {
                write!(f, "{how:?} ")?;
                self.write_block(f, block, depth)
            }
            Op::Group { number, members, by_hand, notify } => {
                writeln!(f, "group {number}, then {}", if notify.is_some() { "the last of these" } else { "a wait" })?;
                for block in members.iter().chain(by_hand).chain(notify) {
                    write!(f, "{:1$}", "", 2 * depth + 2)?;
                    self.write_block(f, block, depth + 1)?;
                }
                Ok(())
            }
            Op::Suspend(queue, then) => {
                writeln!(f, "suspend queue {queue}")?;
                self.write_ops(f, then, depth + 1)
            }
            Op::Ticker { events, interval, then, .. } => {
                writeln!(f, "ticker {events} every {interval} us")?;
                self.write_ops(f, then, depth + 1)
            }
            op => writeln!(f, "{op:?}"),
        }
    }

    fn write_block(&self, f: &mut fmt::Formatter<'_>, block: &Block, depth: usize) -> fmt::Result {
        let About { on, barrier, class, .. } = self.blocks[block.id];
        let barrier = if barrier { ", a barrier" } else { "" };
        writeln!(f, "block {} on queue {on}{barrier}, class {class}, stays {:?}", block.id, block.stay)?;
        self.write_ops(f, &block.then, depth + 1)
    }
}

/// The queues and the sources of which `ops` need handles.
pub(crate) fn needs(ops: &[Op], program: &Program, queues: &mut BTreeSet<usize>, sources: &mut BTreeSet<usize>) {
    for op in ops {
        let (blocks, then): (Vec<&Arc<Block>>, &[Op]) = match op {
            Op::Run(_, block) => (vec![block], &[]),
            Op::Group { members, by_hand, notify, .. } => (members.iter().chain(by_hand).chain(notify).collect(), &[]),
            Op::Apply { on, .. } => {
                queues.extend(on);
                continue;
            }
            Op::Again(on) | Op::Drop(on) => {
                queues.insert(*on);
                continue;
            }
            Op::Permit { .. } => continue,
            Op::Merge { events, .. } | Op::Cancel { events } => {
                sources.insert(*events);
                continue;
            }
            Op::Suspend(on, then) => {
                queues.insert(*on);
                (Vec::new(), then)
            }
            Op::Ticker { events, then, .. } => {
                queues.insert(program.events[*events].on);
                (Vec::new(), then)
            }
        };
        needs(then, program, queues, sources);
        for block in blocks {
            queues.insert(program.blocks[block.id].on);
            needs(&block.then, program, queues, sources);
        }
    }
}
