//! Tickers: never early, no drift, missed ticks counted.

use crate::{LONG, runtime, wait_until};
use singletrack_queues::{Queue, Schedule, Source, Ticker};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A ticker that reports how many ticks fired, and when.
fn telling(queue: &Queue, schedule: Schedule) -> (Ticker, Receiver<(u64, Instant)>) {
    let (tell, told) = mpsc::channel();
    let tell = move |ticks| tell.send((ticks, Instant::now())).expect("the test listens");
    (Ticker::new(queue, schedule, tell), told)
}

fn between(begin: Instant, end: Instant, interval: Duration) -> u64 {
    u64::try_from(end.saturating_duration_since(begin).as_nanos() / interval.as_nanos()).expect("a short time")
}

#[test]
fn no_tick_is_early_and_each_call_counts_at_least_one() {
    let runtime = runtime(2);
    for leeway in [Duration::ZERO, MS / 2] {
        let begin = Instant::now();
        let schedule = Schedule::every(MS).first_after(3 * MS).leeway(leeway);
        let (_ticker, told) = telling(&runtime.queue("early"), schedule);
        let mut all = 0;
        while all < 50 {
            let (ticks, at) = told.recv_timeout(LONG).expect("it ticks on");
            all += ticks;
            assert!(ticks >= 1);
            assert!(all <= between(begin + 2 * MS, at, MS), "tick {all} was early");
        }
    }
}

#[test]
fn a_suspended_ticker_costs_nothing_and_counts_what_it_missed_in_one_call() {
    let runtime = runtime(1);
    let begin = Instant::now();
    let (ticker, told) = telling(&runtime.queue("missed"), Schedule::every(MS));
    let made = Instant::now();
    let (first, _) = told.recv_timeout(LONG).expect("it ticks");
    ticker.suspend();
    wait_until("the next tick to be noticed, and no other to be waited for", || runtime.stats().timers == 0);
    ticker.queue().expect("a serial queue").sync(|| ());
    let before: u64 = first + told.try_iter().map(|(ticks, _)| ticks).sum::<u64>();
    wait_until("twenty more ticks", || between(made, Instant::now(), MS) > before + 20);
    assert_eq!(runtime.stats().timers, 0);
    let resumed = Instant::now();
    ticker.resume().expect("suspended above");
    let (missed, at) = told.recv_timeout(LONG).expect("it ticks again");
    assert!(missed >= 20);
    // No drift: fired and missed ticks together are the number of intervals.
    assert!(before + missed >= between(made, resumed, MS));
    assert!(before + missed <= between(begin, at, MS));
}

#[test]
fn a_busy_queue_gets_one_call_with_the_count() {
    let runtime = runtime(2);
    let queue = runtime.queue("busy");
    let (_ticker, told) = telling(&queue, Schedule::every(MS).first_after(Duration::ZERO));
    told.recv_timeout(LONG).expect("it ticks");
    let told = queue.sync(move || {
        told.try_iter().for_each(drop);
        let begin = Instant::now();
        wait_until("eleven intervals", || begin.elapsed() >= 11 * MS);
        told
    });
    let (missed, _) = told.recv_timeout(LONG).expect("it ticks on");
    assert!(missed >= 10, "{missed}");
}

#[test]
fn a_schedule_that_is_set_again_starts_anew_and_forgets_the_ticks_before() {
    let runtime = runtime(1);
    let (ticker, told) = telling(&runtime.queue("anew"), Schedule::every(MS));
    told.recv_timeout(LONG).expect("it ticks");
    ticker.suspend();
    wait_until("a tick that waits", || runtime.stats().timers == 0);
    ticker.queue().expect("a serial queue").sync(|| ());
    ticker.set(Schedule::every(MS));
    ticker.set(Schedule::once(HOUR));
    told.try_iter().for_each(drop);
    ticker.resume().expect("suspended above");
    wait_until("the new schedule", || runtime.stats().timers == 1);
    ticker.queue().expect("a serial queue").sync(|| ());
    assert!(told.try_recv().is_err());
    let begin = Instant::now();
    ticker.set(Schedule::once(2 * MS));
    let (ticks, at) = told.recv_timeout(LONG).expect("the last schedule");
    assert!(ticks == 1 && at - begin >= 2 * MS);
}

#[test]
fn setting_again_and_again_waits_until_it_is_quiet() {
    let runtime = runtime(1);
    let quiet = Schedule::once(20 * MS);
    let (ticker, told) = telling(&runtime.queue("quiet"), quiet);
    let mut last = Instant::now();
    for _ in 0..1_000 {
        last = Instant::now();
        ticker.set(quiet);
    }
    // If the machine stops this process for long enough, more than one tick is due; the last one
    // is.
    let mut at = told.recv_timeout(LONG).expect("it is quiet").1;
    while at < last + 20 * MS {
        at = told.recv_timeout(LONG).expect("the last one").1;
    }
    assert!(told.try_recv().is_err());
    assert_eq!(runtime.stats().timers, 0);
}

#[test]
fn one_tick_is_one_and_an_endless_delay_is_never() {
    let runtime = runtime(1);
    let queue = runtime.queue("ends");
    let (_once, told) = telling(&queue, Schedule::once(MS));
    let (_never, nothing) = telling(&queue, Schedule::once(Duration::MAX));
    assert_eq!(told.recv_timeout(LONG).expect("it comes").0, 1);
    queue.sync(|| ());
    assert!(told.try_recv().is_err() && nothing.try_recv().is_err());
    assert_eq!(runtime.stats().timers, 0);
}

#[test]
fn cancelling_and_dropping_end_a_ticker_and_take_its_timer_out() {
    let runtime = runtime(1);
    let queue = runtime.queue("end");
    for cancels in [true, false] {
        let (tell, told) = mpsc::channel();
        let alive = Arc::new(());
        let token = alive.clone();
        let ticker = Source::builder(&queue)
            .on_cancel(move || tell.send(()).expect("the test listens"))
            .ticking(Schedule::every(HOUR), move |_| drop(token.clone()));
        wait_until("the timer", || runtime.stats().timers == 1);
        if cancels {
            ticker.cancel();
            assert!(ticker.is_cancelled());
        }
        drop(ticker);
        assert_eq!(told.recv_timeout(LONG), Ok(()));
        assert!(told.recv_timeout(LONG).is_err(), "once");
        wait_until("the handler to be dropped", || Arc::strong_count(&alive) == 1);
        assert_eq!(runtime.stats().timers, 0);
    }
}

#[test]
fn a_handler_may_set_and_cancel_its_own_ticker() {
    let runtime = runtime(2);
    let runs = Arc::new(AtomicUsize::new(0));
    let own: Arc<OnceLock<Ticker>> = Arc::default();
    let (count, ticker) = (runs.clone(), own.clone());
    let made = Ticker::new(&runtime.queue("itself"), Schedule::once(Duration::MAX), move |ticks| {
        assert_eq!(ticks, 1);
        let ticker = ticker.get().expect("set before the first tick");
        if count.fetch_add(1, Relaxed) < 100 { ticker.set(Schedule::once(MS / 100)) } else { ticker.cancel() }
    });
    own.set(made.clone()).expect("set once");
    made.set(Schedule::once(Duration::ZERO));
    wait_until("the end", || made.is_cancelled());
    made.queue().expect("a serial queue").sync(|| ());
    assert_eq!((runs.load(Relaxed), runtime.stats().timers), (101, 0));
}

#[test]
fn a_panic_of_the_handler_is_counted_and_the_ticks_go_on() {
    let runtime = runtime(1);
    let ticker = Ticker::new(&runtime.queue("sour"), Schedule::every(MS), |_| panic!("each time"));
    wait_until("five panics", || runtime.stats().panics >= 5);
    ticker.cancel();
}

#[test]
fn a_ticker_does_not_keep_a_runtime_from_its_end() {
    let runtime = runtime(2);
    let fast = Schedule::every(Duration::from_nanos(1)).first_after(Duration::ZERO);
    let (_ticker, told) = telling(&runtime.queue("fast"), fast);
    told.recv_timeout(LONG).expect("it ticks");
    let report = runtime.shutdown(LONG);
    assert!(!report.deadline_passed && report.stuck.is_empty(), "{report}");
    assert_eq!(runtime.stats().timers, 0);
}

#[test]
fn by_the_clock_on_the_wall_what_has_passed_comes_at_once_and_the_rest_is_not_early() {
    let runtime = runtime(1);
    let queue = runtime.queue("wall");
    let past = SystemTime::now() - Duration::from_secs(100);
    let (_past, told) = telling(&queue, Schedule::every(Duration::from_secs(10)).first_at(past));
    assert!(told.recv_timeout(LONG).expect("ticks are due").0 >= 11);
    let soon = SystemTime::now() + 5 * MS;
    let (tell, told) = mpsc::channel();
    let _soon = Ticker::new(&queue, Schedule::every(HOUR).first_at(soon), move |ticks| {
        tell.send((ticks, SystemTime::now())).expect("the test listens");
    });
    let (ticks, at) = told.recv_timeout(LONG).expect("it is due soon");
    assert!(ticks == 1 && at >= soon);
}

#[test]
#[should_panic(expected = "interval of zero")]
fn an_interval_of_zero_is_refused() {
    let _ = Schedule::every(Duration::ZERO);
}
