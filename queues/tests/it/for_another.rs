//! A closure runs on another thread than the one that waits for it: where it may run, and what it
//! sees there.
//!
//! Each test would hang, or fail, if the closure of one thread ran in the middle of another
//! thread's block.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use singletrack_queues::{
    Budget, ConcurrentQueue, Isolated, MainQueue, Once, Queue, SyncError, Task, TrySyncError, WorkItem,
};

use super::{LONG, runtime, wait_until};

/// Runs `f` on a thread of its own and returns its value; fails when it does not come back.
#[track_caller]
fn comes_back<R: Send + 'static>(what: &str, f: impl FnOnce() -> R + Send + 'static) -> R {
    let (tell, told) = channel();
    thread::spawn(move || tell.send(f()));
    told.recv_timeout(LONG).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Keeps `queue` busy until the result is dropped; returns once it is busy.
fn busy(queue: &Queue) -> impl Drop + use<> {
    struct Open(Option<std::sync::mpsc::Sender<()>>);
    impl Drop for Open {
        fn drop(&mut self) {
            drop(self.0.take());
        }
    }
    let (open, opens) = channel::<()>();
    let (begun, begins) = channel();
    queue.submit(move || {
        begun.send(()).expect("waited for");
        let _ = opens.recv();
    });
    begins.recv().expect("it begins");
    Open(Some(open))
}

/// A thread announced itself right before its `sync`; this gives it time to be in it.
fn until_it_waits(waits: &Receiver<()>) {
    waits.recv().expect("a thread comes");
    (0..200).for_each(|_| thread::yield_now());
}

#[test]
fn a_try_sync_runs_no_closure_of_others_inside_its_block() {
    comes_back("p and q wait for each other", || {
        for _ in 0..100 {
            let runtime = runtime(2);
            let (p, q) = (runtime.queue("p"), runtime.queue("q"));
            let (inside, is_inside) = channel();
            let (waits, is_waiting) = channel();
            let (other_p, other_q) = (p.clone(), q.clone());
            let other = thread::spawn(move || {
                is_inside.recv().expect("the block has q");
                waits.send(()).expect("waited for");
                other_q.sync(|| other_p.sync(|| ()));
            });
            let tries = q.clone();
            p.call(move || {
                let tried = tries.try_sync(move || {
                    inside.send(()).expect("waited for");
                    is_waiting.recv().expect("the other thread comes");
                    (0..50).for_each(|_| thread::yield_now());
                });
                assert!(tried.is_ok());
            })
            .wait()
            .expect("it ends");
            other.join().expect("it ends");
        }
    });
}

#[test]
fn a_try_sync_is_back_without_running_what_others_left() {
    let queue = runtime(2).queue("q");
    let me = thread::current().id();
    let on_me = Arc::new(Mutex::new(0));
    thread::scope(|scope| {
        let (waits, is_waiting) = channel();
        let queue = &queue;
        let noted = on_me.clone();
        let tried = queue.try_sync(move || {
            for _ in 0..4 {
                let (waits, on_me) = (waits.clone(), noted.clone());
                scope.spawn(move || {
                    waits.send(()).expect("waited for");
                    queue.sync(|| *on_me.lock().expect("no panic") += usize::from(thread::current().id() == me));
                });
            }
            (0..4).for_each(|_| is_waiting.recv().expect("all come"));
            (0..200).for_each(|_| thread::yield_now());
        });
        assert!(tried.is_ok());
    });
    assert_eq!(*on_me.lock().expect("no panic"), 0);
}

#[test]
fn nothing_runs_in_the_middle_of_a_block_of_a_main_queue() {
    let main = MainQueue::new("main");
    let queue = runtime(2).queue("q");
    let local = main.local(std::cell::Cell::new(false));
    for _ in 0..50 {
        let (waits, is_waiting) = channel();
        let (begun, begins) = channel();
        let (q, value) = (queue.clone(), local.clone());
        let other = thread::spawn(move || {
            begins.recv().expect("the block has q");
            waits.send(()).expect("waited for");
            q.sync(|| value.sync(|in_the_block| in_the_block.get()))
        });
        let q = queue.clone();
        local.submit(move |in_the_block| {
            in_the_block.set(true);
            q.sync(move || {
                begun.send(()).expect("waited for");
                is_waiting.recv().expect("the other thread comes");
                (0..50).for_each(|_| thread::yield_now());
            });
            in_the_block.set(false);
        });
        while !other.is_finished() {
            let _more_comes_with_the_next_look = main.drain(Budget::blocks(100));
            thread::yield_now();
        }
        assert!(!other.join().expect("no false panic"), "it ran in the middle of a block");
    }
}

/// `wait` is called on a thread in a block of `a` that waits for `b`, once with `b` idle and once
/// with `b` busy. Both calls must come back, with the same result.
fn in_a_through_b(what: &str, wait: impl Fn(&Queue) -> String + Send + Sync + 'static) {
    let wait = Arc::new(wait);
    for is_busy in [false, true] {
        let (a, b) = (runtime(2).queue("a"), runtime(2).queue("b"));
        let keeps = is_busy.then(|| busy(&b));
        let (waits, is_waiting) = channel();
        let (outer, inner, wait) = (a.clone(), b.clone(), wait.clone());
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            let found = outer.sync(|| {
                waits.send(()).expect("waited for");
                inner.sync(|| wait(&outer))
            });
            tell.send(found).expect("waited for");
        });
        until_it_waits(&is_waiting);
        drop(keeps);
        let found = told.recv_timeout(LONG).unwrap_or_else(|_| panic!("{what} hangs with b busy = {is_busy}"));
        assert!(found.contains("\"a\"") || found == "Deadlock", "{what} with b busy = {is_busy}: {found}");
        thread.join().expect("it ended");
    }
}

/// The text of the panic that `f` ends with.
fn panic_text(f: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).expect_err("it is refused");
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[test]
fn a_wait_for_the_outer_queue_is_reported_whether_the_inner_one_is_idle_or_busy() {
    in_a_through_b("sync", |a| panic_text(|| a.sync(|| ())));
    in_a_through_b("sync of an isolated value", |a| panic_text(|| Isolated::new(a, 0).sync(|_| ())));
    in_a_through_b("sync_timeout", |a| match a.sync_timeout(LONG, || ()) {
        Err(SyncError::Deadlock(_)) => "Deadlock".into(),
        other => format!("{other:?}"),
    });
    in_a_through_b("try_sync", |a| match a.try_sync(|| ()) {
        Err(TrySyncError::Deadlock(..)) => "Deadlock".into(),
        other => format!("{:?}", other.is_ok()),
    });
    in_a_through_b("a task", |a| a.call(|| ()).wait().expect_err("it is refused").to_string());
    in_a_through_b("a work item", |a| panic_text(|| _ = WorkItem::new(|| ()).submit(a).wait()));
    in_a_through_b("the value of a once", |a| {
        panic_text(|| {
            Once::new().get_or_init(|| a.sync(|| ()));
        })
    });
}

#[test]
fn a_wait_for_a_barrier_that_the_thread_is_in_is_reported_through_another_queue() {
    for is_busy in [false, true] {
        let (runtime, other) = (runtime(2), runtime(2));
        let b = other.queue("b");
        let keeps = is_busy.then(|| busy(&b));
        let (waits, is_waiting) = channel();
        let queue = ConcurrentQueue::builder("c").runtime(&runtime).build();
        let (inner, concurrent) = (b.clone(), queue.clone());
        let (tell, told) = channel();
        thread::spawn(move || {
            let text = concurrent.barrier_sync(|| {
                waits.send(()).expect("waited for");
                inner.sync(|| panic_text(|| concurrent.sync(|| ())))
            });
            tell.send(text).expect("waited for");
        });
        is_waiting.recv().expect("it comes");
        (0..200).for_each(|_| thread::yield_now());
        drop(keeps);
        let text = told.recv_timeout(LONG).expect("it does not hang");
        assert!(text.contains("\"c\""), "{text}");
    }
}

#[test]
fn a_closure_is_on_the_queues_of_its_thread_wherever_it_runs() {
    for _ in 0..50 {
        let runtime = runtime(2);
        let (a, b, c) = (runtime.queue("a"), runtime.queue("b"), runtime.queue("c"));
        let keeps = busy(&b);
        let (waits, is_waiting) = channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                a.sync(|| {
                    waits.send(()).expect("waited for");
                    b.sync(|| {
                        a.assert_on();
                        b.assert_on();
                        c.assert_not_on();
                        assert!(a.is_current() && b.is_current() && !c.is_current());
                    });
                });
            });
            until_it_waits(&is_waiting);
            drop(keeps);
        });
    }
}

#[test]
fn closures_that_a_thread_runs_for_others_do_not_see_what_it_is_in() {
    // Threads that leave a `sync` at the same time run each other's closures, and each is in one
    // more queue of its own.
    let runtime = runtime(2);
    let shared = runtime.queue("shared");
    thread::scope(|scope| {
        for index in 0..4 {
            let (shared, own) = (&shared, runtime.queue(format!("own {index}")));
            let others = runtime.queue("others");
            scope.spawn(move || {
                for round in 0..2_000 {
                    let check = || {
                        shared.sync(|| {
                            assert_eq!(own.is_current(), round % 2 == 0);
                            others.assert_not_on();
                        });
                    };
                    if round % 2 == 0 { own.sync(check) } else { check() }
                }
            });
        }
    });
}

#[test]
fn a_thread_runs_closures_of_others_for_a_moment_only() {
    let queue = runtime(2).queue("q");
    let me = thread::current().id();
    let on_me = Mutex::new(0);
    thread::scope(|scope| {
        let (waits, is_waiting) = channel();
        let (queue, on_me) = (&queue, &on_me);
        queue.sync(move || {
            for _ in 0..16 {
                let waits = waits.clone();
                scope.spawn(move || {
                    waits.send(()).expect("waited for");
                    queue.sync(|| {
                        *on_me.lock().expect("no panic") += usize::from(thread::current().id() == me);
                        // Longer than a thread may spend on others.
                        thread::sleep(Duration::from_millis(1)); // the block under test sleeps: that is the case
                    });
                });
            }
            (0..16).for_each(|_| is_waiting.recv().expect("all come"));
            (0..200).for_each(|_| thread::yield_now());
        });
    });
    assert!(*on_me.lock().expect("no panic") <= 2, "{on_me:?} of 16 slow closures of others ran on one thread");
}

#[test]
fn a_thread_that_waits_for_a_task_runs_it_when_no_worker_can() {
    let runtime = runtime(1);
    let stuck = runtime.queue("stuck");
    let keeps = busy(&stuck);
    let queue = runtime.queue("q");
    let (before, after) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    for number in 0..3 {
        let before = before.clone();
        queue.submit(move || before.lock().expect("no panic").push((number, thread::current().id())));
    }
    let task: Task<_> = queue.call(|| thread::current().id());
    let left = after.clone();
    queue.submit(move || left.lock().expect("no panic").push(thread::current().id()));
    let ran_on = task.wait().expect("it ran");
    let before: Vec<_> = before.lock().expect("no panic").iter().map(|(number, _)| *number).collect();
    assert_eq!(before, [0, 1, 2], "in order, and before the task");
    if ran_on == thread::current().id() {
        // This thread does not wait for what follows it.
        drop(keeps);
        wait_until("the worker runs the rest", || !after.lock().expect("no panic").is_empty());
        assert_ne!(after.lock().expect("no panic")[0], thread::current().id());
    }
}

#[test]
fn a_block_that_a_waiting_thread_runs_is_a_block_like_any_other() {
    for _ in 0..200 {
        let runtime = runtime(1);
        let queue = runtime.queue("q");
        let (inside, other) = (queue.clone(), runtime.clone());
        let seen = queue.call(move || {
            inside.assert_on();
            let refused = panic_text(|| drop(other.shutdown(LONG)));
            let again = inside.clone();
            let deadlock = inside.call(move || again.label().len()).wait().is_err();
            (refused, deadlock)
        });
        let (refused, deadlock) = seen.wait().expect("it ran");
        assert!(refused.contains("from another thread"), "{refused}");
        assert!(deadlock, "a block cannot wait for its own queue");
        assert_eq!(runtime.shutdown(LONG).dropped, 0);
    }
}

#[test]
fn a_thread_in_a_block_or_with_a_main_queue_runs_nothing_while_it_waits() {
    let (one, two) = (runtime(1), runtime(1));
    let (outer, inner) = (one.queue("outer"), two.queue("inner"));
    for _ in 0..50 {
        let task_of = inner.clone();
        let (here, there) = outer
            .call(move || (thread::current().id(), task_of.call(|| thread::current().id()).wait().expect("it runs")))
            .wait()
            .expect("it runs");
        assert_ne!(here, there);
        let _main = MainQueue::new("main");
        assert_ne!(inner.call(|| thread::current().id()).wait().expect("it runs"), thread::current().id());
    }
}

#[test]
fn threads_that_wait_for_tasks_of_one_queue_lose_and_double_nothing() {
    let runtime = runtime(2);
    let sum = Isolated::new(&runtime.queue("sum"), 0_u64);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..5_000_u64 {
                    match round % 4 {
                        0 => sum.submit(|sum| *sum += 1),
                        1 => sum.sync(|sum| *sum += 1),
                        2 => sum.call(|sum| *sum += 1).wait().expect("it runs"),
                        _ => {
                            let mut task = sum.call(|sum| *sum += 1);
                            task.wait_timeout(LONG).expect("in time").expect("it runs");
                        }
                    }
                }
            });
        }
    });
    assert_eq!(sum.sync(|sum| *sum), 20_000);
}
