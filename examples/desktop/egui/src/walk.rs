//! The search: it walks folders on its queue, and reports every file to the window. It knows
//! nothing of frames or widgets.
//!
//! Not for: displaying them (`files`).

use std::fs;
use std::path::{Path, PathBuf};

use singletrack_queues::{Local, WorkHandle};

use crate::files::{End, Files};

/// The number of files that the window may be behind.
const AHEAD: u64 = 10_000;

struct Walk<'a> {
    files: &'a Local<Files>,
    hidden_too: bool,
    me: &'a WorkHandle,
    found: u64,
}

/// Walks all of `folders`, until it is done or cancelled. Runs on a queue.
pub(crate) fn walk(folders: &[PathBuf], files: &Local<Files>, me: &WorkHandle) {
    // A value back from the window: the state of the check box. An error means that the window is
    // gone.
    let Ok(hidden_too) = files.call(Files::begin).wait() else { return };
    let mut walk = Walk { files, hidden_too, me, found: 0 };
    for folder in folders {
        walk.folder(folder, 1.0 / folders.len() as f64);
    }
    let end = if me.is_cancelled() { End::Cancelled } else { End::Done };
    files.submit(move |files| files.end(end));
}

impl Walk<'_> {
    /// Walks one folder, which is `share` of all the work: the total is unknown, but the progress
    /// bar still never goes back.
    fn folder(&mut self, folder: &Path, share: f64) {
        // A folder that cannot be read counts as empty, as does one that is deleted meanwhile.
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut folders = Vec::new();
        for entry in entries {
            if self.me.is_cancelled() {
                return;
            }
            // Links are not followed: they may form a circle.
            let Ok(about) = entry.metadata() else { continue };
            if !self.hidden_too && entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.is_file() {
                let (path, size) = (entry.path(), about.len());
                // One block for each file. The window draws sixty times a second, however many
                // come.
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

    /// Limits the blocks that wait. The queue of a window has no bound, and a search can be faster
    /// than a window. So now and then the search waits until the window has run all blocks: memory
    /// stays small, and the window is up to date.
    fn not_too_far(&mut self) {
        self.found += 1;
        if self.found.is_multiple_of(AHEAD) && self.files.call(|_| ()).wait().is_err() {
            // The window is gone.
            self.me.cancel();
        }
    }
}
