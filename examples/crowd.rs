//! Ten thousand connections against a real server: every message verified in order, while one member per room reads nothing.
//!
//! Start `singletrack serve --listen 127.0.0.1:8080 --outbox-bytes 16384 --send-buffer 16384` in one shell and in another
//! `cargo run --release --example crowd -- 127.0.0.1:8080 1000 10 [MESSAGES] [PID OF THE SERVER]`.
//! In each room the first member sends, each message after its own copy of the one before came back; the last member never reads
//! while this lasts. The peers here are queues too: a socket, its decoder and what it expects next live on one queue each.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use singletrack::io::socket::{self, Arrived};
use singletrack::io::{Interest, Io, Registered};
use singletrack::ws::{Decoder, Event, Opcode, Role, encode_frame};
use singletrack::{Group, Limits, Queue, Runtime, Source};

/// Bytes of one message.
const PAYLOAD: usize = 512;
/// Bytes that may wait in the server for one member, as it was told.
const OUTBOX: usize = 16 * 1024;
/// What a silent member's system may hold for it: little, so that what it does not read waits in the server.
const SILENT_BUFFER: usize = 4096;
/// What a silent connection may cost of the server's memory.
const IDLE: u64 = 600;
/// And each of its threads, for a read buffer and what the allocator keeps for it.
const THREAD_KIB: u64 = 256;
/// Without any progress for this long, something hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const MASK: Option<[u8; 4]> = Some([0x5a, 0xc3, 0x11, 0x7e]);

/// What all peers of a run share.
#[derive(Default)]
struct Run {
    delivered: AtomicU64,
    fault: OnceLock<String>,
    done: Group,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: crowd ADDRESS [ROOMS] [MEMBERS] [MESSAGES] [SERVER PID]")?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse::<usize>());
    let (rooms, members, messages, server) = (number(1000)?, number(10)?, number(600)?, number(0)?);
    if members < 3 || rooms == 0 || messages == 0 {
        return Err("a room needs a sender, a reader and a silent member, and something to send".into());
    }

    let workers = std::thread::available_parallelism()?.get();
    let io = Io::new(workers)?;
    let runtime = Runtime::builder().workers(workers).name("crowd").parkers(io.parkers()).build()?;
    let all = Arc::new(Run::default());
    let limits = Arc::new(Limits::default());
    raise_file_limit();
    let before = Memory::of(server);

    let begin = Instant::now();
    let (mut senders, mut readers, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for room in 0..rooms {
        for member in 0..members {
            let stream = join(&address, room, member + 1 == members)?;
            if member + 1 == members {
                silent.push((room, stream));
                continue;
            }
            let sends = member == 0;
            let peer = Peer { room, sends, next: 0, messages, decoder: Decoder::new(Role::Client), unsent: Vec::new() };
            let source = peer.attach(stream, &runtime.queue(format!("peer.{room}.{member}")), &io, &all, &limits)?;
            if sends { senders.push(source) } else { readers.push(source) }
        }
    }
    let connections = rooms * members;
    println!("{connections} connections in {rooms} rooms after {:.1?}", begin.elapsed());
    let idle = Memory::of(server);
    idle.tell("all joined, idle", connections, &before);
    idle.check_idle(connections, &before)?;

    let begin = Instant::now();
    for sender in &senders {
        sender.merge(START);
    }
    let mut peak = idle.clone();
    let (mut seen, mut last) = (0, Instant::now());
    while !all.done.wait_timeout(Duration::from_millis(100)) {
        peak = peak.max(&Memory::of(server));
        let now = all.delivered.load(Relaxed);
        if let Some(fault) = all.fault.get() {
            return Err(fault.clone().into());
        }
        if now != seen {
            (seen, last) = (now, Instant::now());
        } else if last.elapsed() > PATIENCE {
            return Err(
                format!("no message for {PATIENCE:?} after {now} deliveries: the server or a room hangs").into()
            );
        }
    }
    if let Some(fault) = all.fault.get() {
        return Err(fault.clone().into());
    }
    let (took, count) = (begin.elapsed(), all.delivered.load(Relaxed));
    let expected = (rooms * (members - 1) * messages) as u64;
    if count != expected {
        return Err(format!("{count} deliveries instead of {expected}").into());
    }
    println!("{count} deliveries, all in order, in {took:.1?}: {:.0} a second", count as f64 / took.as_secs_f64());
    peak.tell("highest, while every room's last member read nothing", connections, &before);
    peak.check(&idle, rooms, workers)?;

    let mut closed = 0;
    for (room, stream) in silent {
        closed += usize::from(check_silent(room, stream, messages, &limits)?);
    }
    println!("of {rooms} silent members {closed} were closed with 1013; the others still get everything, in order");
    Ok(())
}

/// Each connection takes a descriptor.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("the limit on open files stays as it is: {error}");
    }
}

/// A bit of a peer's source that tells it to begin.
const START: u64 = singletrack::io::FIRST_FREE_BIT;

/// Connects and shakes hands, blocking.
fn join(address: &str, room: usize, silent: bool) -> Result<TcpStream, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)?;
    if silent {
        rustix::net::sockopt::set_socket_recv_buffer_size(stream.as_fd(), SILENT_BUFFER)?;
    }
    stream.set_nodelay(true)?;
    write!(
        stream,
        "GET /room/crowd-{room} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(format!("the server refused room {room}: {}", String::from_utf8_lossy(&head)).into());
        }
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err(format!("room {room}: {}", String::from_utf8_lossy(&head)).into());
    }
    Ok(stream)
}

/// Message `number` of `room`.
fn text(room: usize, number: usize) -> String {
    format!("{room}:{number}:{:.<width$}", "", width = PAYLOAD.saturating_sub(12))
}

/// One member that reads: what it expects next, on its own queue.
struct Peer {
    room: usize,
    sends: bool,
    next: usize,
    messages: usize,
    decoder: Decoder,
    unsent: Vec<u8>,
}

impl Peer {
    fn attach(
        mut self,
        stream: TcpStream,
        queue: &Queue,
        io: &Io,
        all: &Arc<Run>,
        limits: &Arc<Limits>,
    ) -> Result<Source, Box<dyn Error>> {
        stream.set_nonblocking(true)?;
        let (registered, attach) = io.register_spread(stream, Interest::Both)?;
        all.done.enter();
        let (all, limits) = (all.clone(), limits.clone());
        let source = Source::new(queue, move |bits| {
            if let Err(error) = self.turn(bits, &registered, &all, &limits) {
                let fault = format!("room {}, message {} of {}: {error}", self.room, self.next, self.messages);
                if all.fault.set(fault).is_ok() {
                    log::debug!("the first fault is what is told");
                }
            }
        });
        attach.to(source.clone());
        Ok(source)
    }

    fn turn(
        &mut self,
        bits: u64,
        stream: &Registered<TcpStream>,
        all: &Run,
        limits: &Limits,
    ) -> Result<(), Box<dyn Error>> {
        if bits & START != 0 {
            self.send();
        }
        loop {
            let arrived = socket::with_read_buffer(|buffer| {
                let arrived = socket::read(stream, buffer)?;
                if let Arrived::Bytes(count) = arrived {
                    self.take(&mut buffer[..count], all, limits)?;
                }
                Ok::<_, Box<dyn Error>>(arrived)
            })?;
            match arrived {
                Arrived::Bytes(count) if count == socket::READ_BUFFER => {}
                Arrived::Bytes(_) | Arrived::Nothing => break,
                Arrived::End if self.next == self.messages => break,
                Arrived::End => return Err("the server closed the connection".into()),
            }
        }
        let mut stream: &TcpStream = stream;
        while !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn take(&mut self, mut input: &mut [u8], all: &Run, limits: &Limits) -> Result<(), Box<dyn Error>> {
        while let Some(event) = self.decoder.decode(&mut input, limits).map_err(|close| format!("{close:?}"))? {
            match event {
                Event::Message(message) => {
                    let expected = text(self.room, self.next);
                    if message.as_text() != Some(&expected) {
                        return Err(format!("got {:?} instead of {expected:?}", message.as_text()).into());
                    }
                    self.next += 1;
                    all.delivered.fetch_add(1, Relaxed);
                    if self.next == self.messages {
                        all.done.leave()?;
                    } else if self.sends {
                        self.send();
                    }
                }
                Event::Ping(payload) => self.unsent.extend(encode_frame(true, Opcode::Pong, &payload, MASK)),
                Event::Pong(_) => {}
                Event::Close(close) => return Err(format!("the server closed: {close:?}").into()),
            }
        }
        Ok(())
    }

    fn send(&mut self) {
        self.unsent.extend(encode_frame(true, Opcode::Text, text(self.room, self.next).as_bytes(), MASK));
    }
}

/// Reads what waited for a silent member: all of it in order, or the beginning and a close. `true`: it was closed.
fn check_silent(room: usize, mut stream: TcpStream, messages: usize, limits: &Limits) -> Result<bool, Box<dyn Error>> {
    // From here on it reads, and fast.
    rustix::net::sockopt::set_socket_recv_buffer_size(stream.as_fd(), 1 << 20)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut decoder = Decoder::new(Role::Client);
    let mut buffer = vec![0; socket::READ_BUFFER];
    let mut next = 0;
    while next < messages {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Err(format!("silent member of room {room}: ended without a close frame").into()),
            Ok(count) => count,
            // It was given up so long ago that the server has reset it: that is the bound on its memory at work.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let mut input = &mut buffer[..count];
        while let Some(event) = decoder.decode(&mut input, limits).map_err(|close| format!("{close:?}"))? {
            match event {
                Event::Message(message) => {
                    if message.as_text() != Some(&text(room, next)) {
                        return Err(format!("silent member of room {room}: message {next} is missing").into());
                    }
                    next += 1;
                }
                Event::Close(Some(close)) if close.code.0 == 1013 => return Ok(true),
                Event::Close(close) => return Err(format!("silent member of room {room}: {close:?}").into()),
                Event::Ping(_) | Event::Pong(_) => {}
            }
        }
    }
    Ok(false)
}

/// What the server's process holds, as far as its number was given.
#[derive(Clone, Debug, Default)]
struct Memory {
    resident_kib: u64,
    /// As much of it is in huge pages.
    huge_kib: u64,
    threads: u64,
}

impl Memory {
    fn of(process: usize) -> Self {
        let field = |file: &str, name: &str| {
            let text = std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Self {
            resident_kib: field("status", "RssAnon:"),
            huge_kib: field("smaps_rollup", "AnonHugePages:"),
            threads: field("status", "Threads:"),
        }
    }

    fn max(&self, other: &Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            huge_kib: self.huge_kib.max(other.huge_kib),
            threads: self.threads.max(other.threads),
        }
    }

    fn each(&self, connections: usize, before: &Self) -> u64 {
        self.resident_kib.saturating_sub(before.resident_kib) * 1024 / connections as u64
    }

    /// What silent connections may cost, asked of crowds beside which little else counts. A huge page is resident as a whole, however
    /// little of it is used, so a server that has some (`MIMALLOC_ALLOW_THP=0` keeps them away) is not asked.
    fn check_idle(&self, connections: usize, before: &Self) -> Result<(), Box<dyn Error>> {
        let fixed = Self { resident_kib: before.resident_kib + self.threads * THREAD_KIB, ..before.clone() };
        let each = self.each(connections, &fixed);
        if connections >= 5000 && self.huge_kib == 0 && each > IDLE {
            return Err(format!("{each} bytes for each idle connection, more than {IDLE}").into());
        }
        Ok(())
    }

    /// What silent members may cost, and how many threads: the server's promises.
    fn check(&self, idle: &Self, rooms: usize, workers: usize) -> Result<(), Box<dyn Error>> {
        let more = self.resident_kib.saturating_sub(idle.resident_kib);
        let bound = (rooms * 2 * OUTBOX / 1024) as u64;
        if more > bound {
            return Err(
                format!("{more} KiB for {rooms} silent members, more than twice their outboxes: {bound} KiB").into()
            );
        }
        // The workers, the monitor, the main thread, and a few stand-ins: on a busy machine a worker that has no processor for
        // long looks stuck. Far fewer than rooms or connections in any case.
        let most = workers as u64 + 16;
        if self.threads > most {
            return Err(format!("{} threads for {workers} workers, more than {most}", self.threads).into());
        }
        Ok(())
    }

    fn tell(&self, when: &str, connections: usize, before: &Self) {
        if self.threads > 0 {
            let Self { resident_kib, huge_kib, threads } = self;
            let each = self.each(connections, before);
            println!(
                "server, {when}: {resident_kib} KiB resident ({huge_kib} in huge pages), {each} bytes a connection, {threads} threads"
            );
        }
    }
}
