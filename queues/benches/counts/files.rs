//! The source files that a block passes from its submission to its execution.
//!
//! For: reading them out of callgrind's file, where each line of costs follows the name of the file
//! that it belongs to. Not for: starting valgrind (`callgrind`). Rules: the optimiser attributes
//! what it merges to other files, so this needs a build without it; only the files of this package
//! count.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, mpsc};

use singletrack_queues::Queue;

use crate::operations::{hold_worker, queue, runtime};
use crate::{callgrind, meter};

/// The sources of this package, in any path.
const SOURCES: &str = "queues/src/";

/// The two stretches of each try.
const TRIES: [[&str; 2]; 5] = [
    ["submit, first", "run, first"],
    ["submit, second", "run, second"],
    ["submit, third", "run, third"],
    ["submit, fourth", "run, fourth"],
    ["submit, fifth", "run, fifth"],
];
/// Blocks that run first: a worker that has just woken looks around more often for a while.
const BEFORE: u32 = 40;

/// The child does this in each try: it submits a block to an idle queue from outside, and runs one
/// on a worker that has just run another.
pub(crate) fn child() {
    for [submit, run] in TRIES {
        let (over, is_over) = mpsc::channel();
        let held = hold_worker(runtime());
        let (idle, queues) = (queue("idle"), ["ping", "pong"].map(queue));
        meter::begin();
        idle.submit(|| ());
        meter::end(submit, 1);
        hop(Arc::new(queues), BEFORE, run, over);
        drop(held);
        is_over.recv().expect("it ran");
    }
}

/// Blocks go from queue to queue, until the last block ends the stretch that the last but one
/// begins.
fn hop(queues: Arc<[Queue; 2]>, left: u32, run: &'static str, over: mpsc::Sender<()>) {
    if left == 0 {
        meter::end(run, 1);
        return over.send(()).expect("a thread waits for it");
    }
    let onward = queues.clone();
    queues[left as usize % 2].submit(move || hop(onward, left - 1, run, over));
    if left == 1 {
        meter::begin();
    }
}

/// Profiles one block, prints the files, and reports a fault if there are too many.
pub(crate) fn check(most: Option<usize>) -> Result<Vec<String>, String> {
    if !cfg!(debug_assertions) {
        return Err("this build is optimised; say cargo bench --profile dev".to_owned());
    }
    let (_, text) = callgrind::profile(&["--files-in-child"])?;
    // The first try makes things that stay, and in any try a tick of the monitor can make the
    // worker look around.
    let files = TRIES.map(|stretches| files(&text, &stretches)).into_iter().min_by_key(BTreeSet::len);
    let files = files.filter(|files| !files.is_empty()).ok_or("callgrind's file names none of our sources")?;
    files.iter().for_each(|file| println!("{file}"));
    println!("a block passes {} files", files.len());
    let limit = most.unwrap_or(usize::MAX);
    let fault = format!("a block passes {} files, more than {limit}", files.len());
    Ok(if files.len() > limit { vec![fault] } else { Vec::new() })
}

/// The files of the stretches with these names.
fn files(text: &str, stretches: &[&str]) -> BTreeSet<String> {
    let (mut names, mut files) = (HashMap::new(), BTreeSet::new());
    // The description of a part stands above its costs.
    let (mut counts, mut file, mut is_call) = (false, None, false);
    for line in text.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger: ") {
            counts = trigger.strip_prefix("Client Request: ").is_some_and(|name| stretches.contains(&name));
        } else if let Some((key, name)) = line.split_once('=').filter(|(key, _)| !key.contains(' ')) {
            match key {
                "fl" | "fi" | "fe" => file = known(&mut names, name),
                // This line may be the first to name the file.
                "cfi" | "cfl" => _ = known(&mut names, name),
                "calls" => is_call = true,
                _ => {}
            }
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            // The line after a call has the cost of the callee.
            let own = !std::mem::take(&mut is_call);
            if let Some((_, name)) = file.as_deref().filter(|_| counts && own).and_then(|f| f.split_once(SOURCES)) {
                // Code that belongs to no line is attributed to the root of the crate, which holds
                // no such code.
                if name != "lib.rs" {
                    files.insert(name.to_owned());
                }
            }
        }
    }
    files
}

/// `(7) path` gives a number to a path, `(7)` alone means the path that has it.
fn known(names: &mut HashMap<String, String>, name: &str) -> Option<String> {
    let (number, path) = name.split_once(' ').unwrap_or((name, ""));
    if !path.is_empty() {
        names.insert(number.to_owned(), path.to_owned());
    }
    names.get(number).cloned()
}
