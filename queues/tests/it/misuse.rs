//! Where Grand Central Dispatch answers with a crash, a hang or silence, this library answers with
//! a sentence. It names the queue, the call and the remedy, and blocks that were submitted before
//! still run. There is a test for each.
//!
//! Misuse that cannot be written at all is a `compile_fail` example in the docs: a handle that is
//! released twice ([`Queue`]), a negative semaphore, a work item that is submitted twice, a barrier
//! for a serial queue, a value that may not be used on other threads. No call retargets a queue or
//! closes a cycle of targets.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{
    Budget, ConcurrentQueue, Group, MainQueue, Merge, Once, Qos, Queue, Runtime, Schedule, Semaphore, Source,
    TaskError, When, WorkEnd, WorkItem, Workloop, apply,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Keeps what the library logs in all tests of this program: each test filters by its own labels.
struct Kept(Mutex<Vec<String>>);

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

impl log::Log for Kept {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// From now on the log is kept.
fn keep_the_log() {
    // The second call is refused, which is fine.
    let _ = log::set_logger(&KEPT);
    log::set_max_level(log::LevelFilter::Warn);
}

fn was_logged(parts: &[&str]) -> bool {
    let kept = KEPT.0.lock().unwrap_or_else(PoisonError::into_inner);
    kept.iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

#[track_caller]
fn says(sentence: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| sentence.contains(part)), "{parts:?} are not all in: {sentence}");
}

/// The sentence of a panic.
#[track_caller]
fn panics(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it must not go through");
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).expect("a sentence")
}

/// Counts blocks that ran.
#[derive(Clone, Default)]
struct Ran(Arc<AtomicUsize>);

impl Ran {
    fn block(&self) -> impl FnOnce() + Send + 'static {
        let ran = self.clone();
        move || {
            ran.0.fetch_add(1, Relaxed);
        }
    }

    #[track_caller]
    fn becomes(&self, count: usize) {
        wait_until("what was submitted before", || self.0.load(Relaxed) == count);
    }
}

#[test]
fn resuming_too_often_is_an_error() {
    let runtime = runtime(1);
    let ran = Ran::default();
    let queue = runtime.queue("over-resumed");
    queue.suspend();
    queue.submit(ran.block());
    queue.resume().expect("suspended above");
    says(&queue.resume().expect_err("once too often").to_string(), &["over-resumed", "resume", "suspend before"]);
    let source = Source::new(&queue, |_| ());
    says(&source.resume().expect_err("never suspended").to_string(), &["over-resumed", "source", "suspend before"]);
    let inactive = Queue::builder("over-resumed.inactive").runtime(&runtime).inactive().build();
    says(&inactive.resume().expect_err("inactive").to_string(), &["over-resumed.inactive"]);
    inactive.activate();
    inactive.activate();
    ran.becomes(1);
}

#[test]
fn releasing_a_suspended_or_inactive_queue_runs_what_it_holds_and_warns() {
    keep_the_log();
    let runtime = runtime(1);
    let ran = Ran::default();
    let suspended = runtime.queue("released.suspended");
    suspended.suspend();
    let inactive = Queue::builder("released.inactive").runtime(&runtime).inactive().build();
    let workloop = Workloop::builder("released.workloop").runtime(&runtime).inactive().build();
    suspended.submit(ran.block());
    inactive.submit(ran.block());
    workloop.submit(Qos::Utility, ran.block());
    drop((suspended, inactive, workloop));
    ran.becomes(3);
    wait_until("the warnings", || {
        was_logged(&["released.suspended", "suspended", "runs now"])
            && was_logged(&["released.inactive", "activated", "runs now"])
            && was_logged(&["released.workloop", "activated", "runs now"])
    });
}

#[test]
fn releasing_a_source_that_was_never_resumed_ends_it() {
    let runtime = runtime(1);
    let (tell, told) = std::sync::mpsc::channel();
    let source =
        Source::builder(&runtime.queue("source")).on_cancel(move || tell.send(()).expect("heard")).build(|_| ());
    source.suspend();
    drop(source);
    assert!(told.recv_timeout(LONG).is_ok(), "the end comes");
}

#[test]
fn leaving_a_group_too_often_is_an_error() {
    let group = Group::new();
    let ran = Ran::default();
    group.submit(&runtime(1).queue("member"), ran.block());
    group.wait();
    says(&group.leave().expect_err("nothing is left").to_string(), &["group", "left", "call enter before each leave"]);
    group.enter();
    assert!(group.leave().is_ok() && ran.0.load(Relaxed) == 1);
}

#[test]
fn dropping_a_group_that_was_entered_and_not_left_warns() {
    keep_the_log();
    let runtime = runtime(1);
    let alive = Arc::new(());
    let token = alive.clone();
    let group = Group::new();
    group.enter();
    group.notify(&runtime.queue("told"), move || drop(token));
    drop(group);
    assert_eq!(Arc::strong_count(&alive), 1, "what it would have submitted was dropped with it");
    assert!(was_logged(&["group", "1 had entered", "call leave for each enter"]));
    assert!(was_logged(&["when a group is empty was dropped"]));
}

#[test]
fn dropping_a_group_with_members_in_queues_runs_them() {
    let runtime = runtime(1);
    let ran = Ran::default();
    let queue = runtime.queue("members");
    let group = Group::new();
    queue.suspend();
    group.submit(&queue, ran.block());
    group.notify(&queue, ran.block());
    drop(group);
    queue.resume().expect("suspended above");
    ran.becomes(2);
}

#[test]
fn waiting_for_a_group_whose_member_comes_after_this_block_is_a_panic() {
    let runtime = runtime(1);
    let ran = Ran::default();
    let (queue, inner, group) = (runtime.queue("behind"), runtime.queue("behind"), Group::new());
    let (own, members, block) = (queue.clone(), group.clone(), ran.block());
    let sentence = queue.call(move || {
        members.submit(&own, block);
        assert!(!members.wait_timeout(Duration::ZERO), "a timeout only tells");
        panics(|| members.wait())
    });
    says(&sentence.wait().expect("it is caught"), &["deadlock", "behind", "misuse.rs", "use notify"]);
    group.wait();
    ran.becomes(1);
    // The same in a `sync`, and through a target.
    let leaf = Queue::builder("behind.leaf").target(&queue).build();
    let sentence = queue.sync(|| {
        group.submit(&leaf, ran.block());
        panics(|| group.wait())
    });
    says(&sentence, &["deadlock", "behind.leaf", "use notify"]);
    group.wait();
    // A member elsewhere is waited for.
    let block = ran.block();
    inner.sync(|| {
        group.submit(&queue, block);
        group.wait();
    });
    ran.becomes(3);
    // In a barrier, on the main thread, and in a turn of a workloop.
    let (table, main, workloop) =
        (ConcurrentQueue::new("behind.table"), MainQueue::new("behind.main"), Workloop::new("behind.loop"));
    let sentence = table.barrier_sync(|| {
        group.submit(&table, ran.block());
        panics(|| group.wait())
    });
    says(&sentence, &["deadlock", "behind.table", "use notify"]);
    table.sync(|| {
        group.submit(&table, ran.block());
        group.wait();
    });
    group.submit(&main.handle(), ran.block());
    says(&panics(|| group.wait()), &["deadlock", "behind.main", "use notify"]);
    assert!(!main.drain(Budget::ALL));
    let (own, members, block) = (workloop.clone(), group.clone(), ran.block());
    let sentence = workloop.call(Qos::Utility, move || {
        members.submit(&own, block);
        panics(|| members.wait())
    });
    says(&sentence.wait().expect("it is caught"), &["deadlock", "behind.loop", "use notify"]);
    group.wait();
    ran.becomes(7);
}

#[test]
fn a_semaphore_may_be_released_in_any_state() {
    let slots = Semaphore::new(2);
    slots.wait();
    slots.wait();
    let other = slots.clone();
    drop(slots);
    other.signal();
    assert!(other.try_wait() && !other.try_wait());
}

#[test]
fn an_initializer_that_comes_back_to_its_once_is_a_panic() {
    let once = Once::new();
    let text = panics(|| {
        once.get_or_init(|| *once.get_or_init(|| 1));
    });
    says(&text, &["deadlock", "Once", "misuse.rs", "another Once"]);
    assert_eq!(once.get_or_init(|| 2), &2);
}

#[test]
fn sync_on_the_own_queue_up_the_chain_or_on_the_target_is_a_panic() {
    let runtime = runtime(1);
    let ran = Ran::default();
    let base = runtime.queue("sync.base");
    let leaf = Queue::builder("sync.leaf").target(&base).build();
    let other = runtime.queue("sync.other");
    leaf.submit(ran.block());
    let inside = |wanted: &Queue| {
        let wanted = wanted.clone();
        leaf.call(move || panics(|| wanted.sync(|| ()))).wait().expect("it is caught")
    };
    says(&inside(&leaf), &["deadlock", "sync on \"sync.leaf\"", "in a block of \"sync.leaf\"", "misuse.rs", "submit"]);
    says(&inside(&base), &["deadlock", "sync on \"sync.base\"", "in a block of \"sync.leaf\"", "misuse.rs", "submit"]);
    // Up the chain of callers: this thread is in `other`, within `leaf`.
    let text = leaf.sync(|| other.sync(|| panics(|| leaf.sync(|| ()))));
    says(&text, &["deadlock", "sync on \"sync.leaf\"", "misuse.rs", "submit"]);
    ran.becomes(1);
    assert_eq!(leaf.sync(|| 3), 3, "the queue goes on");
}

#[test]
fn sync_on_the_own_workloop_is_a_panic_and_from_elsewhere_it_works() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("sync.workloop").runtime(&runtime).build();
    let own = workloop.clone();
    let text = workloop.call(Qos::Utility, move || panics(|| own.sync(Qos::Utility, || ()))).wait().expect("caught");
    says(&text, &["deadlock", "sync on \"sync.workloop\"", "misuse.rs", "submit"]);
    assert_eq!(workloop.sync(Qos::Utility, || 4), 4);
}

#[test]
fn submitting_to_an_inactive_workloop_waits_for_its_activation() {
    let runtime = runtime(1);
    let ran = Ran::default();
    let workloop = Workloop::builder("inactive.workloop").runtime(&runtime).inactive().build();
    workloop.submit(Qos::Default, ran.block());
    assert!(workloop.sync_timeout(Qos::Default, Duration::from_millis(2), || ()).is_err());
    assert_eq!(ran.0.load(Relaxed), 0);
    workloop.activate();
    ran.becomes(1);
}

#[test]
fn apply_in_a_block_of_a_serial_queue_works() {
    let runtime = runtime(1);
    let sum = Arc::new(AtomicUsize::new(0));
    let own = sum.clone();
    let done = runtime.queue("applies").call(move || {
        apply(100, |number| {
            own.fetch_add(number, Relaxed);
        });
    });
    assert!(done.wait().is_ok());
    assert_eq!(sum.load(Relaxed), 4_950);
}

#[test]
fn a_barrier_inside_a_reader_is_a_panic() {
    let runtime = runtime(1);
    let queue = ConcurrentQueue::builder("upgrade").runtime(&runtime).build();
    let text = queue.sync(|| panics(|| queue.barrier_sync(|| ())));
    says(&text, &["deadlock", "upgrade", "misuse.rs", "submit"]);
    let text = queue.barrier_sync(|| panics(|| queue.sync(|| ())));
    says(&text, &["deadlock", "upgrade"]);
    assert_eq!(queue.barrier_sync(|| 5), 5);
}

#[test]
fn a_target_on_another_runtime_is_a_panic_and_a_cycle_cannot_be_built() {
    let (one, two) = (runtime(1), runtime(1));
    let target = one.queue("target.one");
    let text = panics(|| {
        let _ = Queue::builder("target.two").target(&target).runtime(&two).build();
    });
    says(&text, &["target.two", "target.one", "leave out `runtime`"]);
    // A target is given when a queue is made, so the target is older: the chain has an end.
    let leaf = Queue::builder("leaf").target(&Queue::builder("middle").target(&target).build()).build();
    assert_eq!(leaf.sync(|| 6), 6);
}

#[test]
fn a_work_item_may_be_waited_for_again_and_waiting_for_itself_is_a_panic() {
    let runtime = runtime(1);
    let queue = runtime.queue("waited");
    let item = WorkItem::new(|| ()).submit(&queue);
    assert_eq!((item.wait(), item.wait()), (WorkEnd::Ran, WorkEnd::Ran));
    let (tell, told) = std::sync::mpsc::channel();
    let item = WorkItem::with_handle(move |me| {
        tell.send(panics(|| {
            me.wait();
        }))
        .expect("the test waits");
    });
    item.submit(&queue);
    says(&told.recv().expect("caught"), &["deadlock", "waited", "misuse.rs", "use notify"]);
}

#[test]
fn waiting_for_a_task_of_the_own_queue_is_an_error() {
    let runtime = runtime(1);
    let queue = runtime.queue("tasks");
    let own = queue.clone();
    let error = queue.call(move || own.call(|| ()).wait()).wait().expect("it ran").expect_err("a deadlock");
    assert!(matches!(error, TaskError::Deadlock { .. }));
    says(&error.to_string(), &["deadlock", "tasks", "misuse.rs", "block of it"]);
}

#[test]
fn zero_is_a_value_to_a_source_that_replaces() {
    let runtime = runtime(1);
    let queue = runtime.queue("zero");
    let (tell, told) = std::sync::mpsc::channel();
    let source = Source::builder(&queue).merging(Merge::Replace).build(move |value| tell.send(value).expect("heard"));
    queue.sync(|| {
        (0..100).for_each(|_| source.merge(7));
        source.merge(0);
    });
    assert_eq!(told.recv_timeout(LONG), Ok(0));
    says(&panics(|| source.merge(Source::MAX + 1)), &["merge", "Source::MAX", "merge a smaller number"]);
}

#[test]
fn for_ever_is_never_and_can_be_cancelled() {
    let runtime = runtime(1);
    let queue = runtime.queue("forever");
    for never in [When::NEVER, When::from(Duration::MAX)] {
        assert!(queue.submit_after(never, || unreachable!("never")).cancel());
    }
}

#[test]
fn an_interval_of_zero_is_a_panic() {
    says(
        &panics(|| {
            let _ = Schedule::every(Duration::ZERO);
        }),
        &["interval of zero", "submit a block that submits itself"],
    );
}

#[test]
fn asserting_the_wrong_queue_is_a_panic() {
    let runtime = runtime(1);
    let (here, there) = (runtime.queue("assert.here"), runtime.queue("assert.there"));
    let text = here.sync(|| panics(|| there.assert_on()));
    says(&text, &["assert_on", "assert.there", "assert.here", "misuse.rs", "submit this to"]);
    says(&panics(|| there.assert_on()), &["assert.there", "in no queue's block"]);
    says(&here.sync(|| panics(|| here.assert_not_on())), &["assert_not_on", "assert.here", "submit this to"]);
}

#[test]
fn shutting_down_from_a_block_is_a_panic() {
    let runtime = runtime(1);
    let own = runtime.clone();
    let text = runtime.queue("ends").call(move || {
        panics(|| {
            own.shutdown(LONG);
        })
    });
    says(&text.wait().expect("caught"), &["shutdown", "from another thread"]);
}

#[test]
fn what_an_exit_would_lose_a_shutdown_runs_or_reports() {
    keep_the_log();
    let runtime = runtime(1);
    let ran = Ran::default();
    let (held, started, latch) = (runtime.queue("exit.held"), Latch::default(), Latch::default());
    held.suspend();
    held.submit(ran.block());
    let (tell, wait, after) = (started.clone(), latch.clone(), ran.block());
    runtime.queue("exit.busy").submit(move || {
        tell.open();
        wait.wait();
        after();
    });
    started.wait();
    std::thread::scope(|scope| {
        let end = scope.spawn(|| runtime.shutdown(LONG));
        latch.open();
        let report = end.join().expect("no panic");
        says(&report.to_string(), &["all done", "\"exit.held\" was suspended with 1 blocks"]);
        assert_eq!(report.dropped, 1);
    });
    ran.becomes(1);
    held.submit(|| unreachable!("refused"));
    assert!(was_logged(&["exit.held", "misuse.rs", "was dropped", "shut down"]));
    says(&held.try_submit(|| ()).expect_err("it comes back").to_string(), &["shut down", "comes back"]);
}

#[test]
fn a_runtime_that_makes_no_sense_is_an_error() {
    let none = Runtime::builder().workers(0).build().expect_err("no workers");
    says(&none.to_string(), &["1 to 1024 workers", "not 0"]);
    let cap = Runtime::builder().workers(4).thread_cap(2).build().expect_err("fewer threads than workers");
    says(&cap.to_string(), &["cap of threads", "4 workers", "not 2"]);
}

/// Handles are keys: equal ones hash alike.
#[test]
fn equal_handles_are_the_same_key() {
    use singletrack_queues::{ConcurrentQueue, MainQueue, Workloop};
    use std::collections::HashSet;

    fn check<T: Eq + std::hash::Hash + Clone>(one: T, other: T) {
        let mut seen = HashSet::new();
        assert!(seen.insert(one.clone()) && !seen.insert(one) && seen.insert(other.clone()) && !seen.insert(other));
    }

    let (one, other) = (crate::runtime(1), crate::runtime(1));
    check(one.queue("a"), one.queue("a"));
    let concurrent = || ConcurrentQueue::builder("a").runtime(&one).build();
    check(concurrent(), concurrent());
    let workloop = || Workloop::builder("a").runtime(&one).build();
    check(workloop(), workloop());
    let main = || MainQueue::with_runtime("a", &one);
    check(main().handle(), main().handle());
    check(one, other);
}
