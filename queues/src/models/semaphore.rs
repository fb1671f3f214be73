//! Each signal lets one wait end, whichever comes first.

use loom::thread;

use super::{begin, bites, check};
use crate::semaphore::Semaphore;

fn two_wait_for_two_signals() {
    let semaphore = Semaphore::new(0);
    let others: Vec<_> = (0..2)
        .map(|_| {
            let semaphore = semaphore.clone();
            thread::spawn(move || semaphore.wait())
        })
        .collect();
    begin();
    semaphore.signal();
    semaphore.signal();
    for other in others {
        other.join().expect("it does not panic");
    }
    assert!(!semaphore.try_wait(), "both were taken");
}

#[test]
fn waits_against_signals() {
    check(3, two_wait_for_two_signals);
}

#[test]
fn waits_against_signals_bites() {
    bites("semaphore: a signal rings no bell", 3, two_wait_for_two_signals);
    bites("semaphore: a signal is counted beside a line", 3, two_wait_for_two_signals);
}
