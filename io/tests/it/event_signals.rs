//! Sources on signals. Each test has a signal of its own: all of them share the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;

use rustix::process::{Signal, getpid, kill_process};
use singletrack_io::EventSource;
use singletrack_io::event::signals::{SIGKILL, SIGSEGV, SIGURG, SIGUSR1, SIGUSR2, SIGWINCH};
use singletrack_queues::Queue;

use crate::event_descriptors::settle;
use crate::{DEADLINE, until};

/// Sends a signal to this process and waits for nothing.
fn kill(signal: i32) {
    kill_process(getpid(), Signal::from_named_raw(signal).expect("a signal with a name")).unwrap();
}

#[test]
fn a_thousand_signals_are_a_sum_that_all_sources_agree_on() {
    let queue = Queue::new("many signals");
    let listen = |queue: &Queue| {
        let (sum, calls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (add, call) = (sum.clone(), calls.clone());
        let source = EventSource::signal(queue, SIGUSR1, move |count| {
            assert!(count > 0);
            add.fetch_add(count, SeqCst);
            call.fetch_add(1, SeqCst);
        });
        (source.unwrap(), sum, calls)
    };
    let (_quick, sum_quick, calls_quick) = listen(&queue);
    let (slow, sum_slow, calls_slow) = listen(&Queue::new("held"));
    slow.suspend();
    // Raised, not sent: the handler has run when this returns, so the system merges none.
    for _ in 0..1_000 {
        signal_hook::low_level::raise(SIGUSR1).unwrap();
    }
    until("all were reported", || sum_quick.load(SeqCst) == 1_000);
    settle(&queue);
    assert_eq!(sum_slow.load(SeqCst), 0);
    slow.resume().unwrap();
    until("the suspended source got them in one call", || sum_slow.load(SeqCst) == 1_000);
    assert_eq!(calls_slow.load(SeqCst), 1);
    assert!(calls_quick.load(SeqCst) <= 1_000);

    // When four threads send at once, the system merges some signals; both sources count the
    // same remainder.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250).for_each(|_| kill(SIGUSR1)));
        }
    });
    until("both counted the same", || {
        settle(&queue);
        let sums = (sum_quick.load(SeqCst), sum_slow.load(SeqCst));
        sums.0 == sums.1 && (1_001..=2_000).contains(&sums.0)
    });
}

#[test]
fn a_signal_that_would_kill_does_not_and_is_told() {
    let (tell, told) = channel();
    let source = EventSource::signal(&Queue::new("deadly"), SIGUSR2, move |count| tell.send(count).unwrap()).unwrap();
    kill(SIGUSR2);
    assert_eq!(told.recv_timeout(DEADLINE), Ok(1));
    source.cancel();
    assert!(told.recv_timeout(DEADLINE).is_err(), "the handler is gone");
    // No source listens, and the process lives on.
    kill(SIGUSR2);
    settle(&Queue::new("alive"));
}

#[test]
fn a_source_that_ended_hears_nothing_and_the_others_go_on() {
    let queue = Queue::new("two");
    let (tell, told) = channel();
    let ended = EventSource::signal(&queue, SIGWINCH, |_| panic!("it has ended")).unwrap();
    let _other = EventSource::signal(&queue, SIGWINCH, move |count| tell.send(count).unwrap()).unwrap();
    ended.cancel();
    queue.sync(|| ());
    kill(SIGWINCH);
    assert_eq!(told.recv_timeout(DEADLINE), Ok(1));
}

#[test]
fn what_is_no_signal_or_cannot_be_caught_is_an_error() {
    let queue = Queue::new("strict");
    for number in [0, -1, 4_000, SIGKILL, SIGSEGV] {
        let error = EventSource::signal(&queue, number, |_| ()).expect_err("refused").to_string();
        assert!(error.contains("strict") && error.contains(&format!("signal {number}")), "{error}");
    }
    assert!(EventSource::signal(&queue, SIGURG, |_| ()).is_ok());
}
