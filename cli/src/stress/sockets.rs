//! Real sockets feed queues: numbers go out over loopback TCP, come back from a queue per
//! connection, and are compared.
//!
//! The pollers in which the workers of the shared runtime wait watch the server's ends. Each end
//! has its own queue, and a handler that echoes. The clients are threads with blocking sockets.
//! Every number encodes its connection and its place, so one that is lost, doubled, late or of
//! another connection is detected.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use singletrack::io::socket::{self, Arrived, Socket};
use singletrack::io::{Interest, Registered};
use singletrack::queues::Source;

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score};

pub(super) const FAMILY: Family = Family {
    name: "sockets",
    checks: &[Check { name: "sockets", counts: "numbers echoed in order over TCP" }],
    place: Place::Beside,
    round,
};
const CONNECTIONS: usize = 48;
const CLIENTS: usize = 4;
/// The most that the system may hold for one connection.
const SEND_BUFFER: usize = 256 * 1024;
/// The timeout of a client's read: far more than an echo takes.
const LONG: Duration = Duration::from_secs(25);

/// The server's end of one connection. It lives in its source's handler.
struct Echo {
    socket: Option<Registered<OwnedFd>>,
    /// Bytes that were read and not sent yet. While there are any, nothing is read: the client
    /// waits.
    unsent: VecDeque<u8>,
    /// Its drop reports that this connection is gone.
    _gone: Sender<()>,
}

impl Echo {
    /// Sends and reads until neither is possible. Events are edges, so it must not stop earlier.
    fn turn(&mut self) {
        if let Some(socket) = &self.socket
            && !socket::with_read_buffer(|buffer| echo(&**socket, &mut self.unsent, buffer)).unwrap_or(false)
        {
            self.socket = None;
        }
    }
}

/// `false` at the end of the stream.
fn echo(socket: &impl Socket, unsent: &mut VecDeque<u8>, buffer: &mut [u8]) -> io::Result<bool> {
    loop {
        while !unsent.is_empty() {
            let (front, back) = unsent.as_slices();
            match socket.write_gathered(&[IoSlice::new(front), IoSlice::new(back)])? {
                Some(sent) => drop(unsent.drain(..sent)),
                None => return Ok(true),
            }
        }
        match socket.read(buffer)? {
            Arrived::Bytes(count) => unsent.extend(&buffer[..count]),
            Arrived::Nothing => return Ok(true),
            Arrived::End => return Ok(false),
        }
    }
}

/// Opens a connection and gives its far end to a queue.
fn connect(
    round: &Round,
    (listener, address): (&OwnedFd, SocketAddr),
    number: usize,
    gone: &Sender<()>,
) -> io::Result<TcpStream> {
    let near = TcpStream::connect(address)?;
    near.set_read_timeout(Some(LONG))?;
    near.set_nodelay(true)?;
    let far = loop {
        // The connection is in the backlog. It may take a moment until the listener reports it.
        match listener.accept()? {
            Some(far) => break far,
            None => std::thread::yield_now(),
        }
    };
    let (registered, attach) = round.ground.io.register_spread(far, Interest::Both)?;
    let mut echo = Echo { socket: Some(registered), unsent: VecDeque::new(), _gone: gone.clone() };
    let queue = round.ground.runtime.queue(format!("sockets.{number}"));
    attach.to(Source::new(&queue, move |_| echo.turn()));
    Ok(near)
}

/// Sends a few numbers on each of its connections, then reads them back from each, several times.
fn converse(near: &mut [(usize, TcpStream)], score: &Score, choice: &mut Choice) -> io::Result<()> {
    let mut places = vec![0u64; near.len()];
    let mut buffer = Vec::new();
    for _ in 0..choice.between(2..=10) {
        let counts: Vec<u64> = near.iter().map(|_| choice.between(1..=1_500) as u64).collect();
        for ((number, socket), (place, count)) in near.iter_mut().zip(places.iter().zip(&counts)) {
            buffer.clear();
            buffer.extend((*place..place + count).flat_map(|place| ((*number as u64) << 32 | place).to_le_bytes()));
            socket.write_all(&buffer)?;
        }
        for ((number, socket), (place, count)) in near.iter_mut().zip(places.iter_mut().zip(&counts)) {
            let mut word = [0; 8];
            buffer.resize(8 * *count as usize, 0);
            socket.read_exact(&mut buffer)?;
            for bytes in buffer.chunks_exact(8) {
                word.copy_from_slice(bytes);
                let (got, due) = (u64::from_le_bytes(word), (*number as u64) << 32 | *place);
                score.expect(got == due, || {
                    let (from, at) = (got >> 32, got & 0xffff_ffff);
                    format!(
                        "connection {number} got number {at} of connection {from} where its own number {place} was due"
                    )
                });
                *place += 1;
            }
            score.verified(*count as usize);
        }
    }
    Ok(())
}

fn round(round: &Round, mut choice: Choice) {
    if let Err(error) = connections(round, &mut choice) {
        round.score(0).broken(|| format!("an echo over loopback failed: {error}"));
    }
}

fn connections(round: &Round, choice: &mut Choice) -> io::Result<()> {
    round.stage(format_args!("{CONNECTIONS} connections to this machine"));
    let listener = socket::listen((Ipv4Addr::LOCALHOST, 0).into(), SEND_BUFFER)?;
    let address = socket::local_address(&listener)?;
    let (gone, all_gone) = channel();
    let mut shares: Vec<Vec<(usize, TcpStream)>> = (0..CLIENTS).map(|_| Vec::new()).collect();
    for number in 0..CONNECTIONS {
        shares[number % CLIENTS].push((number, connect(round, (&listener, address), number, &gone)?));
    }
    drop(gone);
    round.stage(format_args!("echoes on {CONNECTIONS} connections"));
    std::thread::scope(|scope| {
        let clients: Vec<_> = shares
            .iter_mut()
            .map(|share| {
                let (score, mut choice) = (round.score(0), choice.fork());
                scope.spawn(move || converse(share, score, &mut choice))
            })
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().unwrap_or_else(|_| Err(io::Error::other("a client panicked"))))
    })?;
    round.stage(format_args!("the far ends of {CONNECTIONS} connections that were closed"));
    // A reset leaves nothing behind in the system. Ports that wait for their end would run out in a
    // long test.
    shares.into_iter().flatten().for_each(|(_, near)| OwnedFd::from(near).reset_on_close());
    // Ends when the last connection is gone.
    all_gone.iter().for_each(drop);
    Ok(())
}
