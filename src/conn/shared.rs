//! The state that all connections of a server share, including the list of the connections.
//!
//! Not for: accepting (`server`) and for anything that happens per message. The list of connections
//! is locked when a connection begins or ends, when its deadline comes, and when the server stops.
//! One timer serves all connections and fires at the earliest of their deadlines. Without
//! connections there is no timer.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use singletrack_io::Io;
use singletrack_queues::{Queue, Runtime, Source, Timer, now};
use singletrack_web::Limits;
use singletrack_web::SlowMember;
use singletrack_web::http::{OriginPolicy, Response};

use super::TICK;
use super::deadlines::{Deadlines, Moment};

use crate::directory::Directory;
use crate::handler::Factory;
use crate::metrics::Metrics;
use crate::room::Policy;
use crate::route::Router;

/// See the module.
pub(crate) struct ServerState {
    pub(crate) runtime: Runtime,
    pub(crate) io: Io,
    pub(crate) policy: Arc<Policy>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) router: Router<Factory>,
    pub(crate) page: Response,
    pub(crate) origins: OriginPolicy,
    draining: AtomicBool,
    ids: AtomicU64,
    /// Its keys are random, so the hash of a counter is random enough to spread pings.
    random: RandomState,
    jitters: AtomicU64,
    /// The origin of all moments.
    start: Instant,
    alarm: Mutex<Alarm>,
    connections: Mutex<slab::Slab<Option<Source>>>,
    open: AtomicUsize,
    all_gone: Condvar,
}

/// The deadlines of all connections, and the timer that fires at the earliest.
struct Alarm {
    own: Weak<ServerState>,
    queue: Queue,
    deadlines: Deadlines,
    timer: Option<(Moment, Timer)>,
}

impl Alarm {
    /// Ensures that the timer fires no later than the earliest deadline. A timer that would fire
    /// too early is left alone.
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
        let ring = move || own.upgrade().into_iter().for_each(|server| server.ring());
        let timer = self.queue.submit_after(next.since(now), ring);
        if let Some((_, later)) = self.timer.replace((next, timer)) {
            later.cancel();
        }
    }
}

/// The parts of a [`ServerState`].
pub(crate) struct Parts {
    pub(crate) runtime: Runtime,
    pub(crate) io: Io,
    pub(crate) limits: Limits,
    pub(crate) router: Router<Factory>,
    pub(crate) page: Response,
    pub(crate) origins: OriginPolicy,
    pub(crate) slow_members: SlowMember,
}

impl ServerState {
    pub(crate) fn new(parts: Parts) -> Arc<ServerState> {
        let Parts { runtime, io, limits, router, page, origins, slow_members } = parts;
        let metrics = Metrics::new(runtime.workers());
        let policy = Arc::new(Policy { limits, metrics, slow_members });
        let queue = runtime.queue("server.deadlines");
        Arc::new_cyclic(|own| ServerState {
            directory: Arc::new(Directory::new(&runtime, &policy)),
            runtime,
            io,
            policy,
            router,
            page,
            origins,
            draining: AtomicBool::new(false),
            ids: AtomicU64::new(0),
            random: RandomState::new(),
            jitters: AtomicU64::new(0),
            start: now(),
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
        // Relaxed: the numbers only have to differ.
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A share of the jitter, so that pings do not come in bursts.
    pub(super) fn jitter(&self) -> u16 {
        self.random.hash_one(self.jitters.fetch_add(1, Ordering::Relaxed)) as u16
    }

    /// The silence after which a peer is pinged: the interval, and that share of the jitter.
    pub(super) fn ping_delay(&self, share: u16) -> Duration {
        let limits = &self.policy.limits;
        limits.ping_interval + (limits.ping_jitter / 65_536).saturating_mul(share.into())
    }

    pub(super) fn now(&self) -> Moment {
        Moment::of(now(), self.start)
    }

    /// The connection at `place` wants a turn at `at`, and no longer at `former`.
    pub(super) fn expect(&self, place: u32, former: Option<Moment>, at: Moment) {
        let now = self.now();
        let mut alarm = self.alarm();
        if let Some(former) = former {
            alarm.deadlines.remove(former, place);
        }
        alarm.deadlines.add(at, place);
        alarm.set(now);
    }

    /// The connection at `place` no longer wants a turn at `former`.
    fn forget(&self, place: u32, former: Moment) {
        let now = self.now();
        let mut alarm = self.alarm();
        alarm.deadlines.remove(former, place);
        alarm.set(now);
    }

    /// Signals every connection whose deadline has come.
    fn ring(&self) {
        let now = self.now();
        let mut due = Vec::new();
        {
            let mut alarm = self.alarm();
            alarm.timer = None;
            due.extend(std::iter::from_fn(|| alarm.deadlines.pop_due(now)));
            alarm.set(now);
        }
        // Not under the alarm's lock. A connection may leave meanwhile. Its place is then empty, or
        // its new owner gets a spurious turn, which is harmless.
        for place in due {
            let source = self.list().get(place as usize).cloned().flatten();
            source.into_iter().for_each(|source| source.merge_deferred(TICK));
        }
    }

    fn alarm(&self) -> MutexGuard<'_, Alarm> {
        // Whole between any two statements that change it, so a panic elsewhere does not spoil it.
        self.alarm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of connections held.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Reserves a place for a connection.
    pub(super) fn enter(&self) -> u32 {
        let place = {
            let mut list = self.list();
            make_room(&mut list);
            list.insert(None) as u32
        };
        self.open.fetch_add(1, Ordering::AcqRel);
        self.policy.metrics.connections.add(1);
        place
    }

    /// Stores the source of the connection at `place`.
    pub(super) fn keep_source(&self, place: u32, source: Source) {
        if let Some(kept) = self.list().get_mut(place as usize) {
            *kept = Some(source);
        }
    }

    /// A connection is over, and no longer wants a turn at `deadline`.
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
        self.policy.metrics.connections.add(-1);
        // After the lock: the source may be the last handle to more than itself.
        drop(gone);
    }

    /// The sources of all connections.
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

/// Makes room for one more. The list grows by an eighth, where a vector would double: half of a
/// list with an entry for each connection would often be empty.
fn make_room<T>(list: &mut slab::Slab<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 8);
    }
}
