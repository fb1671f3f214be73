//! A program with a screen, without a toolkit: the main thread draws at most sixty times a second
//! and gives a quarter of each frame to its main queue, while a background queue streams progress
//! into it.
//!
//! `cargo run --release --example main_queue`
//!
//! The screen is not `Send` and lives on the main thread. The worker has a handle, and reports
//! 100,000 steps without counting frames. When nothing comes, the main thread sleeps; the wake
//! callback wakes it, once per burst.

use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use singletrack::{Budget, Local, MainQueue, Queue};

const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);
const FOR_BLOCKS: Duration = Duration::from_millis(4);
const STEPS: u64 = 100_000;

/// The content of the screen. `Rc` stands for the widgets of a toolkit: it could not be on two
/// threads.
struct Screen {
    title: Rc<str>,
    done: u64,
    found: Option<u64>,
}

impl Screen {
    fn draw(&self) -> io::Result<()> {
        let filled = usize::try_from(self.done * 40 / STEPS).unwrap_or(40);
        let mut out = io::stdout().lock();
        if !out.is_terminal() {
            return Ok(());
        }
        write!(out, "\r{} [{:<40}] {:>3} %", self.title, "#".repeat(filled), self.done * 100 / STEPS)?;
        out.flush()
    }
}

/// Adds up Collatz lengths in the background; reports every step to the screen, and the result at
/// the end.
fn work(screen: &Local<Screen>) {
    let mut longest = (0, 0);
    for step in 1..=STEPS {
        for number in step * 10..step * 10 + 10 {
            longest = longest.max((collatz(number), number));
        }
        screen.submit(move |screen| screen.done = step);
    }
    screen.submit(move |screen| screen.found = Some(longest.1));
}

fn collatz(mut number: u64) -> u32 {
    let mut length = 1;
    while number > 1 {
        number = if number.is_multiple_of(2) { number / 2 } else { 3 * number + 1 };
        length += 1;
    }
    length
}

fn main() -> io::Result<()> {
    let main = MainQueue::new("main");
    // The event loop is this thread, and an unpark is its event.
    let this = thread::current();
    main.set_wake(move || this.unpark());

    let screen = main.local(Screen { title: Rc::from("searching"), done: 0, found: None });
    let (theirs, handle) = (screen.clone(), main.handle());
    let worker = Queue::new("search");
    worker.submit(move || {
        work(&theirs);
        handle.stop();
    });

    let (mut frames, mut longest_turn) = (0, Duration::ZERO);
    let mut more = false;
    while !main.is_stopped() {
        if !more {
            thread::park();
        }
        let begin = Instant::now();
        more = main.drain(Budget::time(FOR_BLOCKS));
        longest_turn = longest_turn.max(begin.elapsed());
        screen.with(&main, |screen| screen.draw())?;
        frames += 1;
        // The rest of the frame passes. A toolkit waits for the display here.
        thread::sleep(FRAME.saturating_sub(begin.elapsed()));
    }

    let found = screen.with(&main, |screen| screen.found);
    let stats = main.handle().stats();
    println!("\nthe longest chain below a million starts at {}", found.unwrap_or_default());
    println!(
        "{} blocks in {frames} frames; the longest turn took {:.1} ms of {:.1}; woken {} times",
        stats.ran,
        longest_turn.as_secs_f64() * 1e3,
        FRAME.as_secs_f64() * 1e3,
        stats.wakes
    );
    Ok(())
}
