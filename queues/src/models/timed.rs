//! A timed `sync` either runs or is withdrawn, and two threads never touch its closure, which lies
//! on the stack of the waiting thread, at the same time.

use std::panic::Location;
use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::handoff::Ended;
use crate::base::sync::{OwnerCell, now};
use crate::queue::waiting::Waiting;
use crate::time::when::When;

struct Cells {
    closure: OwnerCell<u32>,
}

// SAFETY: the model checks that this is sound.
unsafe impl Sync for Cells {}

/// The deadline has passed when the drainer, or a shutdown, reaches the closure.
fn a_deadline_passes(drops: bool) {
    let cells = Arc::new(Cells { closure: OwnerCell::new(0) });
    let site = Location::caller();
    let mut body = {
        let cells = cells.clone();
        // SAFETY: claimed.
        move || unsafe { cells.closure.set(cells.closure.get() + 1) }
    };
    let (mail, taken) = std::sync::mpsc::channel();
    let drainer = Arc::new(std::sync::Mutex::new(None));
    let push = {
        let drainer = drainer.clone();
        move |waiting: Arc<Waiting>, wait: &mut dyn FnMut()| {
            mail.send(waiting).expect("taken below");
            let handle = thread::spawn(move || {
                let node = Waiting::into_node(taken.recv().expect("put there above"));
                // SAFETY: run and finished once, or discarded.
                unsafe {
                    let vtable = node.as_ref().vtable;
                    if drops {
                        (vtable.discard)(node);
                    } else {
                        assert!((vtable.run)(node).is_none());
                        (vtable.finish)(node);
                    }
                }
            });
            *drainer.lock().expect("no panic under it") = Some(handle);
            begin();
            wait();
        }
    };
    // SAFETY: `body` is left alone meanwhile.
    let ended = unsafe { Waiting::push_and_wait(&mut body, When::from(now()), site, push) };
    // SAFETY: whatever the outcome, the closure is ours again.
    let runs = unsafe { cells.closure.get() };
    assert_eq!(runs, u32::from(ended == Ended::Ran));
    // SAFETY: as above; the frame ends here.
    unsafe { cells.closure.set(9) };
    let drainer = drainer.lock().expect("no panic under it").take();
    drainer.expect("it was sent").join().expect("it does not panic");
}

#[test]
fn withdraw_against_run() {
    check(4, || a_deadline_passes(false));
}

#[test]
fn withdraw_against_discard() {
    check(4, || a_deadline_passes(true));
}
