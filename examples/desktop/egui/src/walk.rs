//! The search: walks folders on its queue, and tells the window about every file. Knows nothing of frames or widgets.
//!
//! Not for: what is shown (`files`).

use std::fs;
use std::path::{Path, PathBuf};

use singletrack_queues::{Local, WorkHandle};

use crate::files::{End, Files};

/// How many files the window may be behind.
const AHEAD: u64 = 10_000;

struct Walk<'a> {
    files: &'a Local<Files>,
    hidden_too: bool,
    me: &'a WorkHandle,
    found: u64,
}

/// Walks all of `folders`, until it is done or cancelled. Runs on a queue.
pub(crate) fn walk(folders: &[PathBuf], files: &Local<Files>, me: &WorkHandle) {
    // A value back from the window: how the box stands now. An error: the window went meanwhile.
    let Ok(hidden_too) = files.call(Files::begin).wait() else { return };
    let mut walk = Walk { files, hidden_too, me, found: 0 };
    for folder in folders {
        walk.folder(folder, 1.0 / folders.len() as f64);
    }
    let end = if me.is_cancelled() { End::Cancelled } else { End::Done };
    files.submit(move |files| files.end(end));
}

impl Walk<'_> {
    /// Walks one folder, which is `share` of all the work: a bar that cannot know the end still never goes back.
    fn folder(&mut self, folder: &Path, share: f64) {
        // A folder that may not be read counts as empty, as does one that is gone meanwhile.
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut folders = Vec::new();
        for entry in entries {
            if self.me.is_cancelled() {
                return;
            }
            // Not through links: they may lead round in a circle.
            let Ok(about) = entry.metadata() else { continue };
            if !self.hidden_too && entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.is_file() {
                let (path, size) = (entry.path(), about.len());
                // A block for each file. The window draws sixty times a second, however many come.
                self.files.submit(move |files| files.found(path, size));
                self.not_too_far();
            }
        }
        let share = share / (folders.len() + 1) as f64;
        self.files.submit(move |files| files.advance(share));
        for folder in folders {
            self.folder(&folder, share);
        }
    }

    /// Nothing bounds what may wait for a window, and a search can be faster than a window. So it waits now and then until
    /// the window has seen all: memory stays small, and what is shown is never old.
    fn not_too_far(&mut self) {
        self.found += 1;
        if self.found.is_multiple_of(AHEAD) && self.files.call(|_| ()).wait().is_err() {
            // The window is gone.
            self.me.cancel();
        }
    }
}
