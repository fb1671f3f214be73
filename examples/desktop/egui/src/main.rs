//! A window of egui: the largest files of some folders, found in the background and shown while
//! they are found.
//!
//! `cargo run --release -p singletrack-egui [FOLDER...]`
//!
//! The search runs on a queue of its own and submits a block for every file that it finds, without
//! counting frames. The content of the window lives on the main thread and needs no lock. The
//! window gives blocks at most [`FOR_BLOCKS`] of each frame, so it stays smooth under any load, and
//! sleeps when nothing comes. `walk` is the search, `files` holds its results.

mod files;
mod walk;

use std::path::PathBuf;
use std::time::Duration;

use eframe::egui::{self, ViewportCommand};
use singletrack_queues::{Budget, Local, MainQueue, Queue, WorkHandle, WorkItem};

use files::{Files, Pressed};

/// The time that blocks may take of a frame: a quarter, at sixty frames a second.
const FOR_BLOCKS: Duration = Duration::from_millis(4);

struct App {
    main: MainQueue,
    files: Local<Files>,
    disk: Queue,
    folders: Vec<PathBuf>,
    search: WorkHandle,
    title: String,
    frames: u64,
}

impl App {
    fn new(folders: Vec<PathBuf>, context: &egui::Context) -> Self {
        let main = MainQueue::new("window");
        // Called on any thread, once per burst of blocks. It causes a frame, which begins with
        // `logic`.
        let repaint = context.clone();
        main.set_wake(move || repaint.request_repaint());
        // Ctrl-C in the terminal closes the window, ahead of waiting blocks. egui takes commands on
        // any thread.
        let window = context.clone();
        let close = move || window.send_viewport_cmd(ViewportCommand::Close);
        if let Err(error) = ctrlc::set_handler(close) {
            eprintln!("Ctrl-C will end the program without its summary: {error}");
        }
        let (files, disk) = (main.local(Files::default()), Queue::new("disk"));
        let search = search(&folders, &files, &disk);
        Self { main, files, disk, folders, search, title: String::new(), frames: 0 }
    }
}

/// Begins a search in the background. The handle cancels it.
fn search(folders: &[PathBuf], files: &Local<Files>, disk: &Queue) -> WorkHandle {
    let (folders, files) = (folders.to_vec(), files.clone());
    WorkItem::with_handle(move |me| walk::walk(&folders, &files, me)).submit(disk)
}

impl eframe::App for App {
    /// Runs waiting blocks before each frame.
    fn logic(&mut self, context: &egui::Context, _: &mut eframe::Frame) {
        // If the waiting blocks do not fit, the queue asks for the next frame itself.
        self.main.turn(Budget::time(FOR_BLOCKS));
        let title = self.files.with(&self.main, |files| files.title());
        if title != self.title {
            self.title.clone_from(&title);
            context.send_viewport_cmd(ViewportCommand::Title(title));
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui, _: &mut eframe::Frame) {
        self.frames += 1;
        match self.files.with(&self.main, |files| files.show(ui)) {
            // The walk checks this between two files, and reports its end as usual.
            Some(Pressed::Cancel) => _ = self.search.cancel(),
            Some(Pressed::Again) => self.search = search(&self.folders, &self.files, &self.disk),
            None => {}
        }
    }

    fn on_exit(&mut self, _: Option<&eframe::glow::Context>) {
        // The window does not wait for it: the search only reads, and may hang on a slow disk.
        self.search.cancel();
        let stats = self.main.handle().stats();
        println!(
            "{} blocks in {} turns and {} frames; the longest turn took {:.1} ms; woken {} times",
            stats.ran,
            stats.turns,
            self.frames,
            stats.longest_turn.as_secs_f64() * 1e3,
            stats.wakes,
        );
    }
}

fn main() -> eframe::Result {
    let mut folders: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        folders.push(PathBuf::from("."));
    }
    let viewport = egui::ViewportBuilder::default().with_inner_size([640.0, 480.0]).with_min_inner_size([420.0, 200.0]);
    let options = eframe::NativeOptions { viewport, ..Default::default() };
    eframe::run_native("Largest files", options, Box::new(|made| Ok(Box::new(App::new(folders, &made.egui_ctx)))))
}
