//! The search: it counts on its queue, and reports to the widgets after every step. It knows
//! nothing of frames.
//!
//! Not for: displaying the result (`ui`).

use singletrack_queues::{Local, Queue, WorkHandle, WorkItem};

use crate::ui::Ui;

/// The numbers in a step; after each step a block goes to the window.
const STEP: u64 = 10;
/// The number of numbers that the window may be behind.
const AHEAD: u64 = 100_000;

/// Begins a search in the background. The handle cancels it.
pub(crate) fn begin(ui: &Local<Ui>, work: &Queue) -> WorkHandle {
    let ui = ui.clone();
    WorkItem::with_handle(move |me| search(&ui, me)).submit(work)
}

fn search(ui: &Local<Ui>, me: &WorkHandle) {
    // A value back from a widget, which only the main thread may ask. An error means that the
    // window is gone.
    let Ok(limit) = ui.call(|ui| ui.limit()).wait() else { return };
    let mut longest = 0;
    for begin in (1..limit).step_by(STEP as usize) {
        if me.is_cancelled() {
            break;
        }
        let end = limit.min(begin + STEP);
        for number in begin..end {
            let length = chain(number);
            if length > longest {
                longest = length;
                ui.submit(move |ui| ui.record(number, length));
            }
        }
        ui.submit(move |ui| ui.progress(end as f64 / limit as f64));
        // The queue of a window has no bound, and a search can be faster than a window. So now and
        // then the search waits until the window has run all blocks: memory stays small, and the
        // window is up to date.
        if begin % AHEAD < STEP && ui.call(|_| ()).wait().is_err() {
            return;
        }
    }
    let cancelled = me.is_cancelled();
    ui.submit(move |ui| ui.end(cancelled));
}

fn chain(mut number: u64) -> u32 {
    let mut length = 1;
    while number > 1 {
        number = if number.is_multiple_of(2) { number / 2 } else { 3 * number + 1 };
        length += 1;
    }
    length
}
