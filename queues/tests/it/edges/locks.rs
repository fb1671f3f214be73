//! No user code runs under the lock of an object: neither what a stopped pool drops, nor a waker,
//! nor a query.

use super::{HANG, told};
use crate::Latch;
use singletrack_queues::{Group, Once, Promise, Queue, Runtime, Semaphore, Task, TaskError, WorkEnd, WorkItem};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Calls something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A block submits something that only its own thread has, its pool is stopped, and then the block
/// waits: in that wait the pool drops what the block submitted. `None` if it hung.
fn wait_in_a_stopped_pool<W: 'static, R: Send + 'static>(
    submit: impl FnOnce(&Queue) -> W + Send + 'static,
    wait: impl FnOnce(W) -> R + Send + 'static,
) -> Option<R> {
    let runtime = Runtime::builder().workers(1).thread_cap(1).name("capped").build().expect("one thread");
    let (submitted, stopped, (tell, answer)) = (Latch::default(), Latch::default(), channel());
    let (mine, go) = (submitted.clone(), stopped.clone());
    let (other, later) = (runtime.queue("other"), runtime.queue("later"));
    runtime.queue("waits").submit(move || {
        let what = submit(&other);
        // Takes the slot that the monitor would free: the other queue goes where only a thread that
        // looks for work finds it.
        later.submit(|| ());
        mine.open();
        go.wait();
        _ = tell.send(wait(what));
    });
    submitted.wait();
    assert!(runtime.shutdown(Duration::ZERO).deadline_passed, "the block waits for the latch");
    stopped.open();
    let answer = answer.recv_timeout(HANG).ok();
    if answer.is_none() {
        // Its thread hangs in the lock.
        std::mem::forget(runtime);
    }
    answer
}

#[test]
fn a_stopped_pool_drops_the_promise_of_the_task_that_is_waited_for() {
    let answer = wait_in_a_stopped_pool(
        |other| {
            let (task, promise) = Task::<u32>::promised();
            other.submit(move || promise.fulfil(7));
            task
        },
        |task| matches!(task.wait(), Err(TaskError::Broken)),
    );
    assert_eq!(answer, Some(true));
}

#[test]
fn a_stopped_pool_drops_the_item_that_is_waited_for() {
    let answer = wait_in_a_stopped_pool(|other| WorkItem::new(|| ()).submit(other), |item| item.wait());
    assert_eq!(answer, Some(WorkEnd::Dropped));
}

#[test]
fn a_stopped_pool_drops_a_member_of_the_group_that_is_waited_for() {
    let answer = wait_in_a_stopped_pool(
        |other| {
            let group = Group::new();
            group.submit(other, || ());
            group
        },
        |group| group.wait_timeout(HANG),
    );
    assert_eq!(answer, Some(true));
}

#[test]
fn a_stopped_pool_drops_what_signals_the_semaphore_that_is_waited_for() {
    let answer = wait_in_a_stopped_pool(
        |other| {
            let semaphore = Semaphore::new(0);
            let signals = semaphore.clone();
            let guard = OnDrop(move || _ = signals.signal());
            other.submit(move || drop(guard));
            semaphore
        },
        |semaphore| semaphore.wait_timeout(HANG),
    );
    assert_eq!(answer, Some(true));
}

#[test]
fn a_stopped_pool_drops_what_needs_the_value_that_is_waited_for() {
    let once = Arc::new(Once::new());
    let (begun, goes_on) = (Latch::default(), Latch::default());
    let maker = {
        let (once, begun, goes_on) = (once.clone(), begun.clone(), goes_on.clone());
        std::thread::spawn(move || {
            once.get_or_init(|| {
                begun.open();
                goes_on.wait();
                1
            });
        })
    };
    begun.wait();
    let needed = once.clone();
    let answer = wait_in_a_stopped_pool(
        move |other| {
            let needs = needed.clone();
            let guard = OnDrop(move || {
                goes_on.open();
                assert_eq!(needs.get_or_init(|| 2), &1);
            });
            other.submit(move || drop(guard));
            needed
        },
        |once| *once.get_or_init(|| 3),
    );
    assert_eq!(answer, Some(1));
    maker.join().expect("it made the value");
}

#[test]
fn a_task_asks_whether_it_waits_for_this_thread_under_no_lock() {
    // Here the query ends the very task that it is about.
    let answer = super::within_time(|| {
        let key: Arc<Mutex<Option<Promise<u32>>>> = Arc::default();
        let ends = key.clone();
        let (task, promise) = Task::promised_by("a door", move || {
            if let Some(promise) = ends.lock().expect("no panic under it").take() {
                promise.fulfil(7);
            }
            false
        });
        *key.lock().expect("no panic under it") = Some(promise);
        task.wait().ok()
    });
    assert_eq!(answer, Some(Some(7)));
}

/// Counts how often it was woken, and panics.
#[derive(Default)]
struct Panics(AtomicUsize);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
        panic!("a waker that panics");
    }
}

#[test]
fn a_waker_that_panics_while_its_promise_is_dropped_in_a_panic_ends_nothing() {
    let panics = Arc::new(Panics::default());
    let (task, promise) = Task::<u32>::promised();
    let waker = Waker::from(panics.clone());
    let mut task = pin!(task);
    assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let error = told(move || {
        let _promise = promise;
        panic!("the first panic");
    });
    assert_eq!(error, Err(String::from("the first panic")));
    assert_eq!(panics.0.load(SeqCst), 1, "it was woken");
    assert!(matches!(task.poll(&mut Context::from_waker(&waker)), Poll::Ready(Err(TaskError::Broken))));
}

#[test]
fn a_waker_that_panics_is_not_the_panic_of_the_block_that_it_waits_for() {
    let runtime = crate::runtime(1);
    let queue = runtime.queue("wakes");
    let latch = crate::occupy(&queue);
    let mut task = pin!(queue.call(|| 5));
    let waker = Waker::from(Arc::new(Panics::default()));
    assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    latch.open();
    queue.sync(|| ());
    assert_eq!(runtime.stats().panics, 0);
    assert!(matches!(task.poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(5))));
}
