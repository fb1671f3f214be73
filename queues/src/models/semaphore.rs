//! Each signal ends one wait, whichever comes first.

use loom::thread;

use super::{begin, check};
use crate::wait::semaphore::Semaphore;

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
