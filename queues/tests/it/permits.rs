//! Permits of a semaphore and members of a group, which are given back when the value is dropped;
//! and awaiting both.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{Group, Semaphore};
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[derive(Default)]
struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn waker() -> (Arc<Counts>, Waker) {
    let counts = Arc::new(Counts::default());
    (counts.clone(), counts.into())
}

#[test]
fn a_block_that_panics_gives_its_permit_back() {
    let runtime = runtime(2);
    let slots = Semaphore::new(2);
    for _ in 0..10 {
        let slots = slots.clone();
        runtime.spawn(move || {
            let _permit = slots.acquire();
            panic!("with a permit");
        });
    }
    wait_until("ten panics", || runtime.stats().panics == 10);
    let both = [slots.acquire_timeout(LONG), slots.acquire_timeout(LONG)];
    assert!(both.iter().all(Option::is_some));
    assert!(slots.try_acquire().is_none() && slots.acquire_timeout(Duration::from_millis(1)).is_none());
    drop(both);
    slots.acquire().forget();
    assert!(slots.try_acquire().is_some_and(|_permit| slots.try_acquire().is_none()), "one was forgotten");
}

#[test]
fn who_awaits_a_permit_has_its_place_in_the_line() {
    let slots = Semaphore::new(1);
    let (first_wakes, first_waker) = waker();
    let (second_wakes, second_waker) = waker();
    let held = slots.acquire();
    let mut second = Box::pin(slots.acquire_async());
    {
        let mut first = pin!(slots.acquire_async());
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(second.as_mut().poll(&mut Context::from_waker(&second_waker)).is_pending());
        assert!(first.as_mut().poll(&mut Context::from_waker(&first_waker)).is_pending(), "with another waker");
        drop(held);
        assert_eq!((first_wakes.0.load(SeqCst), second_wakes.0.load(SeqCst)), (1, 0));
        assert!(slots.try_acquire().is_none(), "it is the first one's");
        assert!(second.as_mut().poll(&mut Context::from_waker(&second_waker)).is_pending());
        // Dropped without another poll: its permit passes on.
    }
    assert_eq!(second_wakes.0.load(SeqCst), 1);
    let Poll::Ready(permit) = second.as_mut().poll(&mut Context::from_waker(&second_waker)) else {
        panic!("it was signalled");
    };
    drop((permit, second));
    let mut left = Box::pin(slots.acquire_async());
    let held = slots.acquire();
    assert!(left.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(left);
    drop(held);
    assert!(slots.try_wait(), "no waiter is left in the line");
}

#[test]
fn a_member_leaves_when_it_is_dropped_also_by_a_panic() {
    let (runtime, group) = (runtime(1), Group::new());
    let member = group.member();
    runtime.spawn(move || {
        let _member = member;
        panic!("a member");
    });
    assert!(group.wait_timeout(LONG));
    assert!(group.leave().is_err());
}

#[test]
fn a_group_is_awaited() {
    let (runtime, group) = (runtime(1), Group::new());
    let mut at_once = pin!(group.clone().into_future());
    assert!(at_once.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready(), "it is empty");
    let latch = Latch::default();
    let goes_on = latch.clone();
    group.spawn(&runtime, move || goes_on.wait());
    let (wakes, waker) = waker();
    let mut empty = pin!(group.clone().into_future());
    assert!(empty.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(empty.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "with another waker");
    latch.open();
    assert!(group.wait_timeout(LONG));
    wait_until("the wake", || wakes.0.load(SeqCst) == 1);
    let member = group.member();
    assert!(empty.as_mut().poll(&mut Context::from_waker(&waker)).is_ready(), "it was empty for a moment");
    drop(member);
}

#[test]
fn a_permit_that_is_there_is_taken_at_once() {
    let slots = Semaphore::new(1);
    let (counts, waker) = waker();
    let mut context = Context::from_waker(&waker);
    let Poll::Ready(permit) = pin!(slots.acquire_async()).poll(&mut context) else { panic!("it is there") };
    assert!(slots.try_acquire().is_none());
    drop(permit);
    assert!(slots.try_acquire().is_some());
    assert_eq!(counts.0.load(SeqCst), 0, "nobody waited");
}
