//! A room: its members, and the broadcast of each message to all of them. The state lives on a
//! queue of its own.
//!
//! A [`Member`] is an outbox and a way to wake the owner that empties it. The connection makes
//! both, and the room borrows them, without knowing what kind of connection that is. Not for:
//! finding rooms by name (`directory`), encoding (`ws`), writing (`conn`).
//!
//! Rules: a message is encoded once, by its sender, and shared. Only the push that finds an outbox
//! empty wakes the owner, behind everything that already waits, so that the frames of a turn leave
//! together. The amount that a member has said and the room has not yet broadcast is bounded,
//! because the owner stops reading at [`Member::is_ahead`].

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use singletrack_queues::{Queue, Source, apply_chunks};
use singletrack_web::Limits;
use singletrack_web::outbox::{Outbox, Push, SlowMember};
use singletrack_web::ws::{Close, CloseCode};

use crate::metrics::Metrics;

/// An outbox that was empty has something to send.
pub(crate) const FLUSH: u64 = 1 << 8;
/// The room has caught up, so the member may say more.
pub(crate) const RESUME: u64 = 1 << 9;

/// The most that a member may have said before its room has broadcast it: bytes, plus a fixed cost
/// for each message.
const AHEAD: u32 = 128 * 1024;
const MESSAGE_COST: u32 = 512;
/// A bit of the count of what was said and not yet broadcast: the owner has stopped reading and
/// wants [`RESUME`].
const WAITING: u32 = 1 << (u32::BITS - 1);

/// The cost of a message. It is capped: one message alone can stop its member, and a huge one must
/// still fit into the count.
fn cost(frame: &Bytes) -> u32 {
    MESSAGE_COST + u32::try_from(frame.len()).map_or(AHEAD, |bytes| bytes.min(AHEAD))
}

/// The policy for all members of a server, and the counters.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) slow_members: SlowMember,
}

/// From this number of members on, all workers take part in a broadcast. Below it, waking them
/// costs more than they save.
const HUGE: usize = 2_048;
/// The largest frame that is copied for each part of a huge room. A part is some hundred members.
const COPIED: usize = 4096;

/// An outbox and a way to wake its owner, which is a source that shares it. A clone is the same
/// member.
#[derive(Clone)]
pub(crate) struct Member(Source<Shared>);

/// What others see of a member.
pub(crate) struct Shared {
    id: u64,
    output: Mutex<Output>,
    /// Whether the owner runs now and will flush when done. Only read and written on the owner's
    /// queue.
    in_turn: AtomicBool,
    /// Whether a close is queued. The outbox knows it too, but the owner asks often.
    closing: AtomicBool,
    /// The cost of what was said and not yet broadcast, and the bit [`WAITING`].
    ahead: AtomicU32,
    policy: Arc<Policy>,
}

/// What waits for a member, and how it ends.
pub(crate) struct Output {
    pub(crate) outbox: Outbox,
    /// The close that was queued, if any.
    pub(crate) close: Option<Box<Close>>,
}

impl Shared {
    /// For a source that its connection makes, on a serial queue.
    pub(crate) fn new(id: u64, outbox: Outbox, policy: &Arc<Policy>) -> Shared {
        Shared {
            id,
            output: Mutex::new(Output { outbox, close: None }),
            in_turn: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            ahead: AtomicU32::new(0),
            policy: policy.clone(),
        }
    }
}

impl Member {
    /// The member whose owner is `source`.
    pub(crate) fn of(source: &Source<Shared>) -> Member {
        Member(source.clone())
    }

    fn shared(&self) -> &Shared {
        self.0.shared()
    }

    pub(crate) fn id(&self) -> u64 {
        self.shared().id
    }

    pub(crate) fn queue(&self) -> &Queue {
        self.0.queue().expect("a connection is on a serial queue")
    }

    pub(crate) fn output(&self) -> MutexGuard<'_, Output> {
        // An outbox is whole between any two of its calls, so a panic elsewhere does not spoil it.
        self.shared().output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner's turn begins. It flushes at its end, so nobody on its queue needs to wake it.
    pub(crate) fn begin_turn(&self) {
        // Relaxed: only blocks of the owner's queue look at it, and those are ordered.
        self.shared().in_turn.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end_turn(&self) {
        self.shared().in_turn.store(false, Ordering::Relaxed);
    }

    /// Whether a close was queued, by the owner or by a thread that then woke it.
    pub(crate) fn is_closing(&self) -> bool {
        // Relaxed: a thread that sets it wakes the owner afterwards, which orders the store before
        // the turn that has to see it. A turn that runs meanwhile may see it or not, as if the
        // close had come earlier or later.
        self.shared().closing.load(Ordering::Relaxed)
    }

    /// A close waits in `output`, for the reason `close`.
    fn ends(&self, output: &mut Output, close: Close) {
        output.close = Some(Box::new(close));
        // Relaxed: see `is_closing`.
        self.shared().closing.store(true, Ordering::Relaxed);
    }

    /// Queues a message from anywhere, under the policy for slow members.
    pub(crate) fn push(&self, frame: &Bytes) -> bool {
        let pushed = {
            let mut output = self.output();
            let Policy { limits, slow_members, .. } = &*self.shared().policy;
            let pushed = output.outbox.push(frame, limits, *slow_members);
            if pushed == Push::Full {
                self.ends(&mut output, Close::new(CloseCode::TRY_AGAIN, "too slow"));
            }
            pushed
        };
        match pushed {
            Push::Queued { first } => {
                if first {
                    self.wake();
                }
                true
            }
            Push::Missed => {
                self.shared().policy.metrics.missed.add(1);
                false
            }
            Push::Full => {
                self.shared().policy.metrics.slow_members.add(1);
                log::debug!("{} is too slow and is closed", self.0.label());
                self.wake();
                false
            }
            Push::Closing => false,
        }
    }

    /// Queues a message that answers the owner's own input. Reading stops while too much waits, so
    /// no policy is needed. From another queue it is the same as [`push`](Self::push).
    pub(crate) fn answer(&self, frame: Bytes) -> bool {
        if !self.queue().is_current() {
            return self.push(&frame);
        }
        let pushed = self.output().outbox.push_own(frame);
        self.wake_unless_in_turn(pushed);
        pushed != Push::Closing
    }

    /// Counts a message that was queued for this member alone.
    pub(crate) fn count_sent(&self, sent: bool) {
        self.shared().policy.metrics.traffic().messages_out.add(u64::from(sent));
    }

    /// Queues a close behind what waits: `frame` is the last thing that the peer receives.
    pub(crate) fn close(&self, close: Close, frame: Bytes) {
        let pushed = {
            let mut output = self.output();
            let pushed = output.outbox.push_close(frame);
            if pushed != Push::Closing {
                self.ends(&mut output, close);
            }
            pushed
        };
        if self.queue().is_current() {
            self.wake_unless_in_turn(pushed);
        } else if pushed != Push::Closing {
            self.wake();
        }
    }

    fn wake_unless_in_turn(&self, pushed: Push) {
        if pushed != Push::Closing && !self.shared().in_turn.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    fn wake(&self) {
        self.signal(FLUSH);
    }

    /// Makes the owner run with `bits`, behind everything that already waits.
    pub(crate) fn signal(&self, bits: u64) {
        self.0.merge_deferred(bits);
    }

    /// Whether the member has said so much that the room must catch up first. If so, [`RESUME`]
    /// comes once it has.
    pub(crate) fn is_ahead(&self) -> bool {
        // The common case without a write. Relaxed: a stale value only shifts the moment of the
        // stop.
        if self.shared().ahead.load(Ordering::Relaxed) < AHEAD {
            return false;
        }
        // One word and read-modify-writes only: either `told` comes later and sees the bit, or this
        // sees what `told` left.
        if self.shared().ahead.fetch_or(WAITING, Ordering::AcqRel) & !WAITING < AHEAD {
            self.shared().ahead.fetch_and(!WAITING, Ordering::AcqRel);
            return false;
        }
        true
    }

    fn said(&self, cost: u32) {
        self.shared().ahead.fetch_add(cost, Ordering::AcqRel);
    }

    fn told(&self, cost: u32) {
        let before = self.shared().ahead.fetch_sub(cost, Ordering::AcqRel);
        let left = (before & !WAITING) - cost;
        if before & WAITING != 0
            && left <= AHEAD / 2
            && self.shared().ahead.fetch_and(!WAITING, Ordering::AcqRel) & WAITING != 0
        {
            self.signal(RESUME);
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Member").field(&self.shared().id).finish()
    }
}

/// A message on its way from a member to its room.
pub(crate) struct Said {
    from: Member,
    frame: Bytes,
}

impl Said {
    pub(crate) fn new(from: &Member, frame: Bytes) -> Said {
        from.said(cost(&frame));
        Said { from: from.clone(), frame }
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        // Here, so that a message that is dropped before its broadcast does not count for ever.
        self.from.told(cost(&self.frame));
    }
}

/// The members of a room, ordered by number. A later member usually has a higher number, and so
/// goes to the end.
#[derive(Debug, Default)]
pub(crate) struct Room {
    members: Vec<Member>,
}

impl Room {
    pub(crate) fn join(&mut self, member: Member) {
        let place = self.members.partition_point(|other| other.id() < member.id());
        self.members.insert(place, member);
    }

    pub(crate) fn leave(&mut self, id: u64) {
        let Ok(place) = self.members.binary_search_by_key(&id, Member::id) else { return };
        self.members.remove(place);
        // Most have left. Half of the space stays free, so that the list does not alternate between
        // growing and shrinking.
        if self.members.len() < self.members.capacity() / 4 {
            self.members.shrink_to(self.members.len() * 2);
        }
    }

    /// Sends a message to all members, the sender included. In a huge room each free worker takes a
    /// part and also writes to it. The next message waits until all members have this one, so that
    /// every member receives all messages in the same order.
    pub(crate) fn broadcast(&mut self, said: &Said) {
        let tell = |members: &[Member], frame: &Bytes| {
            let told = members.iter().filter(|member| member.push(frame)).count();
            said.from.shared().policy.metrics.traffic().messages_out.add(told as u64);
        };
        if self.members.len() < HUGE {
            return tell(&self.members, &said.frame);
        }
        apply_chunks(self.members.len(), |part| {
            // A shared frame has one reference count: one copy for each part, or all cores would
            // contend for one word.
            let frame =
                if said.frame.len() <= COPIED { Bytes::copy_from_slice(&said.frame) } else { said.frame.clone() };
            tell(&self.members[part], &frame);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use singletrack_queues::{Isolated, Runtime};
    use singletrack_web::ws::Message;
    use std::collections::HashSet;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    /// A member whose owner is `turn`.
    fn owned(
        id: u64,
        queue: &Queue,
        policy: &Arc<Policy>,
        turn: impl FnMut(&Source<Shared>, u64) + Send + 'static,
    ) -> Member {
        let shared = Shared::new(id, Outbox::new(), policy);
        Member::of(&Source::builder(queue).sharing(shared).build_with_self(turn))
    }

    fn member(id: u64, limits: Limits, policy: SlowMember) -> (Member, Receiver<u64>) {
        let queue = Queue::new("test.member");
        let policy = Policy { limits, metrics: Metrics::new(1), slow_members: policy };
        let (tell, woken) = channel();
        let member = owned(id, &queue, &Arc::new(policy), move |_, bits| tell.send(bits).unwrap_or_default());
        (member, woken)
    }

    fn say(room: &mut Room, from: &Member, text: &str) {
        room.broadcast(&Said::new(from, Message::text(text).into_frame()));
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn what_a_silent_member_costs_does_not_grow_unnoticed() {
        assert!(size_of::<Shared>() <= 48, "{}", size_of::<Shared>());
    }

    #[test]
    fn all_members_are_told_in_order_and_woken_once() {
        let mut room = Room::default();
        let (a, a_woken) = member(1, Limits::default(), SlowMember::Close);
        let (b, b_woken) = member(2, Limits::default(), SlowMember::Close);
        room.join(a.clone());
        room.join(b.clone());
        say(&mut room, &a, "one");
        say(&mut room, &b, "two");
        for (member, woken) in [(&a, a_woken), (&b, b_woken)] {
            let lent = member.output().outbox.lend().unwrap();
            let told: Vec<&[u8]> = lent.frames().iter().map(|frame| &frame[2..]).collect();
            assert_eq!(told, [&b"one"[..], b"two"]);
            member.output().outbox.give_back(lent);
            assert_eq!(woken.recv_timeout(SOON), Ok(FLUSH));
            member.queue().sync(|| {});
            assert!(woken.try_recv().is_err(), "woken twice for one burst");
        }
        room.leave(2);
        say(&mut room, &a, "three");
        assert_eq!((a.output().outbox.len(), b.output().outbox.len()), (3, 2));
    }

    #[test]
    fn a_huge_room_is_told_in_one_order_and_by_more_than_one_worker() {
        let runtime = Runtime::builder().workers(2).name("huge").build().unwrap();
        let policy = Policy { limits: Limits::default(), metrics: Metrics::new(2), slow_members: SlowMember::Close };
        let policy = Arc::new(policy);
        let room = Isolated::new(&runtime.queue("room"), Room::default());
        let flushers = Arc::new(Mutex::new(HashSet::new()));
        let heard = Arc::new(Mutex::new(vec![Vec::new(); HUGE]));
        let members: Vec<Member> = (0..HUGE)
            .map(|id| {
                let (flushers, heard) = (flushers.clone(), heard.clone());
                let member = owned(id as u64, &runtime.queue("member"), &policy, move |source, _| {
                    let own = Member::of(source);
                    let lend = || own.output().outbox.lend();
                    while let Some(mut lent) = lend() {
                        heard.lock().unwrap()[id].extend(lent.frames().iter().map(|frame| frame[2..].to_vec()));
                        lent.advance(usize::MAX);
                        own.output().outbox.give_back(lent);
                    }
                    flushers.lock().unwrap().insert(std::thread::current().id());
                });
                let joins = member.clone();
                room.submit(move |room| room.join(joins));
                member
            })
            .collect();
        let began = std::time::Instant::now();
        let mut said = Vec::new();
        // How soon the second worker comes depends on the machine.
        while flushers.lock().unwrap().len() < 2 {
            assert!(began.elapsed() < SOON, "one worker did it all");
            for _ in 0..3 {
                let text = format!("{}", said.len());
                let message = Said::new(&members[said.len()], Message::text(&text).into_frame());
                room.submit_deferred(move |room| room.broadcast(&message));
                said.push(text.into_bytes());
            }
            room.sync(|_| {});
        }
        while !heard.lock().unwrap().iter().all(|heard| heard.len() == said.len()) {
            assert!(began.elapsed() < SOON, "a member missed it");
            std::thread::yield_now();
        }
        assert!(heard.lock().unwrap().iter().all(|heard| *heard == said));
        let told = policy.metrics.text(&runtime.stats());
        assert!(told.contains(&format!("singletrack_messages_out_total {}\n", HUGE * said.len())), "{told}");
    }

    #[test]
    fn a_member_that_does_not_keep_up_is_closed_and_the_others_notice_nothing() {
        let mut room = Room::default();
        let mut limits = Limits::default();
        limits.outbox_frames = 3;
        let (slow, _) = member(1, limits, SlowMember::Close);
        let (quick, _) = member(2, Limits::default(), SlowMember::Close);
        room.join(slow.clone());
        room.join(quick.clone());
        for _ in 0..5 {
            say(&mut room, &quick, "x");
        }
        assert_eq!(slow.output().close.as_ref().map(|close| close.code.0), Some(1013));
        assert_eq!(slow.output().outbox.len(), 1);
        assert_eq!(quick.output().outbox.len(), 5);
    }

    #[test]
    fn a_member_that_is_ahead_is_resumed_when_the_room_has_caught_up() {
        let (member, woken) = member(1, Limits::default(), SlowMember::Close);
        let mut said = Vec::new();
        while !member.is_ahead() {
            said.push(Said::new(&member, Bytes::from(vec![0; 10_000])));
        }
        assert!(said.len() > 2);
        assert!(woken.try_recv().is_err());
        drop(said);
        assert_eq!(woken.recv_timeout(SOON), Ok(RESUME));
        assert!(!member.is_ahead());
    }

    #[test]
    fn a_member_that_is_ahead_is_resumed_once_when_half_of_it_is_told() {
        let (member, woken) = member(1, Limits::default(), SlowMember::Close);
        let waits = |member: &Member| member.shared().ahead.load(Ordering::Relaxed) & WAITING != 0;
        member.said(AHEAD - 1);
        assert!(!member.is_ahead() && !waits(&member));
        member.said(1);
        assert!(member.is_ahead() && waits(&member));
        member.told(AHEAD / 2 - 1);
        assert!(waits(&member), "more than half is left");
        member.told(1);
        assert_eq!((waits(&member), woken.recv_timeout(SOON)), (false, Ok(RESUME)));
        assert!(!member.is_ahead());
        member.told(AHEAD / 2);
        assert_eq!(member.shared().ahead.load(Ordering::Relaxed), 0);
        assert_eq!(cost(&Bytes::from_static(b"four")), MESSAGE_COST + 4);
    }
}
