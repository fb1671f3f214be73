//! The plan of a run: its target, its load, and the part of each connection.
//!
//! Pure: the server's name is resolved elsewhere. Connections are numbered: those that talk come
//! first, group by group, then those that are only held open. A group is a room, or one echo
//! connection, which is a room of one. Rules: a plan that cannot work is refused here, with a
//! sentence that says what would.

use std::time::Duration;

use super::frame::Kind;
use super::payload::LEAST;

/// The most numbers that all receivers remember together: one per receiver and sender of its room.
const MOST_NUMBERS: usize = 1 << 26;
/// The most bytes of a message.
const MOST_BYTES: usize = 1 << 24;
/// Descriptors of a process that are no connections.
const OTHER_DESCRIPTORS: usize = 32;

/// The server's address, as the user gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Host and port, for the `Host` header and for people.
    pub(crate) authority: String,
    /// The prefix of every path: empty, or `/` and something.
    pub(crate) prefix: String,
}

impl Target {
    /// Reads `ws://host:port`, with or without a path that precedes every other.
    pub(crate) fn parse(url: &str) -> Result<Target, String> {
        let rest = match url.split_once("://") {
            Some(("ws", rest)) => rest,
            Some(("wss", _)) => return Err("wss:// is not supported yet: give the ws:// address behind the TLS".into()),
            Some((scheme, _)) => return Err(format!("give an address that begins with ws://, not with {scheme}://")),
            None => return Err(format!("give an address such as ws://{url}")),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.is_empty() || authority.starts_with(':') {
            return Err("give a host, such as ws://127.0.0.1:8080".into());
        }
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.contains(['@', '?', '#']) || path.contains(['?', '#']) || !printable(rest) {
            return Err("give an address of host, port and path alone: no user, query, fragment or spaces".into());
        }
        // Within brackets, colons belong to the address.
        let has_port = authority.rfind(':').is_some_and(|colon| authority.rfind(']').is_none_or(|end| end < colon));
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Target { authority, prefix: path.trim_end_matches('/').to_owned() })
    }
}

/// The pattern of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Each connection gets its own messages back.
    Echo { connections: usize },
    /// In each room the first `senders` send, the last `slow` do not read, and all others read.
    Rooms { rooms: usize, members: usize, senders: usize, slow: usize },
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) pattern: Pattern,
    /// The path of the echo socket, or the prefix of a room's name.
    pub(crate) path: String,
    /// Connections that are only held open.
    pub(crate) idle: usize,
    pub(crate) idle_path: String,
    /// Payload bytes of a message.
    pub(crate) bytes: usize,
    pub(crate) kind: Kind,
    /// Messages per second of all senders together. Without a rate, each sender sends once its own
    /// previous message has come back.
    pub(crate) rate: Option<f64>,
    /// The number of messages of each sender, after which the run ends, whatever the time.
    pub(crate) messages: Option<u64>,
    pub(crate) warmup: Duration,
    pub(crate) time: Duration,
    pub(crate) workers: usize,
    /// The number of connections that may be opening at one time.
    pub(crate) handshakes: usize,
    /// The time without any progress after which the run counts as stuck.
    pub(crate) patience: Duration,
    /// The server's process, if it must be watched.
    pub(crate) pid: Option<u32>,
}

/// The part that a connection plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Sends and reads.
    Talks,
    /// Reads.
    Listens,
    /// Does not read until all others are done.
    Slow,
    /// Receives nothing.
    Idle,
}

/// One connection's place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) number: usize,
    /// Its room. For an idle connection, its number among the idle ones.
    pub(crate) group: usize,
    /// Its place in the room.
    pub(crate) place: usize,
    pub(crate) part: Part,
}

impl Plan {
    /// The number of rooms, or of echo connections.
    pub(crate) fn groups(&self) -> usize {
        match self.pattern {
            Pattern::Echo { connections } => connections,
            Pattern::Rooms { rooms, .. } => rooms,
        }
    }

    /// The number of connections of one group.
    pub(crate) fn members(&self) -> usize {
        match self.pattern {
            Pattern::Echo { .. } => 1,
            Pattern::Rooms { members, .. } => members,
        }
    }

    /// The number of senders of a group.
    pub(crate) fn senders(&self) -> usize {
        match self.pattern {
            Pattern::Echo { .. } => 1,
            Pattern::Rooms { senders, .. } => senders,
        }
    }

    /// The number of members of a group that do not read.
    pub(crate) fn slow(&self) -> usize {
        match self.pattern {
            Pattern::Echo { .. } => 0,
            Pattern::Rooms { slow, .. } => slow,
        }
    }

    /// The number of messages in all, if it was given.
    pub(crate) fn all_messages(&self) -> Option<u64> {
        self.messages.map(|each| each.saturating_mul((self.groups() * self.senders()) as u64))
    }

    /// The number of connections in all.
    pub(crate) fn connections(&self) -> usize {
        self.groups() * self.members() + self.idle
    }

    /// The place of connection `number`.
    pub(crate) fn seat(&self, number: usize) -> Seat {
        let (group, place) = (number / self.members(), number % self.members());
        if group >= self.groups() {
            return Seat { number, group: number - self.groups() * self.members(), place: 0, part: Part::Idle };
        }
        let part = if place < self.senders() {
            Part::Talks
        } else if place >= self.members() - self.slow() {
            Part::Slow
        } else {
            Part::Listens
        };
        Seat { number, group, place, part }
    }

    /// The path that a connection asks for. Rooms are named after the run, so that no two runs meet
    /// in one.
    pub(crate) fn path(&self, seat: Seat, run: u32) -> String {
        let prefix = &self.target.prefix;
        match (seat.part, self.pattern) {
            (Part::Idle, _) => format!("{prefix}{}", self.idle_path),
            (_, Pattern::Echo { .. }) => format!("{prefix}{}", self.path),
            (_, Pattern::Rooms { .. }) => format!("{prefix}{}load-{run:08x}-{}", self.path, seat.group),
        }
    }

    /// The name of a connection in reports.
    pub(crate) fn name(&self, seat: Seat) -> String {
        match (seat.part, self.pattern) {
            (Part::Idle, _) => format!("idle connection {}", seat.group),
            (_, Pattern::Echo { .. }) => format!("echo connection {}", seat.group),
            (Part::Slow, _) => format!("room {}, slow member {}", seat.group, seat.place),
            (_, Pattern::Rooms { .. }) => format!("room {}, member {}", seat.group, seat.place),
        }
    }

    /// Refuses a plan that cannot work in a process that may open `descriptors`.
    pub(crate) fn check(&self, descriptors: Option<u64>) -> Result<(), String> {
        if let Pattern::Rooms { rooms, members, senders, slow } = self.pattern {
            if slow >= members {
                return Err(format!("--slow {slow} leaves nobody who reads in a room of {members} members"));
            }
            if senders > members - slow {
                let others =
                    if slow > 0 { format!(", of which {slow} are slow and do not send") } else { String::new() };
                return Err(format!("--senders {senders} is more than a room of {members} members has{others}"));
            }
            let numbers = rooms.checked_mul(members).and_then(|all| all.checked_mul(senders));
            if numbers.is_none_or(|numbers| numbers > MOST_NUMBERS) {
                return Err(format!(
                    "{rooms} rooms of {members} members with {senders} senders are more than can be verified: rooms x members x \
                     senders may be {MOST_NUMBERS}; lower --senders"
                ));
            }
        }
        if self.bytes < LEAST {
            return Err(format!(
                "--bytes {} is too small: a message says whose it is and when it was sent, in {LEAST} bytes",
                self.bytes
            ));
        }
        if self.bytes > MOST_BYTES {
            return Err(format!("--bytes {} is too much: a message may have {MOST_BYTES}", self.bytes));
        }
        let needed = (self.connections() + 4 * self.workers + OTHER_DESCRIPTORS) as u64;
        if let Some(allowed) = descriptors.filter(|&allowed| allowed < needed) {
            return Err(format!(
                "{} connections need {needed} file descriptors, and this process may open {allowed}: raise the limit (ulimit -n) or \
                 ask for fewer",
                self.connections()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan(pattern: Pattern) -> Plan {
        Plan {
            target: Target::parse("ws://localhost:8080/chat/").unwrap(),
            pattern,
            path: "/room/".into(),
            idle: 2,
            idle_path: "/echo".into(),
            bytes: 64,
            kind: Kind::Text,
            rate: None,
            messages: None,
            warmup: Duration::ZERO,
            time: Duration::from_secs(1),
            workers: 1,
            handshakes: 64,
            patience: Duration::from_secs(10),
            pid: None,
        }
    }

    const ROOMS: Pattern = Pattern::Rooms { rooms: 3, members: 4, senders: 2, slow: 1 };

    #[test]
    fn every_connection_has_a_part() {
        let plan = plan(ROOMS);
        assert_eq!(plan.connections(), 14);
        let parts: Vec<Part> = (0..14).map(|number| plan.seat(number).part).collect();
        let room = [Part::Talks, Part::Talks, Part::Listens, Part::Slow];
        assert_eq!(parts, [&room[..], &room, &room, &[Part::Idle, Part::Idle]].concat());
        assert_eq!(plan.path(plan.seat(5), 0xab), "/chat/room/load-000000ab-1");
        assert_eq!(plan.path(plan.seat(13), 0xab), "/chat/echo");
        assert_eq!(plan.name(plan.seat(13)), "idle connection 1");
        assert_eq!(plan.name(plan.seat(11)), "room 2, slow member 3");
    }

    #[test]
    fn an_echo_connection_is_a_room_of_one() {
        let plan = plan(Pattern::Echo { connections: 5 });
        assert_eq!((plan.groups(), plan.members(), plan.senders(), plan.connections()), (5, 1, 1, 7));
        assert_eq!(plan.seat(4), Seat { number: 4, group: 4, place: 0, part: Part::Talks });
        assert_eq!(plan.seat(5).part, Part::Idle);
    }

    #[test]
    fn plans_that_cannot_work_are_refused_on_both_sides_of_each_limit() {
        let says = |change: fn(&mut Plan), descriptors| {
            let mut plan = plan(ROOMS);
            change(&mut plan);
            plan.check(descriptors).err().unwrap_or_default()
        };
        assert_eq!(says(|_| (), None), "");
        assert_eq!(says(|plan| plan.bytes = LEAST, None), "");
        assert_eq!(says(|plan| plan.bytes = MOST_BYTES, None), "");
        assert!(says(|plan| plan.bytes = MOST_BYTES + 1, None).contains("--bytes 16777217"));
        assert!(says(|plan| plan.bytes = LEAST - 1, None).contains("--bytes 47"));
        let rooms = |rooms, members, senders, slow| Pattern::Rooms { rooms, members, senders, slow };
        let refused = |pattern: Pattern| plan(pattern).check(None).err().unwrap_or_default();
        assert_eq!(refused(rooms(1, 4, 3, 1)), "");
        assert!(refused(rooms(1, 4, 4, 1)).contains("--senders 4"));
        assert!(refused(rooms(1, 4, 1, 4)).contains("--slow 4"));
        assert_eq!(refused(rooms(1, 8192, 8192, 0)), "");
        assert!(refused(rooms(1, 8193, 8192, 0)).contains("lower --senders"));
        assert!(refused(rooms(usize::MAX, 2, 2, 0)).contains("lower --senders"));
        let needed = 14 + 4 + OTHER_DESCRIPTORS as u64;
        assert_eq!(says(|_| (), Some(needed)), "");
        assert!(says(|_| (), Some(needed - 1)).contains("ulimit -n"));
    }

    #[test]
    fn addresses_are_read_and_others_refused_with_the_remedy() {
        let target = |url| Target::parse(url).map(|target| (target.authority, target.prefix));
        let of = |authority: &str, prefix: &str| Ok((authority.to_owned(), prefix.to_owned()));
        assert_eq!(target("ws://127.0.0.1:8080"), of("127.0.0.1:8080", ""));
        assert_eq!(target("ws://example.org"), of("example.org:80", ""));
        assert_eq!(target("ws://[::1]:9/"), of("[::1]:9", ""));
        assert_eq!(target("ws://[::1]/a/b/"), of("[::1]:80", "/a/b"));
        for (url, says) in [
            ("wss://example.org", "not supported yet"),
            ("http://example.org", "begins with ws://"),
            ("example.org:80", "such as ws://example.org:80"),
            ("ws://", "give a host"),
            ("ws://:80", "give a host"),
            ("ws://a b", "no user, query"),
            ("ws://u@h", "no user, query"),
            ("ws://h/?q", "no user, query"),
        ] {
            assert!(target(url).unwrap_err().contains(says), "{url}");
        }
    }
}
