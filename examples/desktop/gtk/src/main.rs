//! A window of GTK: the longest Collatz chains below a number, searched in the background and
//! listed as they are found.
//!
//! `cargo run --release -p singletrack-gtk [LIMIT]`
//!
//! Widgets are not `Send`, so they live on the main thread, in a [`Local`]. The search runs on a
//! queue of its own and submits 100,000 closures to them, without counting frames. The main loop
//! gives them at most [`FOR_BLOCKS`] of each frame, so the window stays smooth under any load, and
//! sleeps when nothing comes. `search` is the work, `ui` the widgets.

mod search;
mod ui;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use gtk4::glib;
use gtk4::prelude::*;
use singletrack_queues::{Budget, Local, MainQueue, Queue, WorkHandle};

use ui::Ui;

const FRAME: Duration = Duration::from_millis(16);
/// The time that blocks may take of a frame: a quarter.
const FOR_BLOCKS: Duration = Duration::from_millis(4);

fn main() -> glib::ExitCode {
    let limit = std::env::args().nth(1).and_then(|limit| limit.parse().ok()).unwrap_or(1_000_000);
    let main = Rc::new(MainQueue::new("window"));
    // Called on any thread, once per burst of blocks. GTK has no hook in its frame for this, so the
    // turn runs one frame later; blocks that come meanwhile need no wake. If the waiting blocks do
    // not fit, the queue asks for the next turn.
    let handle = main.handle();
    main.set_wake(move || {
        let handle = handle.clone();
        glib::timeout_add_once(FRAME, move || _ = handle.turn(Budget::time(FOR_BLOCKS)));
    });

    // Allows several instances, and uses no message bus.
    let app = gtk4::Application::builder().flags(gtk4::gio::ApplicationFlags::NON_UNIQUE).build();
    let frames = Rc::new(Cell::new(0u64));
    let (owner, count) = (main.clone(), frames.clone());
    app.connect_activate(move |app| open(app, &owner, limit, &count));
    let code = app.run_with_args::<&str>(&[]);

    let stats = main.handle().stats();
    println!(
        "{} blocks in {} turns and {} frames; the longest turn took {:.1} ms; woken {} times",
        stats.ran,
        stats.turns,
        frames.get(),
        stats.longest_turn.as_secs_f64() * 1e3,
        stats.wakes,
    );
    code
}

/// Opens the window and begins a search.
fn open(app: &gtk4::Application, main: &MainQueue, limit: u64, frames: &Rc<Cell<u64>>) {
    let widgets = Ui::new(app, limit);
    let (window, button) = (widgets.window.clone(), widgets.button.clone());
    // From here on other threads can send closures to the widgets.
    let ui = main.local(widgets);
    let work = Queue::new("search");

    let (theirs, queue) = (ui.clone(), work.clone());
    button.connect_clicked(move |_| toggle(&theirs, &queue));
    let theirs = ui.clone();
    window.connect_close_request(move |_| {
        // On the main thread `sync` runs at once, ahead of waiting blocks. The search checks the
        // cancellation between two steps.
        theirs.sync(|ui| ui.search.as_ref().map(WorkHandle::cancel));
        glib::Propagation::Proceed
    });
    // Ctrl-C in the terminal closes the window, ahead of waiting blocks.
    let there = main.local(window.clone());
    let close = move || {
        let there = there.clone();
        glib::idle_add_once(move || there.sync(|window| window.close()));
    };
    if let Err(error) = ctrlc::set_handler(close) {
        eprintln!("Ctrl-C will end the program without its summary: {error}");
    }

    window.present();
    if let Some(clock) = window.frame_clock() {
        let frames = frames.clone();
        clock.connect_after_paint(move |_| frames.set(frames.get() + 1));
    }
    toggle(&ui, &work);
}

/// Handles the button: begins a search, or cancels the running one.
fn toggle(ui: &Local<Ui>, work: &Queue) {
    ui.sync(|widgets| match &widgets.search {
        // Its end comes as a block, and enables the button.
        Some(search) => _ = search.cancel(),
        None => {
            widgets.begin();
            widgets.search = Some(search::begin(ui, work));
        }
    });
}
