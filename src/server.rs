//! A server: its parts, how it starts, and how it stops without losing what it accepted.
//!
//! [`Server::builder`] describes one, [`ServerBuilder::build`] listens, [`Server::start`] serves in
//! the background and [`Server::run`] until a signal. Not for: single connections (`conn`) and
//! protocols.
//!
//! A stop has an order, so that nothing accepted is lost silently. First, no new connections are
//! accepted. Then no more messages are read. A barrier on the queue of each connection and each
//! room ensures that everything read before is in every outbox. Then all get close 1001, spread
//! over time. Connections that remain at the deadline are cut off.

mod accept;

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use singletrack_queues::{Group, Report, Runtime, now};

use crate::conn::{ABORT, AWAY, PLACES, Parts, STOP, ServerState};
use crate::error::Error;
use crate::handler::{Factory, Handler};
use crate::route::{Router, Target};
use accept::{Acceptor, REFUSALS};
use singletrack_io::{Io, signal, socket};
use singletrack_web::Limits;
use singletrack_web::SlowMember;
use singletrack_web::http::{OriginPolicy, Reject, Request, Response};

/// Descriptors that are no connections: standard streams, signals, a spare one, refusals, and some
/// for the program around us.
const RESERVE: u64 = 64;
/// Descriptors that each worker's poller needs.
const PER_WORKER: u64 = 4;
/// The fewest connections with which serving makes sense.
const FEWEST: u64 = 16;
/// The time between two closes when a server stops, unless there are so many that they have to be
/// closer.
const CLOSE_SPACING: Duration = Duration::from_micros(500);

/// The chat page at `/`.
const PAGE: &str = include_str!("page/index.html");

/// Describes a server. See [`Server::builder`].
///
/// ```
/// use singletrack::{Echo, OriginPolicy, Server, SlowMember};
///
/// let server = Server::builder()
///     .listen("127.0.0.1:0")
///     .workers(2)
///     .origins(OriginPolicy::parse("https://chat.example.org"))
///     .slow_members(SlowMember::DropAndTell)
///     .handler("/mirror", |_| Echo)
///     .build()?;
/// assert_ne!(server.local_addr().port(), 0);
/// # Ok::<(), singletrack::Error>(())
/// ```
pub struct ServerBuilder {
    listen: Result<SocketAddr, String>,
    workers: Option<usize>,
    runtime: Option<Runtime>,
    limits: Limits,
    slow_members: SlowMember,
    origins: OriginPolicy,
    router: Router<Factory>,
    page: Response,
    bad_path: Option<Error>,
}

impl ServerBuilder {
    /// Where to listen, such as `"127.0.0.1:8080"` or a `SocketAddr`; port 0 picks a free one.
    /// Default: `127.0.0.1:8080`.
    ///
    /// ```
    /// use singletrack::Server;
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").build()?;
    /// assert!(server.local_addr().ip().is_loopback());
    /// assert!(Server::builder().listen("nowhere").build().is_err());
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn listen(mut self, address: impl ToSocketAddrs + fmt::Debug) -> Self {
        let first = address.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        self.listen = first.ok_or_else(|| format!("{address:?}").trim_matches('"').to_owned());
        self
    }

    /// How many workers run the queues. Default: one per core.
    ///
    /// ```
    /// use singletrack::Server;
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").workers(3).build()?;
    /// assert_eq!(server.runtime().workers(), 3);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Runs the queues of the server on `runtime`, so that handlers and the state that they share
    /// with the rest of the program are on the same workers. It must wait in pollers. It stays the
    /// program's: [`RunningServer::shutdown`] does not shut it down. [`workers`](Self::workers) has
    /// no effect then.
    ///
    /// ```
    /// use singletrack::io::Io;
    /// use singletrack::{Conn, Handler, Isolated, Message, Runtime, Server};
    /// use std::time::Duration;
    ///
    /// struct Counts(Isolated<u64>);
    ///
    /// impl Handler for Counts {
    ///     fn message(&mut self, _: &Conn, _: Message) {
    ///         self.0.submit(|messages| *messages += 1);
    ///     }
    /// }
    ///
    /// let io = Io::new(2)?;
    /// let runtime = Runtime::builder().workers(2).parkers(io.parkers()).build()?;
    /// let messages = Isolated::new(&runtime.queue("messages"), 0);
    /// let counted = messages.clone();
    /// let server = Server::builder()
    ///     .listen("127.0.0.1:0")
    ///     .runtime(&runtime)
    ///     .handler("/count", move |_| Counts(counted.clone()))
    ///     .build()?
    ///     .start()?;
    /// server.shutdown(Duration::from_secs(5));
    /// assert_eq!(messages.sync(|messages| *messages), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Takes the built-in paths away: `/`, `/echo`, `/room/<name>`, `/healthz` and `/metrics`.
    /// Handlers that were added stay, and a [page](Self::page) given later is served.
    ///
    /// ```
    /// use singletrack::{Echo, Server};
    ///
    /// let server = Server::builder().bare().listen("127.0.0.1:0").handler("/mirror", |_| Echo).build()?;
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.router.remove_standard();
        self
    }

    /// Limits on everything that comes from outside.
    ///
    /// ```
    /// use singletrack::{Limits, Server};
    ///
    /// let mut limits = Limits::default();
    /// limits.message_bytes = 64 * 1024;
    /// limits.connections = Some(100);
    /// let server = Server::builder().listen("127.0.0.1:0").limits(limits).build()?;
    /// assert!(server.capacity() <= 100);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The policy for peers that do not keep up. Default: they are closed with 1013.
    ///
    /// ```
    /// use singletrack::{Server, SlowMember};
    ///
    /// // A member that does not keep up misses messages, and gets their number: {"missed":12}.
    /// let server = Server::builder().listen("127.0.0.1:0").slow_members(SlowMember::DropAndTell).build()?.start()?;
    /// # drop(server);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn slow_members(mut self, policy: SlowMember) -> Self {
        self.slow_members = policy;
        self
    }

    /// The pages from which browsers may open WebSockets. Default: pages of the same host.
    ///
    /// ```
    /// use singletrack::{OriginPolicy, Server};
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    ///
    /// let origins = OriginPolicy::parse("https://chat.example.org");
    /// let server = Server::builder().listen("127.0.0.1:0").origins(origins).build()?.start()?;
    /// let mut page = TcpStream::connect(server.local_addr())?;
    /// page.write_all(
    ///     b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    ///       Origin: https://evil.example\r\n\
    ///       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    /// )?;
    /// let mut answer = String::new();
    /// page.read_to_string(&mut answer)?;
    /// assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn origins(mut self, origins: OriginPolicy) -> Self {
        self.origins = origins;
        self
    }

    /// The answer to `GET /`, instead of the chat page.
    ///
    /// ```
    /// use singletrack::Server;
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    ///
    /// let server = Server::builder()
    ///     .listen("127.0.0.1:0")
    ///     .page("<!doctype html><title>hello</title>")
    ///     .build()?
    ///     .start()?;
    /// let mut browser = TcpStream::connect(server.local_addr())?;
    /// browser.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    /// let mut answer = String::new();
    /// browser.read_to_string(&mut answer)?;
    /// assert!(answer.ends_with("<title>hello</title>"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn page(mut self, html: &'static str) -> Self {
        self.page = Response::page(html);
        if let Err(error) = self.router.add("/", Target::Page) {
            self.bad_path.get_or_insert(error);
        }
        self
    }

    /// Serves WebSockets at `path` (or below it, if it ends with `/*`), with a handler made for
    /// each of them.
    ///
    /// ```
    /// use singletrack::{Conn, Handler, Message, Request, Server};
    /// # use singletrack_test_client::Client;
    ///
    /// struct Greeter(String);
    ///
    /// impl Handler for Greeter {
    ///     fn open(&mut self, conn: &Conn, _: &Request) {
    ///         conn.send_text(&format!("hello, {}", self.0));
    ///     }
    ///     fn message(&mut self, _: &Conn, _: Message) {}
    /// }
    ///
    /// let server = Server::builder()
    ///     .listen("127.0.0.1:0")
    ///     .handler("/greet/*", |request| Greeter(request.path().trim_start_matches("/greet/").to_owned()))
    ///     .build()?
    ///     .start()?;
    /// let mut ada = Client::open(server.local_addr(), "/greet/ada"); // any WebSocket client
    /// assert_eq!(ada.text(), "hello, ada");
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn handler<H: Handler>(self, path: &str, make: impl Fn(&Request) -> H + Send + Sync + 'static) -> Self {
        self.try_handler(path, move |request| Ok(make(request)))
    }

    /// As [`handler`](Self::handler), where `make` may refuse a handshake with a status and a
    /// sentence.
    ///
    /// ```
    /// use singletrack::{Echo, Reject, Server};
    /// # use singletrack_test_client::Client;
    ///
    /// let server = Server::builder()
    ///     .listen("127.0.0.1:0")
    ///     .try_handler("/secret", |request| match request.query() {
    ///         Some("key=42") => Ok(Echo),
    ///         _ => Err(Reject::new(401, "give the key")),
    ///     })
    ///     .build()?
    ///     .start()?;
    /// // Any WebSocket client:
    /// assert_eq!(Client::ask(server.local_addr(), "/secret").0.status, 401);
    /// assert_eq!(Client::ask(server.local_addr(), "/secret?key=42").0.status, 101);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
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
    /// ```
    /// use singletrack::{Error, Server};
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").build()?;
    /// // The address is taken from now on, though nothing is served yet.
    /// let second = Server::builder().listen(server.local_addr()).build();
    /// assert!(matches!(second, Err(Error::AddressInUse { .. })));
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    ///
    /// # Errors
    /// A value that cannot be used or a resource that is not available, with the remedy.
    pub fn build(self) -> Result<Server, Error> {
        let address = self.listen.map_err(|given| Error::BadAddress { given })?;
        if let Some(error) = self.bad_path {
            return Err(error);
        }
        self.limits.check()?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let given = match self.runtime {
            Some(runtime) => {
                let io = Io::of_runtime(&runtime);
                let io = io.ok_or_else(|| Error::NoPollers { name: runtime.name().to_owned() })?;
                Some((runtime, io))
            }
            None => None,
        };
        let workers = match &given {
            Some((runtime, _)) => runtime.workers(),
            None => self.workers.unwrap_or_else(cores).max(1),
        };
        let capacity = capacity(&self.limits, workers)?;
        let listener =
            socket::listen(address, self.limits.send_buffer).map_err(|source| Error::listen(address, source))?;
        let address = socket::local_address(&listener).map_err(|source| Error::listen(address, source))?;
        let owns_runtime = given.is_none();
        let (runtime, io) = match given {
            Some(given) => given,
            None => own_runtime(workers)?,
        };
        let server = ServerState::new(Parts {
            runtime,
            io,
            limits: self.limits,
            router: self.router,
            page: self.page,
            origins: self.origins,
            slow_members: self.slow_members,
        });
        Ok(Server { server, listener, address, capacity, owns_runtime })
    }
}

/// A runtime for this server alone.
fn own_runtime(workers: usize) -> Result<(Runtime, Io), Error> {
    let io = Io::new(workers).map_err(|source| Error::system("making the pollers", source))?;
    let runtime = Runtime::builder().workers(workers).name("server").parkers(io.parkers()).build();
    Ok((runtime.map_err(|source| Error::Runtime { source: source.into() })?, io))
}

/// The number of connections that the limit on open files leaves room for, or fewer if that was
/// asked for.
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
///
/// ```
/// use singletrack::Server;
///
/// let server: Server = Server::builder().listen("127.0.0.1:0").build()?;
/// let address = server.local_addr(); // known before anything is served
/// let running = server.start()?;
/// assert_eq!(running.local_addr(), address);
/// # Ok::<(), singletrack::Error>(())
/// ```
pub struct Server {
    server: Arc<ServerState>,
    listener: OwnedFd,
    address: SocketAddr,
    capacity: usize,
    /// It ends with the server.
    owns_runtime: bool,
}

impl Server {
    /// Describes a server of rooms: `/`, `/echo`, `/room/<name>`, `/healthz` and `/metrics`, and
    /// what you add.
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
            runtime: None,
            limits: Limits::default(),
            slow_members: SlowMember::default(),
            origins: OriginPolicy::default(),
            router: Router::standard(),
            page: Response::page(PAGE),
            bad_path: None,
        }
    }

    /// The address that it listens on.
    ///
    /// ```
    /// use singletrack::Server;
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").build()?;
    /// println!("listening on http://{}", server.local_addr());
    /// assert_ne!(server.local_addr().port(), 0, "the system chose one");
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it can hold at once: as many as the limit on open files and
    /// [`Limits::connections`] allow.
    ///
    /// ```
    /// use singletrack::{Limits, Server};
    ///
    /// let mut limits = Limits::default();
    /// limits.connections = Some(10);
    /// let server = Server::builder().listen("127.0.0.1:0").limits(limits).build()?;
    /// assert_eq!(server.capacity(), 10);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The runtime that runs its queues, for queues of your own.
    ///
    /// ```
    /// use singletrack::{Isolated, Server};
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").build()?;
    /// // State of the program, on the workers of the server.
    /// let scores = Isolated::new(&server.runtime().queue("scores"), vec![3, 1, 2]);
    /// scores.submit(|scores| scores.sort());
    /// assert_eq!(scores.sync(|scores| scores.clone()), [1, 2, 3]);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.server.runtime
    }

    /// Serves in the background.
    ///
    /// ```
    /// use singletrack::Server;
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").build()?.start()?;
    /// let mut probe = TcpStream::connect(server.local_addr())?;
    /// probe.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    /// let mut answer = String::new();
    /// probe.read_to_string(&mut answer)?;
    /// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the system cannot watch the listening socket.
    pub fn start(self) -> Result<RunningServer, Error> {
        let acceptor = Acceptor::start(&self.server, self.listener, self.capacity);
        let acceptor = acceptor.map_err(|source| Error::system("watching the listening socket", source))?;
        Ok(RunningServer { server: self.server, acceptor, address: self.address, owns_runtime: self.owns_runtime })
    }

    /// Serves until SIGINT or SIGTERM, then stops within [`Limits::drain`] and reports how that
    /// went. A second signal exits at once.
    ///
    /// ```no_run
    /// use singletrack::Server;
    ///
    /// fn main() -> Result<(), singletrack::Error> {
    ///     let server = Server::builder().listen("0.0.0.0:8080").build()?;
    ///     println!("listening on http://{}", server.local_addr());
    ///     println!("{}", server.run()?);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As for [`start`](Self::start), and when signals cannot be caught.
    pub fn run(self) -> Result<StopReport, Error> {
        self.run_until_signal(|| {})
    }

    /// As [`run`](Self::run). `ready` is called once signals are caught and connections are served.
    ///
    /// ```
    /// use singletrack::Server;
    /// use std::process::{self, Command};
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").build()?;
    /// let report = server.run_until_signal(|| {
    ///     // A process manager would be told here; this example asks itself to end.
    ///     Command::new("sh").arg("-c").arg(format!("kill -TERM {}", process::id())).status().unwrap();
    /// })?;
    /// assert!(report.orderly);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn run_until_signal(self, ready: impl FnOnce()) -> Result<StopReport, Error> {
        let (tell, told) = mpsc::channel();
        let queue = self.server.runtime.queue("signals");
        let signals = signal::on_end(&self.server.io, &queue, move || {
            let _ = tell.send(());
        });
        let _signals = signals.map_err(|source| Error::system("catching signals", source))?;
        let running = self.start()?;
        ready();
        // An error means that the queue is gone, which is an end, too.
        let _ = told.recv();
        let deadline = running.server.policy.limits.drain;
        log::info!("stopping: {} connections, {deadline:?} at most", running.server.open());
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
///
/// ```
/// use singletrack::{RunningServer, Server};
/// use std::time::Duration;
///
/// fn start() -> Result<RunningServer, singletrack::Error> {
///     Server::builder().listen("127.0.0.1:0").build()?.start()
/// }
/// let server = start()?;
/// println!("http://{} serves {} connections", server.local_addr(), server.connections());
/// server.shutdown(Duration::from_secs(5));
/// # Ok::<(), singletrack::Error>(())
/// ```
pub struct RunningServer {
    server: Arc<ServerState>,
    acceptor: Acceptor,
    address: SocketAddr,
    owns_runtime: bool,
}

impl RunningServer {
    /// The address that it listens on.
    ///
    /// ```
    /// use singletrack::Server;
    /// use std::net::TcpStream;
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").build()?.start()?;
    /// assert!(TcpStream::connect(server.local_addr()).is_ok());
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The number of connections held now.
    ///
    /// ```
    /// use singletrack::Server;
    /// # use singletrack_test_client::Client;
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").build()?.start()?;
    /// assert_eq!(server.connections(), 0);
    /// let ada = Client::open(server.local_addr(), "/echo"); // any WebSocket client
    /// assert_eq!(server.connections(), 1);
    /// # drop(ada);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn connections(&self) -> usize {
        self.server.open()
    }

    /// The runtime that runs its queues.
    ///
    /// ```
    /// use singletrack::Server;
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").workers(2).build()?.start()?;
    /// let stats = server.runtime().stats();
    /// assert_eq!((stats.workers, stats.panics), (2, 0));
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.server.runtime
    }

    /// Stops within `deadline`, in the order that the description of the module gives. Do not call
    /// it from a block of this server.
    ///
    /// ```
    /// use singletrack::Server;
    /// use std::{thread, time::Duration};
    /// # use singletrack_test_client::Client;
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").build()?.start()?;
    /// let mut ada = Client::open(server.local_addr(), "/room/lobby"); // any WebSocket client
    /// let stop = thread::spawn(move || server.shutdown(Duration::from_secs(10)));
    /// assert_eq!(ada.closed(), 1001, "the server goes away");
    /// # drop(ada);
    /// assert!(stop.join().unwrap().orderly);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    pub fn shutdown(self, deadline: Duration) -> StopReport {
        let began = now();
        let left = |share: f64| deadline.mul_f64(share).saturating_sub(now().saturating_duration_since(began));
        let server = &self.server;
        server.drain();
        self.acceptor.stop(left(0.2));
        let connections = server.open();

        // Behind this barrier no connection reads messages any more, and all input is on the rooms'
        // queues ...
        let stopped = Group::new();
        for source in server.sources() {
            source.merge(STOP);
            if let Some(queue) = source.queue() {
                stopped.submit(queue, || {});
            }
        }
        let mut orderly = stopped.wait_timeout(left(0.4));
        // ... and behind this one it is in all outboxes.
        let told = Group::new();
        for queue in server.directory.queues() {
            told.submit(&queue, || {});
        }
        orderly &= told.wait_timeout(left(0.5));

        let sources = server.sources();
        let spacing = CLOSE_SPACING.min(left(0.75) / u32::try_from(sources.len().max(1)).unwrap_or(u32::MAX));
        let spread = now();
        for (index, source) in sources.iter().enumerate() {
            source.merge(AWAY);
            let ahead = (spacing * index as u32).saturating_sub(now().saturating_duration_since(spread));
            // Short naps would cost more than they spread.
            if ahead > Duration::from_millis(5) {
                std::thread::sleep(ahead);
            }
        }
        drop(sources);
        let mut cut_off = 0;
        if !server.wait_for_none(left(1.0)) {
            let late = server.sources();
            cut_off = late.len();
            for source in late {
                source.merge(ABORT);
            }
            server.wait_for_none(Duration::from_millis(200));
        }
        let end = || server.runtime.shutdown(left(1.0).max(Duration::from_millis(200)));
        let runtime = self.owns_runtime.then(end);
        StopReport { connections, cut_off, orderly, took: now().saturating_duration_since(began), runtime }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.acceptor.cancel();
        for source in self.server.sources() {
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

/// The outcome of a stop.
///
/// ```
/// use singletrack::{Server, StopReport};
/// use std::time::Duration;
///
/// let server = Server::builder().listen("127.0.0.1:0").build()?.start()?;
/// let report: StopReport = server.shutdown(Duration::from_secs(5));
/// assert_eq!((report.connections, report.cut_off, report.orderly), (0, 0, true));
/// println!("{report}");
/// # Ok::<(), singletrack::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct StopReport {
    /// The number of connections when the stop began.
    pub connections: usize,
    /// Connections that were not over at the deadline and were cut off.
    pub cut_off: usize,
    /// Whether everything accepted was in the outboxes before any connection was closed. If not, a
    /// block was stuck.
    pub orderly: bool,
    /// The duration of the stop.
    pub took: Duration,
    /// The report of the runtime: blocks dropped, blocks stuck. `None` if it was
    /// [given](ServerBuilder::runtime), as it goes on then.
    pub runtime: Option<Report>,
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
        match &self.runtime {
            Some(runtime) => write!(f, "; {runtime}"),
            None => Ok(()),
        }
    }
}
