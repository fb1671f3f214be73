//! What all connections of a server share, and where it finds each of them.
//!
//! Not for: accepting (`server`) and for anything that happens per message. The list of connections is locked when one begins
//! or ends, and when the server stops.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use singletrack_queues::{Runtime, Source};

use crate::directory::Directory;
use crate::handler::Factory;
use crate::http::{OriginPolicy, Response};
use crate::io::Io;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::outbox::SlowMember;
use crate::route::Router;

/// See the module.
pub(crate) struct Hub {
    pub(crate) runtime: Runtime,
    pub(crate) io: Io,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) router: Router<Factory>,
    pub(crate) page: Response,
    pub(crate) origins: OriginPolicy,
    pub(crate) slow_members: SlowMember,
    draining: AtomicBool,
    ids: AtomicU64,
    /// Its keys are random, so the hash of a counter is random enough to spread pings.
    random: RandomState,
    throws: AtomicU64,
    connections: Mutex<slab::Slab<Option<Source>>>,
    open: AtomicUsize,
    all_gone: Condvar,
}

/// What a [`Hub`] is made of.
pub(crate) struct Parts {
    pub(crate) runtime: Runtime,
    pub(crate) io: Io,
    pub(crate) limits: Limits,
    pub(crate) router: Router<Factory>,
    pub(crate) page: Response,
    pub(crate) origins: OriginPolicy,
    pub(crate) slow_members: SlowMember,
}

impl Hub {
    pub(crate) fn new(parts: Parts) -> Hub {
        let Parts { runtime, io, limits, router, page, origins, slow_members } = parts;
        let limits = Arc::new(limits);
        let metrics = Arc::new(Metrics::new(runtime.workers()));
        Hub {
            directory: Arc::new(Directory::new(&runtime, &limits, &metrics)),
            runtime,
            io,
            limits,
            metrics,
            router,
            page,
            origins,
            slow_members,
            draining: AtomicBool::new(false),
            ids: AtomicU64::new(0),
            random: RandomState::new(),
            throws: AtomicU64::new(0),
            connections: Mutex::default(),
            open: AtomicUsize::new(0),
            all_gone: Condvar::new(),
        }
    }

    /// The server is about to stop.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn next_id(&self) -> u64 {
        // Relaxed: only that numbers differ matters.
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The silence after which a peer is pinged: the interval and a random part, so that pings do not come in bursts.
    pub(crate) fn patience(&self) -> Duration {
        let dice = self.random.hash_one(self.throws.fetch_add(1, Ordering::Relaxed));
        let share = (dice & 0xFFFF) as f64 / 65_536.0;
        self.limits.ping_interval + self.limits.ping_jitter.mul_f64(share)
    }

    /// Connections held.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Keeps a place for a connection.
    pub(super) fn enter(&self) -> usize {
        let place = self.list().insert(None);
        self.open.fetch_add(1, Ordering::AcqRel);
        self.metrics.connections.add(1);
        place
    }

    /// Says how to reach the connection at `place`.
    pub(super) fn seat(&self, place: usize, source: Source) {
        if let Some(seat) = self.list().get_mut(place) {
            *seat = Some(source);
        }
    }

    /// A connection is over.
    pub(super) fn leave(&self, place: usize) {
        let gone = {
            let mut list = self.list();
            let gone = list.try_remove(place);
            self.open.fetch_sub(1, Ordering::AcqRel);
            if list.is_empty() {
                self.all_gone.notify_all();
            }
            gone
        };
        self.metrics.connections.add(-1);
        // After the lock: the source may be the last handle to more than itself.
        drop(gone);
    }

    /// How to reach each connection that there is.
    pub(crate) fn sources(&self) -> Vec<Source> {
        self.list().iter().filter_map(|(_, source)| source.clone()).collect()
    }

    /// Waits until there is no connection. `false` if time ran out.
    pub(crate) fn wait_for_none(&self, timeout: Duration) -> bool {
        let waited = self.all_gone.wait_timeout_while(self.list(), timeout, |list| !list.is_empty());
        waited.map_or_else(|poisoned| poisoned.into_inner().0.is_empty(), |(list, _)| list.is_empty())
    }

    fn list(&self) -> MutexGuard<'_, slab::Slab<Option<Source>>> {
        // Whole between any two statements that change it, so a panic elsewhere does not spoil it.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
