//! A wait that could never end is an error that names the queues, before the thread waits.
//!
//! The waits are for the thread's own queue, up the targets, for a sibling with the same target,
//! through queues in between, for a task of one's own queue, and for a barrier inside a reader. One
//! of them is tried in each way of waiting. Those that panic do so silently.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use singletrack::queues::{ConcurrentQueue, Queue, SyncError, TaskError, TrySyncError};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score};

pub(super) const FAMILY: Family = Family {
    name: "deadlocks",
    checks: &[Check { name: "deadlocks", counts: "waits without end that were reported" }],
    place: Place::Beside,
    round,
};
/// Far more than a report takes.
const LONG: Duration = Duration::from_secs(60);

thread_local! {
    /// A panic of this thread is planned: the hook prints nothing.
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

fn silence_planned_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !SILENT.get() {
                hook(info);
            }
        }));
    });
}

/// The sentence with which `f` panics.
fn sentence(f: impl FnOnce()) -> Option<String> {
    let before = SILENT.replace(true);
    let caught = catch_unwind(AssertUnwindSafe(f));
    SILENT.set(before);
    caught.err().map(|payload| payload.downcast_ref::<String>().cloned().unwrap_or_default())
}

/// In a block of `inside`, a wait for `wanted` must be refused, in whichever way it is made.
fn refused(inside: &Queue, wanted: &Queue, way: usize, score: &Score) {
    let (from, to) = (inside.label(), wanted.label());
    let told = match way {
        0 => sentence(|| wanted.sync(|| ())),
        1 => match wanted.try_sync(|| ()) {
            Err(TrySyncError::Deadlock(error, _)) => Some(error.to_string()),
            _ => None,
        },
        _ => match wanted.sync_timeout(LONG, || ()) {
            Err(SyncError::Deadlock(error)) => Some(error.to_string()),
            _ => None,
        },
    };
    score.expect(told.as_ref().is_some_and(|told| told.contains(to)), || {
        format!("in a block of \"{from}\", a wait for \"{to}\" was not refused by its name: {told:?}")
    });
    score.verified(1);
}

fn round(round: &Round, mut choice: Choice) {
    silence_planned_panics();
    let (runtime, score) = (&round.ground.runtime, round.score(0));
    let base = runtime.queue("deadlocks.base");
    let child = |label: &'static str, target: &Queue| Queue::builder(label).target(target).build();
    let (left, right) = (child("deadlocks.left", &base), child("deadlocks.right", &base));
    let grandchild = child("deadlocks.grandchild", &left);
    let pairs = [(&base, &base), (&left, &base), (&left, &right), (&grandchild, &base), (&grandchild, &right)];
    round.stage("waits that could never end");
    for (inside, wanted) in pairs {
        let (way, from, to, own) = (choice.between(0..=2), inside.clone(), wanted.clone(), score.clone());
        let task = inside.call(move || refused(&from, &to, way, &own));
        if let Err(error) = task.wait() {
            score.broken(|| format!("a block that waits for itself did not come to its end: {error}"));
        }
    }
    // A free queue in between does not hide that the thread is in the first one.
    let between = runtime.queue("deadlocks.between");
    let way = choice.between(0..=2);
    base.sync(|| between.sync(|| refused(&between, &base, way, score)));

    let own = base.clone();
    let told = base.call(move || matches!(own.call(|| ()).wait(), Err(TaskError::Deadlock { .. }))).wait();
    score.expect(told.is_ok_and(|told| told), || "a wait for a task of one's own queue was not refused".into());

    let table = ConcurrentQueue::builder("deadlocks.table").runtime(runtime).build();
    let told = table.sync(|| sentence(|| table.barrier_sync(|| ())));
    score.expect(told.is_some_and(|told| told.contains("deadlocks.table")), || {
        "a barrier inside a reader of the same queue was not refused by its name".into()
    });
    score.verified(2);
}
