//! A panic in a block ends that block alone.

use crate::{LONG, Latch, by_a_worker, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Isolated, Parker, Runtime, Source};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

#[test]
fn a_panicking_block_is_counted_and_the_queue_goes_on() {
    let runtime = runtime(2);
    let log = Isolated::new(&runtime.queue("sour"), Vec::new());
    for i in 0..100 {
        log.submit(move |log| {
            assert!(i % 10 != 3, "every tenth block panics: this is the subject of a test");
            log.push(i);
        });
    }
    assert_eq!(log.sync(|log| log.len()), 90);
    assert_eq!(runtime.stats().panics, 10);
}

#[test]
fn spawned_blocks_sources_and_concurrent_blocks_are_guarded_too() {
    let runtime = runtime(2);
    runtime.spawn(|| panic!("spawned: this is the subject of a test"));
    let concurrent = ConcurrentQueue::builder("sour").runtime(&runtime).build();
    concurrent.submit(|| panic!("reader: this is the subject of a test"));
    concurrent.barrier(|| panic!("barrier: this is the subject of a test"));
    let source = Source::new(&runtime.queue("sour"), |_| panic!("source: this is the subject of a test"));
    source.merge(1);
    wait_until("four panics", || runtime.stats().panics == 4);
    assert_eq!(concurrent.barrier_sync(|| 1), 1);
    source.merge(1);
    wait_until("one more", || runtime.stats().panics == 5);
}

#[test]
fn a_value_that_panics_when_dropped_does_no_harm() {
    struct Sour;
    impl Drop for Sour {
        fn drop(&mut self) {
            panic!("dropped: this is the subject of a test");
        }
    }
    let runtime = runtime(1);
    let queue = runtime.queue("sour");
    let sour = Sour;
    queue.submit(move || {
        let _sour = &sour;
    });
    assert_eq!(by_a_worker(queue.call(|| 1)), 1);
}

/// Sleeps like a normal parker, and panics on a wake-up once `ripe` is set.
struct Sour {
    token: Mutex<bool>,
    bell: Condvar,
    sleepers: Arc<AtomicUsize>,
    ripe: Arc<AtomicBool>,
}

impl Parker for Sour {
    fn park(&self, timeout: Option<Duration>, awake: &mut dyn FnMut()) {
        self.sleepers.fetch_add(1, SeqCst);
        let token = self.token.lock().expect("no panic under it");
        let wait = timeout.unwrap_or(LONG);
        let (mut token, _) = self.bell.wait_timeout_while(token, wait, |token| !*token).expect("no panic under it");
        *token = false;
        drop(token);
        self.sleepers.fetch_sub(1, SeqCst);
        awake();
    }

    fn poll(&self) {}

    fn unpark(&self) {
        assert!(!self.ripe.load(SeqCst), "a parker panics: this is the subject of a test");
        *self.token.lock().expect("no panic under it") = true;
        self.bell.notify_one();
    }
}

#[cfg(unix)]
#[test]
fn a_parker_that_panics_ends_the_process_and_not_a_stack_that_others_use() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    const CASE: &str = "SINGLETRACK_TEST_SOUR_PARKER";

    let sour = |case: &str| {
        let (sleepers, ripe) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, later) = (sleepers.clone(), ripe.clone());
        let parker = move |_| {
            let (sleepers, ripe) = (count.clone(), later.clone());
            Ok(Arc::new(Sour { token: Mutex::default(), bell: Condvar::new(), sleepers, ripe }) as Arc<dyn Parker>)
        };
        let runtime = Runtime::builder().workers(2).parkers(parker).build().expect("a few threads");
        let (busy, other) = (runtime.queue("busy"), runtime.queue("other"));
        wait_until("both workers to sleep", || sleepers.load(SeqCst) == 2);
        if case == "submit" {
            ripe.store(true, SeqCst);
            return other.submit(|| ());
        }
        // A worker waits, on its stack, for a queue that this thread is in; before that, it gives
        // away what it holds.
        let (latch, own) = (Latch::default(), busy.clone());
        let opens = latch.clone();
        busy.sync(move || {
            runtime.queue("waits").submit(move || {
                other.submit(|| ());
                wait_until("the other worker to sleep", || sleepers.load(SeqCst) == 1);
                ripe.store(true, SeqCst);
                let _went_on = std::panic::catch_unwind(AssertUnwindSafe(|| own.sync(|| ())));
                opens.open();
            });
            latch.wait();
        });
    };
    if let Ok(case) = std::env::var(CASE) {
        return sour(&case);
    }
    let name = "panics::a_parker_that_panics_ends_the_process_and_not_a_stack_that_others_use";
    for case in ["submit", "wait"] {
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        let output = child.args(["--exact", "--nocapture", name]).env(CASE, case).output().expect("run it again");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{case}: {:?} {text}", output.status);
        assert!(text.contains("a parker panics"), "{case}: {text}");
    }
}
