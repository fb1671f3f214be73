//! Sources and tickers on queues of every kind keep what they promise on a serial queue.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{
    Budget, ConcurrentQueue, Gone, MainQueue, Merge, Qos, Runtime, Schedule, Source, Submit, Ticker, Workloop,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// Calls the check with a destination of each kind, and with what lets its blocks run.
macro_rules! everywhere {
    ($check:ident) => {{
        let runtime = runtime(2);
        $check(&runtime, &runtime.queue("kind"), &|| ());
        $check(&runtime, &ConcurrentQueue::builder("kind").runtime(&runtime).build(), &|| ());
        $check(&runtime, &ConcurrentQueue::builder("kind").target(&runtime.queue("target")).width(1).build(), &|| ());
        $check(&runtime, &Workloop::builder("kind").runtime(&runtime).build(), &|| ());
        let workers = Runtime::builder().workers(2).name("kind").build().unwrap();
        $check(&workers, &workers, &|| ());
        let main = MainQueue::with_runtime("kind", &runtime);
        $check(&runtime, &main.handle(), &|| _ = main.drain(Budget::ALL));
    }};
}

#[track_caller]
fn run_until(run: &dyn Fn(), what: &str, mut condition: impl FnMut() -> bool) {
    wait_until(what, || {
        run();
        condition()
    });
}

#[test]
fn no_signal_is_lost_and_the_handler_is_alone() {
    fn check<D: Submit>(_: &Runtime, on: &D, run: &dyn Fn()) {
        let (sum, inside) = <(Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let (add, alone) = (sum.clone(), inside.clone());
        let source = Source::builder(on).merging(Merge::Add).build(move |value| {
            assert!(!alone.swap(true, Relaxed), "two handlers at once");
            add.fetch_add(value, Relaxed);
            thread::yield_now();
            alone.store(false, Relaxed);
        });
        thread::scope(|scope| {
            for deferred in [false, true] {
                let source = &source;
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        if deferred { source.merge_deferred(1) } else { source.merge(1) }
                    }
                });
            }
        });
        run_until(run, "the whole sum", || sum.load(Relaxed) == 20_000);
    }
    everywhere!(check);
}

#[test]
fn the_handlers_run_in_order_and_the_end_comes_last() {
    struct Falls(mpsc::Sender<String>);
    impl Drop for Falls {
        fn drop(&mut self) {
            self.0.send("dropped".to_owned()).expect("the test listens");
        }
    }
    fn check<D: Submit>(_: &Runtime, on: &D, run: &dyn Fn()) {
        let (tell, told) = mpsc::channel();
        let (registered, cancelled, falls) = (tell.clone(), tell.clone(), Falls(tell.clone()));
        let (running, open) = (Latch::default(), Latch::default());
        let (tell_running, wait) = (running.clone(), open.clone());
        let source = Source::builder(on)
            .on_registered(move || registered.send("registered".to_owned()).expect("the test listens"))
            .on_cancel(move || cancelled.send("cancelled".to_owned()).expect("the test listens"))
            .build(move |bits| {
                let _falls = &falls;
                if bits == 8 {
                    tell_running.open();
                    wait.wait();
                }
                tell.send(format!("event {bits}")).expect("the test listens");
            });
        let mut entries = Vec::new();
        let mut expect = |what: &[&str]| {
            let before = entries.len();
            run_until(run, "the next entries", || {
                entries.extend(told.try_iter());
                entries.len() >= before + what.len()
            });
            assert_eq!(entries[before..], *what);
        };
        assert_eq!((source.label(), source.is_cancelled()), ("kind", false));
        source.suspend();
        source.merge(1);
        source.merge(2);
        expect(&["registered"]);
        source.resume().expect("suspended above");
        expect(&["event 3"]);
        assert!(source.resume().expect_err("resumed already").to_string().contains("kind"));
        // The cancel handler waits for the handler that runs, also on a queue that runs others
        // beside it.
        let cancels = source.clone();
        let canceller = thread::spawn(move || {
            running.wait();
            cancels.cancel();
            cancels.merge(16);
            thread::sleep(MS); // the block under test sleeps: an end that does not wait comes now
            open.open();
        });
        source.merge(8);
        expect(&["event 8", "dropped", "cancelled"]);
        canceller.join().expect("it cancels");
        drop(source);
        run();
        assert!(told.try_recv().is_err(), "once, and nothing behind it");
    }
    everywhere!(check);
}

#[test]
fn the_last_handle_ends_a_source_behind_what_waits() {
    fn check<D: Submit>(_: &Runtime, on: &D, run: &dyn Fn()) {
        let entries: Arc<Mutex<Vec<u64>>> = Arc::default();
        let (event, end) = (entries.clone(), entries.clone());
        let source = Source::builder(on)
            .on_cancel(move || end.lock().expect("no panic under it").push(0))
            .build(move |bits| event.lock().expect("no panic under it").push(bits));
        source.merge(5);
        drop(source);
        run_until(run, "the end", || entries.lock().expect("no panic under it").len() == 2);
        assert_eq!(*entries.lock().expect("no panic under it"), [5, 0]);
    }
    everywhere!(check);
}

#[test]
fn tickers_tick_wait_and_end() {
    fn check<D: Submit>(runtime: &Runtime, on: &D, run: &dyn Fn()) {
        let ticks = Arc::new(AtomicU64::new(0));
        let count = ticks.clone();
        let ticker = Ticker::new(on, Schedule::every(MS), move |ticks| _ = count.fetch_add(ticks, Relaxed));
        assert_eq!(ticker.label(), "kind");
        run_until(run, "three ticks", || ticks.load(Relaxed) >= 3);
        ticker.suspend();
        ticker.set(Schedule::once(Duration::ZERO));
        let before = ticks.load(Relaxed);
        ticker.resume().expect("suspended above");
        run_until(run, "the one tick", || ticks.load(Relaxed) > before);
        ticker.set(Schedule::once(Duration::from_secs(3600)));
        ticker.cancel();
        drop(ticker);
        run_until(run, "the handler to be gone", || Arc::strong_count(&ticks) == 1);
        assert_eq!(runtime.stats().timers, 0);
    }
    everywhere!(check);
}

#[test]
fn a_signal_may_come_later() {
    fn check<D: Submit>(_: &Runtime, on: &D, run: &dyn Fn()) {
        let (tell, told) = mpsc::channel();
        let source = Source::new(on, move |bits| tell.send(bits).expect("the test listens"));
        source.merge_after(MS, 4);
        assert!(source.merge_after(Duration::from_secs(3600), 8).cancel());
        let mut got = None;
        run_until(run, "the signal", || {
            got = got.or_else(|| told.try_recv().ok());
            got.is_some()
        });
        assert_eq!(got, Some(4));
        // It does not keep the source.
        source.merge_after(MS, 16);
        drop(source);
        run_until(run, "the end", || matches!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected)));
    }
    everywhere!(check);
}

#[test]
fn a_panic_is_counted_once_and_the_next_signal_is_handled() {
    let runtime = runtime(2);
    let main = MainQueue::with_runtime("kind", &runtime);
    let before = |loaded: &AtomicU64| loaded.load(Relaxed);
    fn sour<D: Submit>(on: &D, runs: &Arc<AtomicU64>) -> Source {
        let count = runs.clone();
        Source::new(on, move |_| {
            count.fetch_add(1, Relaxed);
            panic!("each time");
        })
    }
    let runs = Arc::new(AtomicU64::new(0));
    let concurrent = ConcurrentQueue::builder("kind").runtime(&runtime).build();
    let workloop = Workloop::builder("kind").runtime(&runtime).build();
    for source in [sour(&concurrent, &runs), sour(&workloop, &runs)] {
        for _ in 0..2 {
            let next = before(&runs) + 1;
            source.merge(1);
            wait_until("the panic", || runtime.stats().panics == next);
        }
    }
    assert_eq!((before(&runs), main.handle().stats().panics), (4, 0));
    let source = sour(&main.handle(), &runs);
    for next in 1..=2 {
        source.merge(1);
        let _more = main.drain(Budget::ALL);
        assert_eq!((main.handle().stats().panics, runtime.stats().panics), (next, 4));
    }
}

#[test]
fn after_the_shutdown_of_its_runtime_a_source_frees_what_it_captured() {
    fn check<D: Submit>(runtime: &Runtime, on: &D) {
        let alive = Arc::new(());
        let make = |token: Arc<()>| Source::builder(on).on_cancel(move || drop(token)).build(|_| unreachable!());
        let [cancelled, dropped, pending] = [(); 3].map(|()| make(alive.clone()));
        let token = alive.clone();
        let ticker = Ticker::new(on, Schedule::every(Duration::from_secs(3600)), move |_| _ = &token);
        runtime.shutdown(LONG);
        assert_eq!(Source::builder(on).gone(), Some(Gone::ShutDown));
        pending.merge(1);
        assert!(!pending.merge_after(MS, 1).cancel(), "it was not taken");
        cancelled.cancel();
        drop((cancelled, dropped, pending));
        drop(ticker);
        assert_eq!(Arc::strong_count(&alive), 1);
        // What is made afterwards is refused, and frees what it captured.
        let (late, token) = (Ticker::new(on, Schedule::every(MS), |_| unreachable!()), alive.clone());
        late.set(Schedule::once(Duration::ZERO));
        Source::new(on, move |_| _ = &token).merge(1);
        drop(late);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
    let made = || (runtime(1), runtime(1));
    let (of_concurrent, of_workloop) = made();
    check(&of_concurrent, &ConcurrentQueue::builder("kind").runtime(&of_concurrent).build());
    check(&of_workloop, &Workloop::builder("kind").runtime(&of_workloop).build());
    let (of_serial, spawns) = made();
    check(&of_serial, &of_serial.queue("kind"));
    check(&spawns, &spawns);
}

#[test]
fn a_main_queue_outlives_the_runtime_that_keeps_its_time_and_only_ticks_end() {
    let runtime = runtime(1);
    let main = MainQueue::with_runtime("main", &runtime);
    let (tell, told) = mpsc::channel();
    let (own, here) = (tell.clone(), thread::current().id());
    let ticker = Ticker::new(&main.handle(), Schedule::every(MS), move |_| _ = own.send("tick"));
    let source = Source::new(&main.handle(), move |_| {
        assert_eq!(thread::current().id(), here);
        tell.send("signal").expect("the test listens");
    });
    wait_until("a tick", || {
        let _more = main.drain(Budget::ALL);
        told.try_recv() == Ok("tick")
    });
    runtime.shutdown(LONG);
    let _more = main.drain(Budget::ALL);
    told.try_iter().for_each(drop);
    thread::scope(|scope| scope.spawn(|| source.merge(1)).join().expect("it merges"));
    thread::sleep(3 * MS); // between two looks: time for a tick that must not come
    let _more = main.drain(Budget::ALL);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["signal"]);
    assert_eq!(Source::builder(&main.handle()).gone(), Some(Gone::ShutDown));
    let handle = main.handle();
    drop(main);
    assert_eq!(Source::builder(&handle).gone(), Some(Gone::MainQueueDropped));
    source.merge(2);
    drop((source, ticker));
    assert!(told.try_iter().next().is_none());
    assert!(told.try_recv().is_err());
}

#[test]
fn a_dropped_main_queue_drops_what_waited_with_its_captures() {
    let main = MainQueue::new("main");
    let alive = Arc::new(());
    let (event, end) = (alive.clone(), alive.clone());
    let source = Source::builder(&main.handle()).on_cancel(move || drop(end)).build(move |_| _ = &event);
    source.merge(1);
    drop(main);
    source.cancel();
    drop(source);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn on_a_workloop_the_handler_has_the_default_class_and_its_place() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("classes").runtime(&runtime).build();
    let (tell, told) = mpsc::channel();
    let own = tell.clone();
    let source = Source::new(&workloop, move |_| own.send(Qos::current()).expect("the test listens"));
    workloop.suspend();
    for qos in [Qos::Background, Qos::Default, Qos::UserInteractive] {
        let tell = tell.clone();
        workloop.submit(qos, move || tell.send(qos).expect("the test listens"));
        source.merge(1);
    }
    workloop.resume().expect("suspended above");
    let order: Vec<_> = (0..4).map(|_| told.recv_timeout(LONG).expect("four runs")).collect();
    assert_eq!(order, [Qos::UserInteractive, Qos::Default, Qos::Default, Qos::Background]);
}

#[test]
fn on_a_concurrent_queue_the_handler_runs_beside_others_and_no_barrier_is_beside_it() {
    let runtime = runtime(2);
    let table = ConcurrentQueue::builder("table").runtime(&runtime).build();
    let (inside, ran) = <(Arc<AtomicBool>, Latch)>::default();
    let (here, tell, own) = (inside.clone(), ran.clone(), table.clone());
    let source = Source::new(&table, move |_| {
        assert!(own.is_current());
        here.store(true, Relaxed);
        thread::yield_now();
        here.store(false, Relaxed);
        tell.open();
    });
    let beside = table.call(move || ran.wait());
    source.merge(1);
    beside.wait().expect("the handler ran beside it");
    for _ in 0..200 {
        source.merge(1);
        let look = inside.clone();
        table.barrier(move || assert!(!look.load(Relaxed), "a handler ran beside a barrier"));
    }
    table.barrier_sync(|| ());
    assert_eq!(runtime.stats().panics, 0);
    // The class of the queue is that of the handler.
    let (slow, (tell, told)) =
        (ConcurrentQueue::builder("slow").runtime(&runtime).qos(Qos::Background), mpsc::channel());
    let source = Source::new(&slow.build(), move |_| tell.send(Qos::current()).expect("the test listens"));
    source.merge(1);
    assert_eq!(told.recv_timeout(LONG), Ok(Qos::Background));
}
