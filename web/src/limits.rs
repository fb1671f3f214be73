//! Every limit on input from outside, in one place, with its unit and its default.
//!
//! This file only holds the numbers and says which of them cannot work together. Each is enforced
//! where its object is handled, and both sides of it are tested there. Rules: a limit is inclusive
//! (a message of exactly `message_bytes` bytes is accepted, one more is not), and a peer that
//! exceeds it gets a status or a close code.

use std::time::Duration;

/// The most headers that a request head may have, whatever [`Limits::head_headers`] says.
pub const MAX_HEADERS: usize = 128;

/// The longest time that may be set: a deadline beyond it would not fit into the clock.
const LONGEST_TIME: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Limits on all input from outside. All are inclusive.
///
/// ```
/// use singletrack_web::{Limits, http};
///
/// let mut limits = Limits::default();
/// limits.head_bytes = 256;
/// let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(256));
/// assert_eq!(http::parse(long.as_bytes(), &limits).unwrap_err().status, 414);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request head: request line, headers and the empty line. Beyond it: 431 (414 for
    /// the request line). Default 16 KiB.
    pub head_bytes: usize,
    /// Headers of one request, at most [`MAX_HEADERS`]. Beyond it: 431. Default 64.
    pub head_headers: usize,
    /// Time for a whole request head to arrive, counted from its first byte or from accept. Beyond
    /// it: 408. Default 10 s.
    pub head_time: Duration,
    /// Bytes of a request body, which is skipped. Beyond it: 413. Default 64 KiB.
    pub body_bytes: usize,
    /// Time that a connection may stay idle between two requests. Beyond it: closed without a
    /// response. Default 30 s.
    pub keep_alive: Duration,
    /// Payload bytes of one WebSocket message, all its fragments together. Beyond it: close 1009.
    /// Default 1 MiB.
    pub message_bytes: usize,
    /// Frames of one WebSocket message, empty ones included. Beyond it: close 1009. Default
    /// 131,072.
    pub message_fragments: u32,
    /// Frames decoded from one connection before other connections get their turn. Default 64.
    pub turn_frames: usize,
    /// Bytes waiting to be written to one connection. Beyond it: the policy for slow members.
    /// Default 1 MiB.
    pub outbox_bytes: usize,
    /// Frames waiting to be written to one connection. Beyond it: the policy for slow members.
    /// Default 4,096.
    pub outbox_frames: usize,
    /// Outgoing bytes that the system may hold for one connection, besides the outbox; it rounds
    /// the number. A fixed size bounds the cost of peers that read nothing. It also bounds the
    /// throughput of one connection to this much per round trip. Default 256 KiB.
    pub send_buffer: usize,
    /// Bytes of a room's name after percent-decoding. Beyond it: 400. Default 64.
    pub room_name_bytes: usize,
    /// Members of one room. Beyond it: 503. Default 100,000.
    pub room_members: usize,
    /// Connections held at once; beyond it: 503. `None` (the default) derives it from the limit on
    /// open files at start-up.
    pub connections: Option<usize>,
    /// Silence of a peer before it gets a ping. Default 30 s.
    pub ping_interval: Duration,
    /// A random time of up to this much is added to each ping's interval, so that pings do not come
    /// in bursts. Default 10 s.
    pub ping_jitter: Duration,
    /// Time for any bytes to arrive after a ping. Beyond it the peer counts as gone. Default 20 s.
    pub pong_timeout: Duration,
    /// Time in which a peer may take none of the bytes that wait for it. Beyond it the peer counts
    /// as gone. Default 30 s.
    pub write_stall: Duration,
    /// Time for the peer to answer a close frame and for unread input to be drained after it.
    /// Default 1 s.
    pub close_time: Duration,
    /// Time for all connections to finish when the server drains. Default 10 s.
    pub drain: Duration,
}

/// One of the [`Limits`] has a value that cannot work.
///
/// ```
/// use singletrack_web::{Limits, limits::BadLimit};
///
/// let mut limits = Limits::default();
/// limits.turn_frames = 0;
/// let error: BadLimit = limits.check().unwrap_err();
/// assert_eq!(error.to_string(), "limit `turn_frames` cannot be 0: give at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit `{name}` cannot be {given}: {remedy}")]
pub struct BadLimit {
    /// The field.
    pub name: &'static str,
    /// Its value, in words.
    pub given: String,
    /// The accepted values.
    pub remedy: &'static str,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: 16 * 1024,
            head_headers: 64,
            head_time: Duration::from_secs(10),
            body_bytes: 64 * 1024,
            keep_alive: Duration::from_secs(30),
            message_bytes: 1024 * 1024,
            message_fragments: 131_072,
            turn_frames: 64,
            outbox_bytes: 1024 * 1024,
            outbox_frames: 4096,
            send_buffer: 256 * 1024,
            room_name_bytes: 64,
            room_members: 100_000,
            connections: None,
            ping_interval: Duration::from_secs(30),
            ping_jitter: Duration::from_secs(10),
            pong_timeout: Duration::from_secs(20),
            write_stall: Duration::from_secs(30),
            close_time: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Checks for values with which no peer could be served.
    ///
    /// An outbox smaller than a message is allowed: an empty outbox takes one frame of any size.
    ///
    /// ```
    /// use singletrack_web::Limits;
    ///
    /// let mut limits = Limits::default();
    /// assert!(limits.check().is_ok());
    /// limits.message_bytes = 0;
    /// assert_eq!(limits.check().unwrap_err().name, "message_bytes");
    /// ```
    ///
    /// # Errors
    /// [`BadLimit`] names the first field that cannot work, its value and the accepted values.
    pub fn check(&self) -> Result<(), BadLimit> {
        let bad = |name, given: String, remedy| Err(BadLimit { name, given, remedy });
        if self.head_bytes < 256 {
            return bad("head_bytes", self.head_bytes.to_string(), "a handshake needs at least 256 bytes");
        }
        if !(8..=MAX_HEADERS).contains(&self.head_headers) {
            return bad("head_headers", self.head_headers.to_string(), "give a number from 8 to 128");
        }
        let counts = [
            ("message_bytes", self.message_bytes),
            ("message_fragments", self.message_fragments as usize),
            ("turn_frames", self.turn_frames),
            ("outbox_bytes", self.outbox_bytes),
            ("outbox_frames", self.outbox_frames),
            ("send_buffer", self.send_buffer),
            ("room_name_bytes", self.room_name_bytes),
            ("room_members", self.room_members),
            ("connections", self.connections.unwrap_or(1)),
        ];
        for (name, value) in counts {
            if value == 0 {
                return bad(name, value.to_string(), "give at least 1");
            }
        }
        let times = [
            ("head_time", self.head_time),
            ("keep_alive", self.keep_alive),
            ("ping_interval", self.ping_interval),
            ("pong_timeout", self.pong_timeout),
            ("write_stall", self.write_stall),
        ];
        for (name, value) in times {
            if value.is_zero() {
                return bad(name, format!("{value:?}"), "give more than no time");
            }
        }
        let waits = [("ping_jitter", self.ping_jitter), ("close_time", self.close_time), ("drain", self.drain)];
        for (name, value) in times.into_iter().chain(waits) {
            if value > LONGEST_TIME {
                return bad(name, format!("{value:?}"), "give at most 100 years");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        Limits::default().check().unwrap();
    }

    #[test]
    fn each_value_that_cannot_work_is_named() {
        let check = |name: &str, change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            let said = limits.check().unwrap_err().to_string();
            assert!(said.contains(&format!("`{name}`")), "{name}: {said}");
        };
        check("head_bytes", |l| l.head_bytes = 255);
        check("head_headers", |l| l.head_headers = 7);
        check("head_headers", |l| l.head_headers = MAX_HEADERS + 1);
        check("message_bytes", |l| l.message_bytes = 0);
        check("message_fragments", |l| l.message_fragments = 0);
        check("turn_frames", |l| l.turn_frames = 0);
        check("outbox_bytes", |l| l.outbox_bytes = 0);
        check("outbox_frames", |l| l.outbox_frames = 0);
        check("send_buffer", |l| l.send_buffer = 0);
        check("room_name_bytes", |l| l.room_name_bytes = 0);
        check("room_members", |l| l.room_members = 0);
        check("connections", |l| l.connections = Some(0));
        check("head_time", |l| l.head_time = Duration::ZERO);
        check("keep_alive", |l| l.keep_alive = Duration::ZERO);
        check("ping_interval", |l| l.ping_interval = Duration::ZERO);
        check("pong_timeout", |l| l.pong_timeout = Duration::ZERO);
        check("write_stall", |l| l.write_stall = Duration::ZERO);
        check("head_time", |l| l.head_time = Duration::MAX);
        check("keep_alive", |l| l.keep_alive = LONGEST_TIME + Duration::from_nanos(1));
        check("ping_interval", |l| l.ping_interval = Duration::MAX);
        check("ping_jitter", |l| l.ping_jitter = Duration::MAX);
        check("pong_timeout", |l| l.pong_timeout = Duration::MAX);
        check("write_stall", |l| l.write_stall = Duration::MAX);
        check("close_time", |l| l.close_time = Duration::MAX);
        check("drain", |l| l.drain = Duration::MAX);
    }

    #[test]
    fn the_smallest_values_that_work_are_accepted() {
        let limits = Limits {
            head_bytes: 256,
            head_headers: 8,
            body_bytes: 0,
            message_bytes: 1,
            message_fragments: 1,
            turn_frames: 1,
            outbox_bytes: 1,
            outbox_frames: 1,
            send_buffer: 1,
            room_members: 1,
            connections: Some(1),
            ping_jitter: Duration::ZERO,
            drain: Duration::ZERO,
            ..Limits::default()
        };
        limits.check().unwrap();
    }

    #[test]
    fn the_longest_time_passes() {
        Limits { close_time: LONGEST_TIME, ..Limits::default() }.check().unwrap();
    }
}
