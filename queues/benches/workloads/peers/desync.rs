//! desync: state with a queue of its own (`Desync<T>`), scheduled on the library's one pool.
//!
//! The pool is global; its threads are set to the number of workers for a measurement and ended
//! after it. Q8q is left out, because a `Desync` whose last handle is dropped by a job of its own
//! waits for itself.

use std::sync::Arc;

use ::desync::Desync;
use ::desync::scheduler::scheduler;

use super::super::actors::{self, Actor, Queues};
use super::super::blocks::{self, Guarded};
use super::super::idle;
use super::super::measure::Sample;
use super::super::round_trip::{self, Asked};
use super::super::savina;
use super::super::tree::NestedQueues;
use super::super::workloads::Load;
use super::{Peer, actor_workloads};

/// The peer.
pub(crate) struct DesyncPeer;

struct Pool;

impl Queues for Pool {
    type Queue<A: Actor> = Arc<Desync<A>>;

    fn start(workers: usize) -> Pool {
        scheduler().set_max_threads(workers);
        Pool
    }

    fn queue<A: Actor>(&self, actor: A) -> Arc<Desync<A>> {
        Arc::new(Desync::new(actor))
    }

    fn send<A: Actor>(queue: &Arc<Desync<A>>, message: A::Message) {
        queue.desync(move |actor| actor.receive(message));
    }

    fn visit<A: Actor>(queue: &Arc<Desync<A>>, visit: impl FnOnce(&mut A) + Send + 'static) {
        queue.desync(visit);
    }

    fn stop(self) {
        scheduler().set_max_threads(0);
        scheduler().despawn_threads_if_overloaded();
    }
}

impl NestedQueues for Pool {
    fn queue_beside<A: Actor, B: Actor>(_: &Arc<Desync<A>>, actor: B) -> Arc<Desync<B>> {
        Arc::new(Desync::new(actor))
    }
}

impl Guarded for Desync<u64> {
    fn add(&self, times: u64) {
        for _ in 0..times {
            self.sync(|count| *count += 1);
        }
    }

    fn total(&self) -> u64 {
        self.sync(|count| *count)
    }
}

impl Asked for Desync<u64> {
    fn add(&self) {
        self.desync(|count| *count += 1);
    }

    fn add_and_get(&self) -> u64 {
        self.sync(|count| {
            *count += 1;
            *count
        })
    }
}

fn with_counter(load: &Load, body: fn(&Load, &Desync<u64>) -> Sample) -> Option<Sample> {
    let pool = Pool::start(load.workers);
    let sample = body(load, &Desync::new(0));
    pool.stop();
    Some(sample)
}

impl Peer for DesyncPeer {
    fn name(&self) -> &'static str {
        "desync"
    }

    actor_workloads!(Pool);

    fn q2(&self, load: &Load) -> Option<Sample> {
        with_counter(load, blocks::q2)
    }

    fn q2c(&self, load: &Load) -> Option<Sample> {
        with_counter(load, blocks::q2c)
    }

    fn q2b(&self, load: &Load) -> Option<Sample> {
        with_counter(load, round_trip::q2b)
    }

    fn q11(&self, load: &Load) -> Option<Sample> {
        idle::q11::<Pool>(load)
    }
}
