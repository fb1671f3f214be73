//! Timers in crowds, and the count of ticks against the clock.

use crate::{LONG, runtime, wait_until};
use singletrack_queues::{Isolated, Schedule, Ticker};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// The number of complete intervals.
fn over(begin: Instant, end: Instant, interval: Duration) -> u64 {
    u64::try_from(end.saturating_duration_since(begin).as_nanos() / interval.as_nanos()).expect("a short time")
}

#[test]
fn a_ticker_of_five_microseconds_ticks_beside_twenty_five_thousand_parked_timers() {
    let runtime = runtime(2);
    let parked = runtime.queue("parked");
    let timers: Vec<_> =
        (0..25_000).map(|i| parked.submit_after(HOUR + Duration::from_nanos(i), || unreachable!())).collect();
    let interval = Duration::from_micros(5);
    let (tell, told) = mpsc::channel();
    let begin = Instant::now();
    let ticker = Ticker::new(&runtime.queue("fast"), Schedule::every(interval), move |ticks| {
        // No receiver is left when the ticker is about to be cancelled.
        let _ = tell.send((ticks, Instant::now()));
    });
    let (mut all, mut calls) = (0, 0);
    while all < 20_000 || calls < 100 {
        let (ticks, at) = told.recv_timeout(LONG).expect("it ticks on");
        (all, calls) = (all + ticks, calls + 1);
        assert!(all <= over(begin, at, interval), "tick {all} was early");
    }
    ticker.cancel();
    assert!(runtime.stats().timers >= 25_000);
    assert!(timers.iter().all(|timer| timer.cancel()), "a parked one has gone off");
    ticker.queue().expect("a serial queue").sync(|| ());
    assert_eq!(runtime.stats().timers, 0);
}

#[test]
fn a_ticker_of_a_hundred_hertz_does_not_drift() {
    let runtime = runtime(1);
    let interval = Duration::from_millis(10);
    let (tell, told) = mpsc::channel();
    let before = Instant::now();
    let ticker = Ticker::new(&runtime.queue("steady"), Schedule::every(interval), move |ticks| {
        let _ = tell.send((ticks, Instant::now()));
    });
    let after = Instant::now();
    let (mut all, mut last) = (0, before);
    while all < 40 {
        let (ticks, at) = told.recv_timeout(LONG).expect("it ticks on");
        all += ticks;
        assert!(all <= over(before, at, interval), "tick {all} came before its time in the schedule");
        // Nothing was skipped: a call that ended later than the previous one began counts all ticks
        // that were due by then.
        assert!(all >= over(after, last, interval), "{all} ticks were reported, the clock says more");
        last = at;
    }
    // The next call begins after this: fired and missed ticks together match the clock.
    let due = ticker.queue().expect("a serial queue").sync(|| over(after, Instant::now(), interval));
    all += told.try_iter().map(|(ticks, _)| ticks).sum::<u64>();
    let (ticks, at) = told.recv_timeout(LONG).expect("it ticks on");
    assert!((due..=over(before, at, interval)).contains(&(all + ticks)), "{} ticks, {due} were due", all + ticks);
}

#[test]
fn blocks_for_the_same_time_later_come_in_the_order_of_the_calls() {
    for workers in [1, 4] {
        let runtime = runtime(workers);
        let log = Isolated::new(&runtime.queue("later"), Vec::new());
        for round in 0..20 {
            for i in 0..500 {
                let _timer = log.submit_after(Duration::from_micros(300), move |log| log.push(round * 500 + i));
            }
        }
        wait_until("ten thousand timers", || log.sync(|log| log.len()) == 10_000);
        let log = log.sync(std::mem::take);
        let first = log.windows(2).find(|pair| pair[0] > pair[1]);
        assert!(first.is_none(), "with {workers} workers: {first:?}");
    }
}

#[test]
fn a_suspended_ticker_counts_what_it_missed_beside_one_that_is_not() {
    let runtime = runtime(2);
    let queue = runtime.queue("both");
    let interval = Duration::from_millis(1);
    let both = [(), ()].map(|()| {
        let (tell, told) = mpsc::channel();
        let begin = Instant::now();
        let ticker = Ticker::new(&queue, Schedule::every(interval), move |ticks| {
            let _ = tell.send((ticks, Instant::now()));
        });
        (ticker, told, begin, Instant::now())
    });
    let [(held, told_late, begin, made), (_free, told_now, ..)] = &both;
    held.suspend();
    let mut ticks = 0;
    while ticks < 30 {
        ticks += told_now.recv_timeout(LONG).expect("it ticks").0;
    }
    queue.sync(|| ());
    let early: u64 = told_late.try_iter().map(|(ticks, _)| ticks).sum();
    let due = queue.sync(|| over(*made, Instant::now(), interval));
    held.resume().expect("suspended above");
    let (missed, at) = told_late.recv_timeout(LONG).expect("what it missed");
    assert!((due..=over(*begin, at, interval)).contains(&(early + missed)), "{early} and {missed}, {due} were due");
}
