//! The queue of a main thread: its blocks run in order and none is lost, each turn has one wake,
//! and its values never leave.
//!
//! The family's thread is the main thread. It has the loop of a toolkit, which is a channel: it
//! sleeps until an event comes, and takes a turn within a budget for each wake. Threads and workers
//! submit numbered blocks, visit a value that is not `Send`, and make more of those. A lost wake is
//! detected without time: when all submitters have reported their end, no wake is in the channel,
//! and blocks wait, then no wake will ever come.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::thread::ThreadId;
use std::time::Duration;

use singletrack::queues::{Budget, Local, MainQueue};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::{ToMain, Wake, set_wake};

pub(super) const FAMILY: Family = Family {
    name: "main-queue",
    checks: &[
        Check { name: "main-order", counts: "blocks of the main thread behind the previous one of their submitter" },
        Check { name: "main-no-loss", counts: "blocks submitted to a main thread that ran there" },
        Check { name: "main-wakes", counts: "turns of a main thread within their budget, one wake each" },
        Check { name: "main-values", counts: "visits to values that never left their thread" },
    ],
    place: Place::Beside,
    round,
};
const ORDER: usize = 0;
const LOSS: usize = 1;
const WAKES: usize = 2;
const VALUES: usize = 3;

/// The most blocks in a turn, so that there are many turns.
const TURN: usize = 50;

/// An event for the main thread's loop.
enum Event {
    Woken,
    /// A submitter has nothing more to submit.
    Ended,
}

/// A value of the main thread. It is not `Send`, and it knows where it was made.
struct Widget {
    home: ThreadId,
    visits: Rc<Cell<usize>>,
    score: Option<Arc<Score>>,
    dropped: Arc<AtomicUsize>,
}

impl Widget {
    fn new(score: &Arc<Score>, dropped: &Arc<AtomicUsize>) -> Widget {
        let home = std::thread::current().id();
        Widget { home, visits: Rc::default(), score: Some(score.clone()), dropped: dropped.clone() }
    }

    fn visit(&mut self, main: ThreadId, score: &Score) {
        let here = std::thread::current().id();
        score.expect(here == main && self.home == main, || {
            format!("a value of the main thread {main:?}, made on {:?}, was visited on {here:?}", self.home)
        });
        self.visits.set(self.visits.get() + 1);
    }
}

impl Default for Widget {
    fn default() -> Widget {
        let (home, dropped) = (std::thread::current().id(), Arc::default());
        Widget { home, visits: Rc::default(), score: None, dropped }
    }
}

impl Drop for Widget {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, SeqCst);
        let here = std::thread::current().id();
        if let Some(score) = &self.score {
            score.expect(here == self.home, || format!("a value made on {:?} was dropped on {here:?}", self.home));
        }
    }
}

/// The notes of the blocks. Relaxed: the queue itself must order them.
struct Notes {
    main: ThreadId,
    /// One more than the last number of each submitter.
    last: Vec<AtomicU64>,
    ran: AtomicUsize,
    order: Arc<Score>,
}

impl Notes {
    fn block(&self, submitter: usize, number: u64) {
        let here = std::thread::current().id();
        self.order.expect(here == self.main, || format!("a block of {:?} ran on {here:?}", self.main));
        let last = self.last[submitter].load(Relaxed);
        self.order.expect(last <= number, || {
            format!("submitter {submitter}'s block {number} ran on the main thread after its block {}", last - 1)
        });
        self.last[submitter].store(number + 1, Relaxed);
        self.ran.fetch_add(1, Relaxed);
    }
}

/// One submitter: plain blocks, visits, and values of its own.
struct Submitter {
    number: usize,
    blocks: usize,
    notes: Arc<Notes>,
    widget: Local<Widget>,
    values: Arc<Score>,
    dropped: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
}

impl Submitter {
    fn submit(self, to: &mut ToMain, choice: &mut Choice) {
        let (submitter, main) = (self.number, self.notes.main);
        for number in 0..self.blocks as u64 {
            let (notes, values) = (self.notes.clone(), self.values.clone());
            match choice.between(0..=15) {
                0 => {
                    let dropped = self.dropped.clone();
                    self.made.fetch_add(1, SeqCst);
                    let own = self.widget.handle().local(move || Widget::new(&values, &dropped));
                    let values = self.values.clone();
                    // Its handle is gone before the block has run.
                    to.visit(&own, move |widget| {
                        widget.visit(main, &values);
                        notes.block(submitter, number);
                    });
                }
                1..=5 => to.visit(&self.widget, move |widget| {
                    widget.visit(main, &values);
                    notes.block(submitter, number);
                }),
                _ => {
                    let dwell = choice.dwell();
                    to.submit(move || {
                        notes.block(submitter, number);
                        dwell.pass();
                    });
                }
            }
        }
    }
}

fn round(round: &Round, mut choice: Choice) {
    let (submitters, each) = (choice.between(1..=4), choice.between(200..=2_000));
    let (fault, runtime) = (round.ground.fault, &round.ground.runtime);
    let main = MainQueue::with_runtime("stress.main", runtime);
    let (event, events) = channel();
    let (wakes, proxy) = (Arc::new(AtomicU64::new(0)), event.clone());
    let count = wakes.clone();
    let wake: Wake = Arc::new(move || {
        count.fetch_add(1, SeqCst);
        // Nobody listens any more at the end of a round.
        let _ = proxy.send(Event::Woken);
    });
    set_wake(&main, &wake, fault);

    let notes = Arc::new(Notes {
        main: std::thread::current().id(),
        last: (0..submitters).map(|_| AtomicU64::new(0)).collect(),
        ran: AtomicUsize::new(0),
        order: round.score(ORDER).clone(),
    });
    let (dropped, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(1)));
    let widget = Widget::new(round.score(VALUES), &dropped);
    let visits = widget.visits.clone();
    let widget = main.local(widget);
    round.stage(format_args!("{submitters} submitters of {each} blocks to a main thread"));
    for number in 0..submitters {
        let (mut to, mut choice, event) = (ToMain::new(&main.handle(), &wake, fault), choice.fork(), event.clone());
        let submitter = Submitter {
            number,
            blocks: each,
            notes: notes.clone(),
            widget: widget.clone(),
            values: round.score(VALUES).clone(),
            dropped: dropped.clone(),
            made: made.clone(),
        };
        let submit = move || {
            submitter.submit(&mut to, &mut choice);
            drop(to);
            // Nobody listens any more if the check was given up.
            let _ = event.send(Event::Ended);
        };
        if number % 2 == 0 {
            std::thread::spawn(submit);
        } else {
            runtime.spawn(submit);
        }
    }
    let turns = turns(round, &mut choice, &main, &events, submitters, &wakes);
    round.score(WAKES).verified(turns);

    let (all, ran) = (submitters * each, notes.ran.load(Relaxed));
    round.score(LOSS).expect(ran == all, || format!("of {all} blocks submitted to a main thread {ran} ran"));
    round.score(LOSS).verified(ran);
    round.score(ORDER).verified(ran);
    // The handles of the submitters are gone with them, and so are the values that they made with
    // those.
    drop(widget);
    let handle = main.handle();
    drop(main);
    let (made, gone) = (made.load(SeqCst), dropped.load(SeqCst));
    round
        .score(VALUES)
        .expect(made == gone, || format!("of {made} values of a main thread that ended {gone} were dropped"));
    round.score(VALUES).verified(visits.get());
    let refused = handle.try_submit(|| ());
    round.score(LOSS).expect(refused.is_err(), || "a main thread that had ended took a block, and said nothing".into());
}

/// The loop of the main thread. Returns the number of its turns.
fn turns(
    round: &Round,
    choice: &mut Choice,
    main: &MainQueue,
    events: &Receiver<Event>,
    submitters: usize,
    wakes: &AtomicU64,
) -> usize {
    let (score, handle) = (round.score(WAKES), main.handle());
    let (mut ended, mut turns) = (0, 0);
    loop {
        let event = if ended < submitters { events.recv().ok() } else { events.try_recv().ok() };
        match event {
            Some(Event::Ended) => ended += 1,
            Some(Event::Woken) => {
                let time = Duration::from_micros(choice.between(10..=1_000) as u64);
                let before = handle.stats();
                main.turn(Budget::time(time).and_blocks(choice.between(1..=TURN)));
                let after = handle.stats();
                let (ran, turn, told) = (after.ran - before.ran, after.turns, wakes.load(SeqCst));
                score.expect(ran <= TURN as u64, || format!("a turn of at most {TURN} blocks ran {ran}"));
                // One wake for each finished turn, and the first one.
                score.expect(told <= turn + 1, || {
                    format!("a main thread was woken {told} times for {turn} turns that found something")
                });
                turns += 1;
            }
            // Every submitter has returned from its last submit, and so from the wake, if it had to
            // call it.
            None => {
                let waiting = handle.stats().waiting;
                score.expect(waiting == 0, || format!("{waiting} blocks wait for a main thread that nobody wakes"));
                return turns;
            }
        }
    }
}
