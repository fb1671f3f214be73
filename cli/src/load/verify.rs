//! The messages that one receiver has, checked against what it must have: in order, nothing twice,
//! nothing missing, nothing of others.
//!
//! Pure. Rules: a receiver remembers the next number of each sender in its room. The server reports
//! to a member that may miss messages how many it missed, before it sends the next one.

use std::fmt;

/// A fault of the server with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// Bytes that no sender wrote.
    Altered,
    /// Text came as bytes, or the other way round.
    Kind,
    /// The message says that it is of another run.
    Run,
    /// The message was sent to another room, or to another connection.
    Foreign { sender: u32 },
    /// The message came before. `member` is the sender's place in the room.
    Repeated { member: usize, number: u32 },
    /// Earlier messages of the same sender are late or never came.
    Missing { member: usize, first: u32, next: u32 },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Breach::Altered => f.write_str("a message came back changed"),
            Breach::Kind => f.write_str("a message came back with another opcode (text became binary or binary text)"),
            Breach::Run => f.write_str("a message of another run of this generator arrived"),
            Breach::Foreign { sender } => write!(f, "a message of sender {sender} arrived, which is not in this room"),
            Breach::Repeated { member, number } => {
                write!(f, "message {number} of member {member} arrived again, or after a later one")
            }
            Breach::Missing { member, first, next } if first.wrapping_add(1) == next => {
                write!(f, "message {first} of member {member} was lost or overtaken")
            }
            Breach::Missing { member, first, next } => {
                write!(f, "messages {first} to {} of member {member} were lost or overtaken", next.wrapping_sub(1))
            }
        }
    }
}

/// The messages that one receiver has.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The first sender of its room. The others follow.
    first: u32,
    /// The next number, by sender.
    due: Box<[u32]>,
    /// Messages that the server reported as left out, and whose numbers were not seen yet.
    excused: u64,
}

impl Ledger {
    /// A receiver in the room of senders `first` to `first + senders - 1`.
    pub(crate) fn new(first: u32, senders: usize) -> Ledger {
        Ledger { first, due: vec![0; senders].into_boxed_slice(), excused: 0 }
    }

    /// Enters a message.
    pub(crate) fn enter(&mut self, sender: u32, number: u32) -> Result<(), Breach> {
        let member = sender.wrapping_sub(self.first) as usize;
        let due = self.due.get_mut(member).ok_or(Breach::Foreign { sender })?;
        if number == *due {
            *due = due.wrapping_add(1);
            return Ok(());
        }
        // Numbers wrap around after four thousand million messages of one sender: the shorter
        // distance decides which is later.
        let ahead = number.wrapping_sub(*due);
        if ahead > u32::MAX / 2 {
            return Err(Breach::Repeated { member, number });
        }
        if u64::from(ahead) > self.excused {
            return Err(Breach::Missing { member, first: *due, next: number });
        }
        self.excused -= u64::from(ahead);
        *due = number.wrapping_add(1);
        Ok(())
    }

    /// The server reports that it left out `count` messages.
    pub(crate) fn excuse(&mut self, count: u64) {
        self.excused = self.excused.saturating_add(count);
    }

    /// Whether the server reported more messages as left out than are missing.
    pub(crate) fn is_excused_too_much(&self, sent: impl Fn(usize) -> u32) -> bool {
        let open = |(place, &due): (usize, &u32)| u64::from(sent(place).wrapping_sub(due));
        self.excused > self.due.iter().enumerate().map(open).sum()
    }

    /// Compares with the messages that the senders have sent, each asked by its place in the room.
    pub(crate) fn audit(&self, sent: impl Fn(usize) -> u32) -> Result<(), Breach> {
        let (mut missing, mut whose) = (0, None);
        for (place, &due) in self.due.iter().enumerate() {
            let lost = sent(place).wrapping_sub(due);
            if lost > u32::MAX / 2 {
                return Err(Breach::Foreign { sender: self.first + place as u32 });
            }
            missing += u64::from(lost);
            if lost > 0 && whose.is_none() {
                whose = Some(Breach::Missing { member: place, first: due, next: due.wrapping_add(lost) });
            }
        }
        if missing > self.excused { whose.map_or(Ok(()), Err) } else { Ok(()) }
    }
}

/// The count in a server's notice of messages that a slow member missed: `{"missed":12}`.
pub(crate) fn missed_notice(payload: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(payload).ok()?;
    text.strip_prefix("{\"missed\":")?.strip_suffix('}')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(ledger: &mut Ledger, messages: &[(u32, u32)]) -> Result<(), Breach> {
        messages.iter().try_for_each(|&(sender, number)| ledger.enter(sender, number))
    }

    #[test]
    fn each_sender_has_an_order_of_its_own() {
        let mut ledger = Ledger::new(10, 2);
        assert_eq!(entered(&mut ledger, &[(10, 0), (11, 0), (11, 1), (10, 1)]), Ok(()));
        assert_eq!(ledger.audit(|_| 2), Ok(()));
        assert_eq!(ledger.audit(|_| 3), Err(Breach::Missing { member: 0, first: 2, next: 3 }));
        assert_eq!(ledger.audit(|_| 1), Err(Breach::Foreign { sender: 10 }));
    }

    #[test]
    fn every_breach_is_told_apart() {
        let mut ledger = Ledger::new(10, 2);
        assert_eq!(ledger.enter(9, 0), Err(Breach::Foreign { sender: 9 }));
        assert_eq!(ledger.enter(12, 0), Err(Breach::Foreign { sender: 12 }));
        assert_eq!(ledger.enter(10, 2), Err(Breach::Missing { member: 0, first: 0, next: 2 }));
        assert_eq!(entered(&mut ledger, &[(10, 0), (10, 1), (10, 0)]), Err(Breach::Repeated { member: 0, number: 0 }));
        assert_eq!(ledger.enter(10, 2), Ok(()));
    }

    #[test]
    fn numbers_wrap_around() {
        let mut ledger = Ledger { first: 0, due: Box::new([u32::MAX]), excused: 0 };
        assert_eq!(entered(&mut ledger, &[(0, u32::MAX), (0, 0), (0, 1)]), Ok(()));
        assert_eq!(ledger.enter(0, u32::MAX), Err(Breach::Repeated { member: 0, number: u32::MAX }));
        assert_eq!(ledger.audit(|_| 2), Ok(()));
    }

    #[test]
    fn what_the_server_says_to_have_left_out_may_be_missing_and_not_one_more() {
        let mut ledger = Ledger::new(0, 2);
        ledger.excuse(3);
        assert_eq!(entered(&mut ledger, &[(0, 2), (1, 1)]), Ok(()));
        assert_eq!(ledger.enter(0, 4), Err(Breach::Missing { member: 0, first: 3, next: 4 }));
        ledger.excuse(1);
        assert!(ledger.audit(|_| 4).is_err());
        assert!(
            !ledger.is_excused_too_much(|place| [4, 2][place]) && ledger.is_excused_too_much(|place| [3, 2][place])
        );
        assert_eq!(ledger.audit(|place| [4, 2][place]), Ok(()));
    }

    #[test]
    fn notices_are_read_and_nothing_else_is_one() {
        assert_eq!(missed_notice(b"{\"missed\":12}"), Some(12));
        for other in [&b"{\"missed\":}"[..], b"{\"missed\":-1}", b"{\"missed\":1", b"missed", b"\xff"] {
            assert_eq!(missed_notice(other), None);
        }
    }
}
