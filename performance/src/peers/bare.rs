//! The machine's limit: one thread, one epoll, no queues, no limits but one, and as little frame
//! code as possible.
//!
//! A reference for other servers, not a server that anybody should deploy. It does not check the
//! rules that RFC 6455 has for clients and knows no fragments, and it drops a member whose output
//! exceeds `OUTBOX`. Rules: an echo is written at once. The frames that a turn of the loop makes
//! for a member are written in one call at the turn's end.

mod frame;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::handshake::{self, Wish};
use frame::Frame;

/// The epoll key of the listening socket.
const LISTENER: u64 = u64::MAX;
/// The most events of one turn.
const TURN: usize = 1024;
/// The most bytes read from a connection at once.
const BUFFER: usize = 64 * 1024;
/// The most bytes that may wait for a member.
const OUTBOX: usize = 256 * 1024;

struct Connection {
    stream: TcpStream,
    /// `None` before the handshake.
    place: Option<Place>,
    /// The beginning of a head or a frame.
    unread: Vec<u8>,
    /// Output of this turn, or output that was not sent yet.
    outbox: Vec<u8>,
    /// The system was asked to report when it takes more.
    waits: bool,
}

#[derive(Clone, Copy)]
enum Place {
    Echo,
    Room(usize),
}

struct Loop {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    names: HashMap<String, usize>,
    rooms: Vec<Vec<usize>>,
    /// Connections with something to write at the end of the turn.
    dirty: Vec<usize>,
    /// The answer to the input of one read.
    answer: Vec<u8>,
    /// The frame for a room's members, encoded once.
    frame: Vec<u8>,
}

/// The end of a connection.
struct Gone;

/// Serves until it is killed.
pub(crate) fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = handshake::listen(address)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut all = Loop {
        epoll,
        listener,
        connections: Vec::new(),
        free: Vec::new(),
        names: HashMap::new(),
        rooms: Vec::new(),
        dirty: Vec::new(),
        answer: Vec::new(),
        frame: Vec::new(),
    };
    let mut events = Vec::with_capacity(TURN);
    let mut buffer = vec![0; BUFFER];
    loop {
        epoll::wait(&all.epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == LISTENER {
                all.accept()?;
                continue;
            }
            let number = token as usize;
            if flags.contains(EventFlags::OUT) {
                all.dirty.push(number);
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
                && all.readable(number, &mut buffer).is_err()
            {
                all.remove(number);
            }
        }
        all.end_turn();
    }
}

impl Loop {
    fn accept(&mut self) -> std::io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let number = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            epoll::add(&self.epoll, &stream, EventData::new_u64(number as u64), EventFlags::IN)?;
            let (unread, outbox) = (Vec::new(), Vec::new());
            self.connections[number] = Some(Connection { stream, place: None, unread, outbox, waits: false });
        }
    }

    fn readable(&mut self, number: usize, buffer: &mut [u8]) -> Result<(), Gone> {
        // It may have been dropped as slow earlier in the turn.
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        let kept = connection.unread.len();
        buffer[..kept].copy_from_slice(&connection.unread);
        connection.unread.clear();
        let count = match connection.stream.read(&mut buffer[kept..]) {
            Ok(0) => return Err(Gone),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return Err(Gone),
        };
        let rest = self.take(number, &mut buffer[..kept + count])?;
        if !rest.is_empty() {
            // A frame that does not fit the buffer is beyond this server.
            let connection = self.connections[number].as_mut().filter(|_| rest.len() < BUFFER).ok_or(Gone)?;
            connection.unread.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Handles the whole frames in `bytes`, and returns the rest.
    fn take<'a>(&mut self, number: usize, mut bytes: &'a mut [u8]) -> Result<&'a [u8], Gone> {
        let mut place = self.connections[number].as_ref().ok_or(Gone)?.place;
        if place.is_none() {
            let Some(upgrade) = handshake::read_head(bytes).map_err(|_| Gone)? else { return Ok(bytes) };
            place = Some(self.place(number, &upgrade.wish));
            self.connections[number].as_mut().ok_or(Gone)?.place = place;
            self.send(number, upgrade.answer.as_bytes())?;
            bytes = &mut bytes[upgrade.length..];
        }
        self.answer.clear();
        while let Some((frame, length)) = Frame::read(bytes).map_err(|_| Gone)? {
            match frame {
                Frame::Close(payload) => {
                    frame::write(frame::CLOSE, payload, &mut self.answer);
                    let answer = std::mem::take(&mut self.answer);
                    self.send(number, &answer)?;
                    return Err(Gone);
                }
                Frame::Ping(payload) => frame::write(frame::PONG, payload, &mut self.answer),
                Frame::Pong => {}
                Frame::Message(kind, payload) => match place {
                    Some(Place::Room(room)) => self.broadcast(room, kind, payload),
                    _ => frame::write(kind, payload, &mut self.answer),
                },
            }
            bytes = &mut bytes[length..];
        }
        if !self.answer.is_empty() {
            let answer = std::mem::take(&mut self.answer);
            let sent = self.send(number, &answer);
            self.answer = answer;
            sent?;
        }
        Ok(bytes)
    }

    fn place(&mut self, number: usize, wish: &Wish) -> Place {
        let Wish::Room(name) = wish else { return Place::Echo };
        let next = self.rooms.len();
        let room = *self.names.entry(name.clone()).or_insert(next);
        if room == next {
            self.rooms.push(Vec::new());
        }
        self.rooms[room].push(number);
        Place::Room(room)
    }

    fn broadcast(&mut self, room: usize, kind: u8, payload: &[u8]) {
        self.frame.clear();
        frame::write(kind, payload, &mut self.frame);
        for &member in &self.rooms[room] {
            let Some(connection) = &mut self.connections[member] else { continue };
            if connection.outbox.is_empty() {
                self.dirty.push(member);
            }
            connection.outbox.extend_from_slice(&self.frame);
        }
    }

    /// Writes at once, if nothing else waits.
    fn send(&mut self, number: usize, bytes: &[u8]) -> Result<(), Gone> {
        let connection = self.connections[number].as_mut().ok_or(Gone)?;
        let mut count = 0;
        if connection.outbox.is_empty() {
            count = written(connection.stream.write(bytes))?;
        }
        if count < bytes.len() {
            connection.outbox.extend_from_slice(&bytes[count..]);
            self.dirty.push(number);
        }
        Ok(())
    }

    /// One write for each connection that has output.
    fn end_turn(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            let Some(connection) = &mut self.connections[number] else { continue };
            if connection.flush(number, &self.epoll).is_err() {
                self.remove(number);
            }
        }
        self.dirty = dirty;
    }

    fn remove(&mut self, number: usize) {
        // Closing the socket takes it out of the epoll, too.
        let Some(connection) = self.connections[number].take() else { return };
        if let Some(Place::Room(room)) = connection.place {
            self.rooms[room].retain(|&member| member != number);
        }
        self.free.push(number);
    }
}

impl Connection {
    fn flush(&mut self, number: usize, epoll: &OwnedFd) -> Result<(), Gone> {
        if !self.outbox.is_empty() {
            let count = written(self.stream.write(&self.outbox))?;
            self.outbox.drain(..count);
        }
        if self.outbox.len() > OUTBOX {
            return Err(Gone);
        }
        let waits = !self.outbox.is_empty();
        if waits != self.waits {
            self.waits = waits;
            let flags = if waits { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(epoll, &self.stream, EventData::new_u64(number as u64), flags).map_err(|_| Gone)?;
        }
        Ok(())
    }
}

/// The number of bytes that a write took: zero when the socket is full.
fn written(result: std::io::Result<usize>) -> Result<usize, Gone> {
    match result {
        Ok(count) => Ok(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(_) => Err(Gone),
    }
}
