//! The parts of Grand Central Dispatch besides serial queues: concurrent queues, targets, work
//! items, workloops, sources.
//!
//! `queues/GCD.md` has a row for every call of libdispatch.

use std::time::Duration;

use singletrack::{ConcurrentQueue, EventSource, Merge, Qos, Queue, Source, WorkItem, Workloop, event::signals};

fn main() {
    // Two blocks run at once, behind more urgent work.
    let disk = ConcurrentQueue::builder("disk").width(2).qos(Qos::Utility).build();
    disk.barrier(|| println!("alone on the disk"));

    // A serial queue keeps its own order, within the width of its target.
    let index = Queue::builder("index").target(&disk).build();
    let item = WorkItem::new(|| println!("unless it is cancelled")).submit(&index);
    item.notify(&index, || println!("the item has ended"));
    item.wait_timeout(Duration::from_secs(1));

    // A workloop is serial, and runs the most urgent block first.
    let editor = Workloop::new("editor");
    editor.submit(Qos::UserInteractive, || println!("a key"));

    // Many signals become one run of the handler.
    let bytes = Source::builder(&index).merging(Merge::Add).build(|sum| println!("{sum} bytes since last time"));
    bytes.merge(4096);

    match EventSource::signal(&index, signals::SIGHUP, |count| println!("SIGHUP, {count} times")) {
        Ok(hang_up) => hang_up.cancel(),
        Err(error) => eprintln!("no signals: {error}"),
    }

    // Everything before has run when this returns.
    index.sync(|| ());
    editor.sync(Qos::Default, || ());
}
