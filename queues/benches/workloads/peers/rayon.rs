//! rayon: no queues, but the reference for fork and join (Q7, Q8, Q8j), parallel loops (Q13) and
//! what blocking blocks do to a pool that does not notice them (Q15u).

use std::ops::Deref;
use std::thread::{self, JoinHandle};

use ::rayon::iter::{IntoParallelIterator, ParallelIterator};
use ::rayon::{ThreadPool, ThreadPoolBuilder};

use super::super::blocks::{self, square, zero};
use super::super::measure::{Clock, Sample};
use super::super::verify;
use super::super::workloads::{Load, power_of_ten, sum_below};
use super::Peer;

/// The peer.
pub(crate) struct Rayon;

/// A pool whose threads are joined when it is dropped; rayon's own pool tells its threads to end
/// and does not wait.
struct Pool {
    pool: Option<ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn start(load: &Load) -> Pool {
        let mut threads = Vec::new();
        let pool = ThreadPoolBuilder::new()
            .num_threads(load.workers)
            .spawn_handler(|worker| {
                threads.push(thread::Builder::new().spawn(|| worker.run())?);
                Ok(())
            })
            .build()
            .expect("rayon's pool could not be started");
        Pool { pool: Some(pool), threads }
    }
}

impl Deref for Pool {
    type Target = ThreadPool;

    fn deref(&self) -> &ThreadPool {
        self.pool.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.pool = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Every node of the tree is a job of its parent's scope.
fn by_scope(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let mut sums = [0; 10];
    ::rayon::scope(|scope| {
        for (child, sum) in sums.iter_mut().enumerate() {
            let leaves = leaves / 10;
            scope.spawn(move |_| *sum = by_scope(first + child as u64 * leaves, leaves));
        }
    });
    sums.iter().sum()
}

/// Halves until there is one leaf left.
fn by_join(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let half = leaves / 2;
    let (left, right) = ::rayon::join(|| by_join(first, half), || by_join(first + half, leaves - half));
    left + right
}

fn tree(load: &Load, sum: fn(u64, u64) -> u64) -> Option<Sample> {
    let leaves = power_of_ten(load.of(1_000_000));
    let pool = Pool::start(load);
    let clock = Clock::start();
    let got = pool.install(|| sum(0, leaves));
    let took = clock.stop();
    verify::equal("sum of the leaves", got, sum_below(leaves));
    Some(Sample::new(took, [took.ms()]))
}

impl Peer for Rayon {
    fn name(&self) -> &'static str {
        "rayon"
    }

    fn q7(&self, load: &Load) -> Option<Sample> {
        let pool = Pool::start(load);
        Some(blocks::q7(load, |count, marks| {
            pool.scope(|scope| {
                for block in 0..count {
                    scope.spawn(move |_| marks.mark(block));
                }
            });
        }))
    }

    fn q7o(&self, load: &Load) -> Option<Sample> {
        let pool = Pool::start(load);
        Some(blocks::q7(load, |count, marks| {
            pool.in_place_scope(|scope| {
                for block in 0..count {
                    scope.spawn(move |_| marks.mark(block));
                }
            });
        }))
    }

    fn q8(&self, load: &Load) -> Option<Sample> {
        tree(load, by_scope)
    }

    fn q8j(&self, load: &Load) -> Option<Sample> {
        tree(load, by_join)
    }

    fn q13(&self, load: &Load) -> Option<Sample> {
        let pool = Pool::start(load);
        Some(blocks::q13(load, |count| {
            let zero = zero();
            pool.install(|| (0..count).into_par_iter().map(|x| square(x, zero)).reduce(|| 0, u64::wrapping_add))
        }))
    }

    fn q15u(&self, load: &Load) -> Option<Sample> {
        blocks::q15(load, || Pool::start(load), |pool, nap| pool.spawn(move || nap.take()), drop)
    }
}
