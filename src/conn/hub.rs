//! What all connections of a server share, and where it finds each of them.
//!
//! Not for: accepting (`server`) and for anything that happens per message. The list of connections is locked when one begins
//! or ends, when it comes to its deadline, and when the server stops. One timer rings for all connections, at the earliest
//! of their deadlines; without connections there is none.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use singletrack_queues::{Queue, Runtime, Source, Timer};

use super::TICK;
use super::deadlines::{Deadlines, Moment};

use crate::directory::Directory;
use crate::handler::Factory;
use crate::http::{OriginPolicy, Response};
use crate::io::{self, Io};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::outbox::SlowMember;
use crate::room::Terms;
use crate::route::Router;

/// See the module.
pub(crate) struct Hub {
    pub(crate) runtime: Runtime,
    pub(crate) io: Io,
    pub(crate) terms: Arc<Terms>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) router: Router<Factory>,
    pub(crate) page: Response,
    pub(crate) origins: OriginPolicy,
    draining: AtomicBool,
    ids: AtomicU64,
    /// Its keys are random, so the hash of a counter is random enough to spread pings.
    random: RandomState,
    throws: AtomicU64,
    /// What moments count from.
    start: Instant,
    alarm: Mutex<Alarm>,
    connections: Mutex<slab::Slab<Option<Source>>>,
    open: AtomicUsize,
    all_gone: Condvar,
}

/// The deadlines of all connections, and the timer that rings at the earliest.
struct Alarm {
    own: Weak<Hub>,
    queue: Queue,
    deadlines: Deadlines,
    timer: Option<(Moment, Timer)>,
}

impl Alarm {
    /// Sees to it that the timer rings no later than the earliest deadline; one that rings in vain is left alone.
    fn set(&mut self, now: Moment) {
        let Some(next) = self.deadlines.next() else {
            if let Some((_, vain)) = self.timer.take() {
                vain.cancel();
            }
            return;
        };
        if self.timer.as_ref().is_some_and(|(at, _)| *at <= next) {
            return;
        }
        let own = self.own.clone();
        let ring = move || own.upgrade().into_iter().for_each(|hub| hub.ring());
        let timer = self.queue.submit_after(next.since(now), ring);
        if let Some((_, later)) = self.timer.replace((next, timer)) {
            later.cancel();
        }
    }
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
    pub(crate) fn new(parts: Parts) -> Arc<Hub> {
        let Parts { runtime, io, limits, router, page, origins, slow_members } = parts;
        let metrics = Metrics::new(runtime.workers());
        let terms = Arc::new(Terms { limits, metrics, slow_members });
        let queue = runtime.queue("server.deadlines");
        Arc::new_cyclic(|own| Hub {
            directory: Arc::new(Directory::new(&runtime, &terms)),
            runtime,
            io,
            terms,
            router,
            page,
            origins,
            draining: AtomicBool::new(false),
            ids: AtomicU64::new(0),
            random: RandomState::new(),
            throws: AtomicU64::new(0),
            start: Instant::now(),
            alarm: Mutex::new(Alarm { own: own.clone(), queue, deadlines: Deadlines::default(), timer: None }),
            connections: Mutex::default(),
            open: AtomicUsize::new(0),
            all_gone: Condvar::new(),
        })
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

    /// A share of the jitter, so that pings do not come in bursts.
    pub(super) fn throw(&self) -> u16 {
        self.random.hash_one(self.throws.fetch_add(1, Ordering::Relaxed)) as u16
    }

    /// The silence after which a peer is pinged: the interval, and that share of the jitter.
    pub(super) fn patience(&self, share: u16) -> Duration {
        let limits = &self.terms.limits;
        limits.ping_interval + (limits.ping_jitter / 65_536).saturating_mul(share.into())
    }

    pub(super) fn now(&self) -> Moment {
        Moment::of(Instant::now(), self.start)
    }

    /// The connection at `place` wants a turn at `at`, and no more at `former`.
    pub(super) fn expect(&self, place: u32, former: Option<Moment>, at: Moment) {
        let now = self.now();
        let mut alarm = self.alarm();
        if let Some(former) = former {
            alarm.deadlines.remove(former, place);
        }
        alarm.deadlines.add(at, place);
        alarm.set(now);
    }

    /// The connection at `place` wants no turn at `former`.
    fn forget(&self, place: u32, former: Moment) {
        let now = self.now();
        let mut alarm = self.alarm();
        alarm.deadlines.remove(former, place);
        alarm.set(now);
    }

    /// Tells everybody whose deadline has come.
    fn ring(&self) {
        let now = self.now();
        let mut due = Vec::new();
        {
            let mut alarm = self.alarm();
            alarm.timer = None;
            due.extend(std::iter::from_fn(|| alarm.deadlines.pop_due(now)));
            alarm.set(now);
        }
        // Not under the lock of the alarm. Whoever has left meanwhile has nobody at its place, or somebody who looks in vain.
        for place in due {
            let source = self.list().get(place as usize).cloned().flatten();
            source.into_iter().for_each(|source| source.merge_later(TICK));
        }
    }

    fn alarm(&self) -> MutexGuard<'_, Alarm> {
        // Whole between any two statements that change it, so a panic elsewhere does not spoil it.
        self.alarm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections held.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Keeps a place for a connection.
    pub(super) fn enter(&self) -> u32 {
        let place = {
            let mut list = self.list();
            io::make_room(&mut list);
            list.insert(None) as u32
        };
        self.open.fetch_add(1, Ordering::AcqRel);
        self.terms.metrics.connections.add(1);
        place
    }

    /// Says how to reach the connection at `place`.
    pub(super) fn seat(&self, place: u32, source: Source) {
        if let Some(seat) = self.list().get_mut(place as usize) {
            *seat = Some(source);
        }
    }

    /// A connection is over, and wants no turn at `deadline`.
    pub(super) fn leave(&self, place: u32, deadline: Option<Moment>) {
        if let Some(deadline) = deadline {
            self.forget(place, deadline);
        }
        let gone = {
            let mut list = self.list();
            let gone = list.try_remove(place as usize);
            self.open.fetch_sub(1, Ordering::AcqRel);
            if list.is_empty() {
                self.all_gone.notify_all();
            }
            gone
        };
        self.terms.metrics.connections.add(-1);
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
