//! A server: what it is made of, how it starts, and how it stops without losing what it accepted.
//!
//! [`Server::builder`] describes one, [`ServerBuilder::build`] listens, [`Server::start`] serves in the background and
//! [`Server::run`] until a signal. Not for: single connections (`conn`) and protocols.
//!
//! Stopping has an order, so that nothing accepted is lost silently: no new connections; no more messages read; everything that was
//! read before has reached every outbox (a barrier on each connection's and each room's queue); close 1001 for all, spread over
//! time; then whoever is still there at the deadline is cut off.

mod accept;

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use singletrack_queues::{Group, Report, Runtime};

use crate::conn::{ABORT, AWAY, Hub, PLACES, Parts, STOP};
use crate::error::Error;
use crate::handler::{Factory, Handler};
use crate::http::{OriginPolicy, Reject, Request, Response};
use crate::io::{Io, signal, socket};
use crate::limits::Limits;
use crate::outbox::SlowMember;
use crate::route::{Router, Target};
use accept::{Acceptor, REFUSALS};

/// Descriptors that are no connections: standard streams, signals, a spare one, refusals, and some for the program around us.
const RESERVE: u64 = 64;
/// Descriptors that each worker's poller needs.
const PER_WORKER: u64 = 4;
/// The fewest connections with which serving makes sense.
const FEWEST: u64 = 16;
/// Time between two closes when a server stops, unless there are so many that they have to be closer.
const CLOSE_SPACING: Duration = Duration::from_micros(500);

/// The chat page at `/`.
const PAGE: &str = include_str!("page/index.html");

/// Describes a server. See [`Server::builder`].
pub struct ServerBuilder {
    listen: Result<SocketAddr, String>,
    workers: Option<usize>,
    limits: Limits,
    slow_members: SlowMember,
    origins: OriginPolicy,
    router: Router<Factory>,
    page: Response,
    bad_path: Option<Error>,
}

impl ServerBuilder {
    /// Where to listen, such as `"127.0.0.1:8080"` or a `SocketAddr`; port 0 picks a free one. Default: `127.0.0.1:8080`.
    #[must_use]
    pub fn listen(mut self, address: impl ToSocketAddrs + fmt::Debug) -> Self {
        let first = address.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        self.listen = first.ok_or_else(|| format!("{address:?}").trim_matches('"').to_owned());
        self
    }

    /// How many workers run the queues. Default: one per core.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Limits on everything that comes from outside.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What happens to peers that do not keep up. Default: they are closed with 1013.
    #[must_use]
    pub fn slow_members(mut self, policy: SlowMember) -> Self {
        self.slow_members = policy;
        self
    }

    /// From which pages browsers may open WebSockets. Default: pages of the same host.
    #[must_use]
    pub fn origins(mut self, origins: OriginPolicy) -> Self {
        self.origins = origins;
        self
    }

    /// What `GET /` answers, instead of the chat page.
    #[must_use]
    pub fn page(mut self, html: &'static str) -> Self {
        self.page = Response::page(html);
        self
    }

    /// Serves WebSockets at `path` (or below it, if it ends with `/*`) with a handler made for each of them.
    #[must_use]
    pub fn handler<H: Handler>(self, path: &str, make: impl Fn(&Request) -> H + Send + Sync + 'static) -> Self {
        self.try_handler(path, move |request| Ok(make(request)))
    }

    /// As [`handler`](Self::handler), where `make` may refuse a handshake with a status and a sentence.
    #[must_use]
    pub fn try_handler<H: Handler>(
        mut self,
        path: &str,
        make: impl Fn(&Request) -> Result<H, Reject> + Send + Sync + 'static,
    ) -> Self {
        let factory: Factory = Arc::new(move |request| Ok(Box::new(make(request)?) as Box<dyn Handler>));
        if let Err(error) = self.router.add(path, Target::Handler(factory)) {
            self.bad_path.get_or_insert(error);
        }
        self
    }

    /// Starts the workers and listens. Connections wait until the server is started.
    ///
    /// # Errors
    /// What cannot be used or had, with the remedy.
    pub fn build(self) -> Result<Server, Error> {
        let address = self.listen.map_err(|given| Error::BadAddress { given })?;
        if let Some(error) = self.bad_path {
            return Err(error);
        }
        self.limits.check()?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.workers.unwrap_or_else(cores).max(1);
        let capacity = capacity(&self.limits, workers)?;
        let listener =
            socket::listen(address, self.limits.send_buffer).map_err(|source| Error::listen(address, source))?;
        let address = listener.local_addr().map_err(|source| Error::listen(address, source))?;
        let io = Io::new(workers).map_err(|source| Error::system("making the pollers", source))?;
        let runtime = Runtime::builder().workers(workers).name("server").parkers(io.parkers()).build();
        let runtime = runtime.map_err(|source| Error::Runtime { source: source.into() })?;
        let hub = Hub::new(Parts {
            runtime,
            io,
            limits: self.limits,
            router: self.router,
            page: self.page,
            origins: self.origins,
            slow_members: self.slow_members,
        });
        Ok(Server { hub, listener, address, capacity })
    }
}

/// How many connections the limit on open files leaves room for, or fewer if that was asked for.
fn capacity(limits: &Limits, workers: usize) -> Result<usize, Error> {
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = limits.connections.unwrap_or(usize::MAX).min(PLACES as usize - REFUSALS);
    let Some(open_files) = open_files else { return Ok(most) };
    let reserve = RESERVE + PER_WORKER * workers as u64;
    if open_files < reserve + FEWEST {
        return Err(Error::FileLimit { limit: open_files, needed: reserve + FEWEST });
    }
    let room = usize::try_from(open_files - reserve).unwrap_or(usize::MAX);
    Ok(most.min(room))
}

/// A server that listens and does not serve yet.
pub struct Server {
    hub: Arc<Hub>,
    listener: std::net::TcpListener,
    address: SocketAddr,
    capacity: usize,
}

impl Server {
    /// Describes a server of rooms: `/`, `/echo`, `/room/<name>`, `/healthz` and `/metrics`, and what you add.
    ///
    /// ```
    /// use singletrack::{Limits, Server};
    /// use std::time::Duration;
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").limits(Limits::default()).build()?.start()?;
    /// println!("listening on http://{}", server.local_addr());
    /// let report = server.shutdown(Duration::from_secs(5));
    /// assert_eq!(report.cut_off, 0);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            listen: Ok(SocketAddr::from(([127, 0, 0, 1], 8080))),
            workers: None,
            limits: Limits::default(),
            slow_members: SlowMember::default(),
            origins: OriginPolicy::default(),
            router: Router::standard(),
            page: Response::page(PAGE),
            bad_path: None,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it can hold at once: what the limit on open files, or [`Limits::connections`], allows.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The runtime that runs its queues, for queues of your own.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.hub.runtime
    }

    /// Serves in the background.
    ///
    /// # Errors
    /// When the system cannot watch the listening socket.
    pub fn start(self) -> Result<RunningServer, Error> {
        let acceptor = Acceptor::start(&self.hub, self.listener, self.capacity);
        let acceptor = acceptor.map_err(|source| Error::system("watching the listening socket", source))?;
        Ok(RunningServer { hub: self.hub, acceptor, address: self.address })
    }

    /// Serves until SIGINT or SIGTERM, then stops within [`Limits::drain`] and says how that went. A second signal exits at once.
    ///
    /// # Errors
    /// As for [`start`](Self::start), and when signals cannot be caught.
    pub fn run(self) -> Result<StopReport, Error> {
        self.run_until_signal(|| {})
    }

    /// As [`run`](Self::run); `ready` is called when signals are caught and connections are served.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn run_until_signal(self, ready: impl FnOnce()) -> Result<StopReport, Error> {
        let (tell, told) = mpsc::channel();
        let queue = self.hub.runtime.queue("signals");
        let signals = signal::on_end(&self.hub.io, &queue, move || {
            let _ = tell.send(());
        });
        let _signals = signals.map_err(|source| Error::system("catching signals", source))?;
        let running = self.start()?;
        ready();
        // An error means that the queue is gone, which is an end, too.
        let _ = told.recv();
        let deadline = running.hub.terms.limits.drain;
        log::info!("stopping: {} connections, {deadline:?} at most", running.hub.open());
        Ok(running.shutdown(deadline))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("listen", &self.listen)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A server that serves. Dropping it cuts all connections off; see [`shutdown`](Self::shutdown).
pub struct RunningServer {
    hub: Arc<Hub>,
    acceptor: Acceptor,
    address: SocketAddr,
}

impl RunningServer {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Connections held now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.hub.open()
    }

    /// The runtime that runs its queues.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.hub.runtime
    }

    /// Stops within `deadline`: see the order in the description of the module. Not to be called from a block of this server.
    pub fn shutdown(self, deadline: Duration) -> StopReport {
        let began = Instant::now();
        let left = |share: f64| deadline.mul_f64(share).saturating_sub(began.elapsed());
        let hub = &self.hub;
        hub.drain();
        self.acceptor.stop(left(0.2));
        let connections = hub.open();

        // Behind this barrier no connection reads messages any more, and what was read is on the rooms' queues ...
        let stopped = Group::new();
        for source in hub.sources() {
            source.merge(STOP);
            stopped.submit(source.queue(), || {});
        }
        let mut orderly = stopped.wait_timeout(left(0.4));
        // ... and behind this one it is in all outboxes.
        let told = Group::new();
        for queue in hub.directory.queues() {
            told.submit(&queue, || {});
        }
        orderly &= told.wait_timeout(left(0.5));

        let sources = hub.sources();
        let spacing = CLOSE_SPACING.min(left(0.75) / u32::try_from(sources.len().max(1)).unwrap_or(u32::MAX));
        let spread = Instant::now();
        for (index, source) in sources.iter().enumerate() {
            source.merge(AWAY);
            let ahead = (spacing * index as u32).saturating_sub(spread.elapsed());
            // Short naps would cost more than they spread.
            if ahead > Duration::from_millis(5) {
                std::thread::sleep(ahead);
            }
        }
        drop(sources);
        let mut cut_off = 0;
        if !hub.wait_for_none(left(1.0)) {
            let late = hub.sources();
            cut_off = late.len();
            for source in late {
                source.merge(ABORT);
            }
            hub.wait_for_none(Duration::from_millis(200));
        }
        let runtime = hub.runtime.shutdown(left(1.0).max(Duration::from_millis(200)));
        StopReport { connections, cut_off, orderly, took: began.elapsed(), runtime }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.acceptor.cancel();
        for source in self.hub.sources() {
            source.merge(ABORT);
        }
    }
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer")
            .field("address", &self.address)
            .field("connections", &self.connections())
            .finish()
    }
}

/// How stopping went.
#[derive(Debug)]
#[non_exhaustive]
pub struct StopReport {
    /// Connections when it began.
    pub connections: usize,
    /// Connections that were not over at the deadline and were cut off.
    pub cut_off: usize,
    /// Whether everything accepted was in the outboxes before anybody was told to leave. If not, a block was stuck.
    pub orderly: bool,
    /// How long it took.
    pub took: Duration,
    /// What the runtime says: blocks dropped, blocks stuck.
    pub runtime: Report,
}

impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StopReport { connections, cut_off, took, .. } = self;
        write!(
            f,
            "stopped in {took:.1?}: {} connections closed, {cut_off} cut off",
            connections.saturating_sub(*cut_off)
        )?;
        if !self.orderly {
            f.write_str(", not all accepted messages could be delivered first")?;
        }
        write!(f, "; {}", self.runtime)
    }
}
