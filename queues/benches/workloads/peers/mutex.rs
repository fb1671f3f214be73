//! Plain locks, of std and of parking_lot: the floor for exclusion on the caller's thread (Q2, Q2c,
//! Q9, Q10).
//!
//! They are not runtimes: nothing is submitted and no other thread runs anything. So their Q9 shows
//! what the transfers themselves cost, and is no rival. Q18 is the problem that a lock and two
//! conditions were invented for: a thread for each producer and each consumer.

use std::collections::VecDeque;
use std::thread;

use parking_lot::MutexGuard;

use super::super::actors::{ACCOUNTS, transfers};
use super::super::blocks::{self, Guarded, ReadWrite, Step, Steps, Twins};
use super::super::measure::{Clock, Sample};
use super::super::savina::{CAPACITY, CONSUMERS, Consumed, PRODUCERS, items_each, produce, verify_items};
use super::super::verify;
use super::super::workloads::Load;
use super::Peer;

/// The same code for both libraries, whose locks differ only in poisoning.
macro_rules! locks {
    ($peer:ident, $name:literal, $locks:path, $guard:expr, $wait:expr) => {
        /// The peer.
        pub(crate) struct $peer;

        const _: () = {
            use $locks::{Condvar, Mutex, RwLock};

            impl Guarded for Mutex<u64> {
                fn add(&self, times: u64) {
                    for _ in 0..times {
                        *$guard(self.lock()) += 1;
                    }
                }

                fn total(&self) -> u64 {
                    *$guard(self.lock())
                }
            }

            struct Shared {
                lock: RwLock<()>,
                twins: Twins,
            }

            impl ReadWrite for Shared {
                fn run(&self, steps: Steps) -> u64 {
                    let mut torn = 0;
                    for step in steps {
                        match step {
                            Step::Read => {
                                let _reading = $guard(self.lock.read());
                                torn += u64::from(!self.twins.equal());
                            }
                            Step::Write => {
                                let _writing = $guard(self.lock.write());
                                self.twins.write();
                            }
                        }
                    }
                    torn
                }

                fn twins(&self) -> &Twins {
                    &self.twins
                }
            }

            #[derive(Default)]
            struct Buffer {
                items: Mutex<VecDeque<u64>>,
                not_full: Condvar,
                not_empty: Condvar,
            }

            impl Buffer {
                fn put(&self, item: u64) {
                    let mut items = $guard(self.items.lock());
                    while items.len() == CAPACITY {
                        items = $wait(&self.not_full, items);
                    }
                    items.push_back(item);
                    drop(items);
                    self.not_empty.notify_one();
                }

                fn take(&self) -> u64 {
                    let mut items = $guard(self.items.lock());
                    loop {
                        if let Some(item) = items.pop_front() {
                            drop(items);
                            self.not_full.notify_one();
                            return item;
                        }
                        items = $wait(&self.not_empty, items);
                    }
                }
            }

            impl Peer for $peer {
                fn name(&self) -> &'static str {
                    $name
                }

                fn q2(&self, load: &Load) -> Option<Sample> {
                    Some(blocks::q2(load, &Mutex::new(0)))
                }

                fn q2c(&self, load: &Load) -> Option<Sample> {
                    Some(blocks::q2c(load, &Mutex::new(0)))
                }

                fn q9(&self, load: &Load) -> Option<Sample> {
                    let count = load.of(1_000_000);
                    let accounts: Vec<_> = (0..ACCOUNTS).map(|_| Mutex::new(1_000_i64)).collect();
                    let clock = Clock::start();
                    for (from, to, amount) in transfers(count) {
                        *$guard(accounts[from].lock()) -= i64::from(amount);
                        *$guard(accounts[to as usize].lock()) += i64::from(amount);
                    }
                    let took = clock.stop();
                    let total: i64 = accounts.iter().map(|account| *$guard(account.lock())).sum();
                    verify::equal("money in the bank", total, ACCOUNTS as i64 * 1_000);
                    Some(took.millions_per_s(count))
                }

                fn q10(&self, load: &Load, pinned: bool) -> Option<Sample> {
                    let shared = Shared { lock: RwLock::new(()), twins: Twins::default() };
                    blocks::q10(load, pinned, &shared)
                }

                fn q18(&self, load: &Load) -> Option<Sample> {
                    const _: () = assert!(PRODUCERS == CONSUMERS, "each consumer takes as many as a producer makes");
                    let (each, buffer) = (items_each(load), Buffer::default());
                    let clock = Clock::start();
                    let consumed = thread::scope(|scope| {
                        let consume = || {
                            let mut consumed = Consumed::default();
                            (0..each).for_each(|_| consumed.take(buffer.take()));
                            consumed
                        };
                        let consumers: Vec<_> = (0..CONSUMERS).map(|_| scope.spawn(consume)).collect();
                        for producer in 0..PRODUCERS {
                            let buffer = &buffer;
                            scope.spawn(move || (0..each).for_each(|item| buffer.put(produce(producer, item))));
                        }
                        let consumed = consumers.into_iter().map(|one| one.join().expect("a consumer panicked"));
                        consumed.collect::<Vec<_>>()
                    });
                    let took = clock.stop();
                    verify_items(load, consumed);
                    Some(took.millions_per_s(u64::from(each) * u64::from(PRODUCERS)))
                }
            }
        };
    };
}

fn unpoisoned<G>(guard: Result<G, std::sync::PoisonError<G>>) -> G {
    guard.unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn waited<'a, T>(condition: &parking_lot::Condvar, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(&mut guard);
    guard
}

locks!(Std, "std", std::sync, unpoisoned, |condition: &Condvar, guard| unpoisoned(condition.wait(guard)));
locks!(ParkingLot, "parking_lot", parking_lot, std::convert::identity, waited);
