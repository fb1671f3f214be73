//! Calls at odd moments: from inside the objects that they concern, from destructors, in the middle
//! of a shutdown.

use crate::{LONG, Latch, occupy, runtime, wait_until};
use singletrack_queues::{
    ConcurrentQueue, Group, Queue, Schedule, Semaphore, Source, SpecificKey, Ticker, Timer, WorkEnd, WorkHandle,
    WorkItem,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Calls something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_cancelled_item_whose_captures_use_its_handle_and_its_queue_as_they_go() {
    let runtime = runtime(1);
    let queue = runtime.queue("items");
    queue.suspend();
    let own: Arc<OnceLock<WorkHandle>> = Arc::default();
    let seen = Arc::new(AtomicUsize::new(0));
    let (mine, home, told) = (own.clone(), queue.clone(), seen.clone());
    let guard = OnDrop(move || {
        let item = mine.get().expect("set below");
        assert!(item.is_cancelled() && !item.is_done() && !item.cancel());
        let told = told.clone();
        item.notify(&home, move || _ = told.fetch_add(1, SeqCst));
    });
    let item = WorkItem::new(move || drop(guard)).submit(&queue);
    own.set(item.clone()).expect("set once");
    assert!(item.cancel());
    assert_eq!(item.wait(), WorkEnd::Cancelled);
    queue.resume().expect("suspended above");
    wait_until("the notify that a destructor asked for", || seen.load(SeqCst) == 1);
}

#[test]
fn an_item_that_cancels_itself_runs_on_and_has_run() {
    let runtime = runtime(1);
    let item = WorkItem::with_handle(|me| assert!(!me.cancel() && me.is_cancelled())).submit(&runtime.queue("self"));
    assert_eq!(item.wait(), WorkEnd::Ran);
    assert!(!item.cancel());
}

#[test]
fn a_timer_cannot_be_taken_back_by_its_own_block() {
    let runtime = runtime(2);
    let own: Arc<OnceLock<Timer>> = Arc::default();
    let (mine, (tell, told)) = (own.clone(), std::sync::mpsc::channel());
    let timer = runtime.queue("late").submit_after(Duration::from_micros(10), move || {
        wait_until("the handle", || mine.get().is_some());
        tell.send(mine.get().map(Timer::cancel)).expect("the test listens");
    });
    own.set(timer).expect("set once");
    assert_eq!(told.recv_timeout(LONG), Ok(Some(false)));
}

#[test]
fn notifies_may_enter_and_notify_the_group_again() {
    fn again(group: &Group, queue: &Queue, left: usize, count: &Arc<AtomicUsize>) {
        let (own, home, count) = (group.clone(), queue.clone(), count.clone());
        group.notify(queue, move || {
            count.fetch_add(1, SeqCst);
            if left > 0 {
                own.enter();
                again(&own, &home, left - 1, &count);
                own.leave().expect("entered above");
            }
        });
    }
    let runtime = runtime(2);
    let (group, queue, count) = (Group::new(), runtime.queue("again"), Arc::new(AtomicUsize::new(0)));
    again(&group, &queue, 1_000, &count);
    wait_until("a thousand and one notifies", || count.load(SeqCst) == 1_001);
    assert!(group.wait_timeout(LONG));
}

#[test]
fn a_source_whose_handler_holds_and_drops_its_last_handle() {
    let runtime = runtime(2);
    let queue = runtime.queue("last");
    for _ in 0..200 {
        let (ended, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
        let own: Arc<std::sync::Mutex<Option<Source>>> = Arc::default();
        let (mine, end, token) = (own.clone(), ended.clone(), alive.clone());
        let source = Source::builder(&queue).on_cancel(move || _ = end.fetch_add(1, SeqCst)).build(move |_| {
            let _token = &token;
            drop(mine.lock().expect("no panic under it").take());
        });
        let first = source.clone();
        *own.lock().expect("no panic under it") = Some(source);
        first.merge(1);
        drop(first);
        wait_until("the end", || ended.load(SeqCst) == 1);
        wait_until("the handler to go", || Arc::strong_count(&alive) == 1);
    }
}

#[test]
fn a_source_on_a_runtime_that_was_shut_down_frees_its_handler() {
    let runtime = runtime(1);
    let alive = Arc::new(());
    let (queue, token) = (runtime.queue("over"), alive.clone());
    let source = Source::new(&queue, move |_| drop(token.clone()));
    source.suspend();
    source.merge(1);
    runtime.shutdown(LONG);
    source.merge(2);
    source.resume().expect("suspended above");
    source.cancel();
    source.merge(4);
    drop((source, queue));
    wait_until("the handler to go", || Arc::strong_count(&alive) == 1);
}

#[test]
fn a_ticker_that_is_cancelled_and_dropped_in_its_handler_ends() {
    let runtime = runtime(2);
    for _ in 0..50 {
        let own: Arc<std::sync::Mutex<Option<Ticker>>> = Arc::default();
        let (mine, runs) = (own.clone(), Arc::new(AtomicUsize::new(0)));
        let count = runs.clone();
        let ticker = Ticker::new(&runtime.queue("once"), Schedule::every(Duration::from_micros(50)), move |_| {
            if let Some(ticker) = mine.lock().expect("no panic under it").take() {
                ticker.cancel();
                count.fetch_add(1, SeqCst);
            }
        });
        *own.lock().expect("no panic under it") = Some(ticker);
        wait_until("its one call", || runs.load(SeqCst) == 1);
    }
    wait_until("no timer to be left", || runtime.stats().timers == 0);
}

#[test]
fn a_suspended_queue_whose_last_handle_goes_in_a_block_of_another_runs_what_it_holds() {
    let runtime = runtime(2);
    let (other, count) = (runtime.queue("other"), Arc::new(AtomicUsize::new(0)));
    for _ in 0..200 {
        let queue = Queue::builder("held").target(&other).build();
        queue.suspend();
        for _ in 0..5 {
            let count = count.clone();
            queue.submit(move || _ = count.fetch_add(1, SeqCst));
        }
        other.submit(move || drop(queue));
    }
    wait_until("a thousand blocks", || count.load(SeqCst) == 1_000);
}

#[test]
fn everything_that_waits_comes_back_when_the_runtime_is_shut_down_in_the_middle() {
    for _ in 0..20 {
        let runtime = runtime(2);
        let (queue, table) = (runtime.queue("held"), ConcurrentQueue::builder("table").runtime(&runtime).build());
        let leaf = Queue::builder("leaf").target(&queue).build();
        queue.suspend();
        let group = Group::new();
        group.submit(&leaf, || unreachable!("dropped"));
        let item = WorkItem::new(|| unreachable!("dropped")).submit(&leaf);
        let task = leaf.call(|| unreachable!("dropped"));
        let semaphore = Semaphore::new(0);
        let signals = OnDrop({
            let semaphore = semaphore.clone();
            move || _ = semaphore.signal()
        });
        leaf.submit(move || drop(signals));
        table.barrier(|| ());
        std::thread::scope(|scope| {
            let waits = [
                scope.spawn(|| group.wait_timeout(LONG)),
                scope.spawn(|| item.wait() == WorkEnd::Dropped),
                scope.spawn(|| task.wait().is_err()),
                scope.spawn(|| semaphore.wait_timeout(LONG)),
                scope.spawn(|| leaf.sync_timeout(LONG, || ()).is_err()),
            ];
            let report = runtime.shutdown(LONG);
            assert!(!report.deadline_passed, "{report}");
            for wait in waits {
                assert!(wait.join().expect("no panic"), "it came back, but not as it should");
            }
        });
    }
}

#[test]
fn a_sync_waits_for_a_block_that_ends_only_after_a_sync_of_its_own() {
    let runtime = runtime(1);
    let (first, second) = (runtime.queue("first"), runtime.queue("second"));
    let (latch, inner) = (Latch::default(), second.clone());
    let open = latch.clone();
    first.submit(move || {
        latch.wait();
        inner.sync(|| ());
    });
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| first.sync(|| 7));
        second.sync(|| open.open());
        assert_eq!(waiter.join().expect("no panic"), 7);
    });
}

#[test]
fn threads_may_shut_a_runtime_down_at_the_same_time_and_in_the_middle_of_work() {
    for _ in 0..50 {
        let runtime = runtime(2);
        let queues: Vec<_> = (0..4).map(|i| runtime.queue(format!("work.{i}"))).collect();
        let taken = Arc::new(AtomicUsize::new(0));
        let ended = taken.clone();
        let reports = std::thread::scope(|scope| {
            for queue in &queues {
                let ended = &ended;
                scope.spawn(move || {
                    loop {
                        let count = ended.clone();
                        count.fetch_add(1, SeqCst);
                        let token = OnDrop(move || _ = count.fetch_sub(1, SeqCst));
                        if queue.try_submit(move || drop(token)).is_err() {
                            return;
                        }
                        let _ = queue.sync_timeout(LONG, || ());
                    }
                });
            }
            wait_until("work", || runtime.stats().blocks > 100);
            [(); 2].map(|()| scope.spawn(|| runtime.shutdown(LONG))).map(|end| end.join().expect("no panic"))
        });
        assert!(reports.iter().all(|report| !report.deadline_passed && report.stuck.is_empty()), "{reports:?}");
        wait_until("each block to run or to be dropped", || taken.load(SeqCst) == 0);
        wait_until("its threads to end", || runtime.stats().threads == 0);
    }
}

#[test]
fn a_value_that_goes_with_a_queue_in_a_shutdown_is_on_no_queue() {
    static LAST: SpecificKey<OnDrop<Box<dyn FnMut() + Send + Sync>>> = SpecificKey::new();
    let runtime = runtime(1);
    let (queue, other) = (runtime.queue("goes"), Queue::new("other"));
    let (tell, told) = channel();
    let asks = move || {
        let sentence = catch_unwind(AssertUnwindSafe(|| other.assert_on())).expect_err("it is on none");
        tell.send(*sentence.downcast::<String>().expect("a sentence")).expect("told is there");
    };
    queue.set_specific(&LAST, OnDrop(Box::new(asks)));
    let latch = occupy(&queue);
    drop(queue);
    assert!(runtime.shutdown(Duration::ZERO).deadline_passed);
    latch.open();
    let sentence = told.recv_timeout(LONG).expect("it was dropped");
    assert!(sentence.contains("in no queue's block"), "{sentence}");
}
