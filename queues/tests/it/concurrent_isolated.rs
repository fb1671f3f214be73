//! A value behind a concurrent queue.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue, Runtime, SyncError, TaskError, TrySyncError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

fn queue(runtime: &Runtime) -> ConcurrentQueue {
    ConcurrentQueue::builder("value").runtime(runtime).build()
}

#[test]
fn readers_of_a_value_run_together() {
    let runtime = runtime(2);
    let value = ConcurrentIsolated::new(&queue(&runtime), Barrier::new(3));
    let readers = [value.call(|all| all.wait().is_leader()), value.call(|all| all.wait().is_leader())];
    let leads = value.read_sync(|all| all.wait().is_leader());
    let leaders = readers.into_iter().filter_map(|reader| reader.wait().ok()).filter(|leads| *leads).count();
    assert_eq!(leaders + usize::from(leads), 1, "three threads were in the value together");
}

#[test]
fn no_reader_sees_half_of_a_change() {
    const ROUNDS: u64 = 1_000;
    let runtime = runtime(4);
    let value = ConcurrentIsolated::new(&queue(&runtime), [0_u64; 64]);
    let (tell, told) = mpsc::channel();
    let whole = |all: &[u64; 64]| all.iter().all(|one| *one == all[0]);
    // Time enough for a reader that should not be there to see half of it.
    let change = |all: &mut [u64; 64]| {
        all[..32].iter_mut().for_each(|one| *one += 1);
        std::thread::yield_now();
        all[32..].iter_mut().for_each(|one| *one += 1);
    };
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                for _ in 0..ROUNDS {
                    value.barrier(change);
                    let tell = tell.clone();
                    value.read(move |all| tell.send(whole(all)).expect("the test listens"));
                    assert!(value.read_sync(whole), "a reader was in beside a barrier");
                    value.barrier_sync(change);
                }
            });
        }
    });
    drop(tell);
    assert!(told.iter().all(|whole| whole), "a reader was in beside a barrier");
    assert_eq!(value.read_sync(|all| all[63]), 4 * ROUNDS, "no change was lost");
}

#[test]
fn a_barrier_inside_a_reader_of_its_value_is_reported() {
    let runtime = runtime(1);
    let value = ConcurrentIsolated::new(&queue(&runtime), 1);
    let nested =
        value.read_sync(|_| catch_unwind(AssertUnwindSafe(|| value.barrier_sync(|value| *value = 2))).is_err());
    assert!(nested, "a barrier ran beside the reader around it");
    let nested = value.read_sync(|_| matches!(value.barrier_call(|_| ()).wait(), Err(TaskError::Deadlock { .. })));
    assert!(nested);
    let nested = value.barrier_sync(|_| catch_unwind(AssertUnwindSafe(|| value.read_sync(|value| *value))).is_err());
    assert!(nested, "a reader ran beside the barrier around it");
    assert_eq!(value.read_sync(|one| value.read_sync(|same| (*one, *same))), (1, 1), "readers may be nested");
}

#[test]
fn what_cannot_have_the_value_in_time_gives_the_closure_back_or_says_so() {
    let runtime = runtime(1);
    let value = ConcurrentIsolated::new(&queue(&runtime), 1);
    assert_eq!(value.try_barrier_sync(|value| std::mem::replace(value, 2)).ok(), Some(1));
    assert_eq!(value.try_read_sync(|value| *value).ok(), Some(2));
    // In a reader another one may read; and nobody may write, nor read in a writer.
    value.read_sync(|_| {
        assert_eq!(value.try_read_sync(|value| *value).ok(), Some(2));
        assert!(value.try_barrier_sync(|value| *value = 3).is_err(), "beside a reader");
        let late = value.barrier_sync_timeout(LONG, |value| *value = 3);
        assert!(matches!(late, Err(SyncError::Deadlock(error)) if error.call() == "barrier_sync_timeout"));
    });
    value.barrier_sync(|_| {
        assert!(matches!(value.try_read_sync(|value| *value), Err(TrySyncError::Deadlock(..))), "beside a writer");
        let late = value.read_sync_timeout(LONG, |value| *value);
        assert!(matches!(late, Err(SyncError::Deadlock(error)) if error.call() == "sync_timeout"));
    });
    value.queue().suspend();
    let (soon, token) = (Duration::from_millis(1), String::from("mine"));
    let back = value.try_read_sync(move |_| token).expect_err("suspended").into_inner();
    assert_eq!(back(&0), "mine");
    let back = value.try_barrier_sync(|value| *value = 3).expect_err("suspended").into_inner();
    assert!(matches!(value.read_sync_timeout(soon, |value| *value), Err(SyncError::Timeout { .. })));
    assert!(matches!(value.barrier_sync_timeout(soon, |value| *value = 4), Err(SyncError::Timeout { .. })));
    value.queue().resume().expect("suspended above");
    assert_eq!(value.read_sync_timeout(LONG, |value| *value), Ok(2));
    assert_eq!(value.barrier_sync_timeout(LONG, back), Ok(()));
    assert_eq!(value.read_sync(|value| *value), 3);
}

#[test]
fn blocks_for_later_have_the_value_and_keep_it() {
    let runtime = runtime(2);
    let value = ConcurrentIsolated::new(&queue(&runtime), 1);
    let (tell, told) = mpsc::channel();
    let own = tell.clone();
    value.barrier_after(Duration::from_millis(1), move |value| {
        *value += 1;
        own.send(*value).expect("the test listens");
    });
    assert_eq!(told.recv_timeout(LONG), Ok(2));
    value.read_after(Duration::from_millis(1), move |value| tell.send(*value).expect("the test listens"));
    assert!(value.barrier_after(LONG, |value| *value = 9).cancel());
    drop(value);
    assert_eq!(told.recv_timeout(LONG), Ok(2));
    let late = ConcurrentIsolated::new(&queue(&runtime), 1);
    runtime.shutdown(LONG);
    assert!(!late.barrier_after(LONG, |_| ()).cancel(), "it was not taken");
}

/// Reports when it is dropped.
struct Reports(mpsc::Sender<()>);

impl Drop for Reports {
    fn drop(&mut self) {
        self.0.send(()).expect("the test listens");
    }
}

#[test]
fn a_shared_value_is_dropped_after_the_last_block_that_uses_it() {
    let runtime = runtime(2);
    let (tells, told) = mpsc::channel();
    let value = ConcurrentIsolated::new(&queue(&runtime), Reports(tells));
    let (began, latch) = (Latch::default(), Latch::default());
    let (begins, waits) = (began.clone(), latch.clone());
    let used = value.call(move |value| {
        begins.open();
        waits.wait();
        value.0.send(()).is_ok()
    });
    value.barrier(|_| ());
    began.wait();
    drop(value);
    assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "a reader and a barrier still need it");
    latch.open();
    assert_eq!(used.wait().ok(), Some(true));
    assert!(told.recv_timeout(LONG).is_ok(), "the reader's own message");
    assert!(told.recv_timeout(LONG).is_ok(), "the drop");
}

#[test]
fn a_shutdown_drops_a_shared_value_with_the_blocks_that_it_drops() {
    let runtime = runtime(1);
    let alive = Arc::new(());
    let value = ConcurrentIsolated::new(&queue(&runtime), alive.clone());
    value.queue().suspend();
    value.read(|_| unreachable!("it is suspended until the end"));
    value.barrier(|_| unreachable!("it is suspended until the end"));
    let queue = value.queue().clone();
    drop(value);
    assert_eq!(Arc::strong_count(&alive), 2);
    runtime.shutdown(Duration::ZERO);
    wait_until("the value to be dropped", || Arc::strong_count(&alive) == 1);
    drop(queue);
}
