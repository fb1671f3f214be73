//! Rooms by name: the first member to join makes the room, and it goes when the last one leaves.
//!
//! Not for: what happens inside a room. Rules: the members of a room have one
//! [home](Membership::home), so that one worker reads their messages, broadcasts them and writes
//! them, all in one go. The number of members of a room is kept here, under the same lock as the
//! room itself. The step that ends the last membership also removes the room, so the next one to
//! join makes a new room, and no member is ever in a room that cannot be found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use singletrack_queues::{Isolated, Queue, Runtime};
use singletrack_web::ws::Message;

use crate::room::{Member, Policy, Room, Said};
use crate::route::RoomName;

/// Up to this number of members, a room is at home with one worker. The members beyond it are
/// spread over all workers.
const HOME_MEMBERS: usize = 256;

/// The rooms of one server.
#[derive(Debug)]
pub(crate) struct Directory {
    runtime: Runtime,
    policy: Arc<Policy>,
    rooms: Mutex<HashMap<RoomName, RoomEntry>>,
    /// The number of rooms ever made.
    made: AtomicUsize,
}

#[derive(Debug)]
struct RoomEntry {
    shared: Arc<RoomShared>,
    members: usize,
    home: usize,
}

/// The state that all members of a room share, so that a membership is two words.
#[derive(Debug)]
struct RoomShared {
    directory: Arc<Directory>,
    name: RoomName,
    room: Isolated<Room>,
}

/// The room already has as many members as it may have.
#[derive(Debug)]
pub(crate) struct Full;

impl Directory {
    pub(crate) fn new(runtime: &Runtime, policy: &Arc<Policy>) -> Directory {
        Directory {
            runtime: runtime.clone(),
            policy: policy.clone(),
            rooms: Mutex::default(),
            made: AtomicUsize::new(0),
        }
    }

    /// Joins a room, and makes it if it is not there.
    pub(crate) fn join(self: &Arc<Self>, name: RoomName) -> Result<Membership, Full> {
        let mut rooms = self.rooms();
        let shared = match rooms.entry(name) {
            Entry::Occupied(mut entry) => {
                let entry = entry.get_mut();
                if entry.members >= self.policy.limits.room_members {
                    return Err(Full);
                }
                entry.members += 1;
                entry.shared.clone()
            }
            Entry::Vacant(place) => {
                let name = place.key().clone();
                let queue = Queue::builder(format!("room.{name}")).runtime(&self.runtime).build();
                let room = Isolated::new(&queue, Room::default());
                self.policy.metrics.rooms.add(1);
                let shared = Arc::new(RoomShared { directory: self.clone(), name, room });
                // Relaxed: it only spreads the homes over the workers.
                let home = self.made.fetch_add(1, Ordering::Relaxed);
                place.insert(RoomEntry { shared: shared.clone(), members: 1, home });
                shared
            }
        };
        Ok(Membership { shared, joined: None })
    }

    /// The queues of all rooms, for a barrier behind everything said so far.
    pub(crate) fn queues(&self) -> Vec<Queue> {
        self.rooms().values().map(|entry| entry.shared.room.queue().clone()).collect()
    }

    fn give_up(&self, name: &RoomName) {
        // Dropped after the lock is released: the last handle of a room frees its memory.
        let _gone = {
            let mut rooms = self.rooms();
            let Some(entry) = rooms.get_mut(name) else { return };
            entry.members -= 1;
            if entry.members > 0 {
                return;
            }
            self.policy.metrics.rooms.add(-1);
            rooms.remove(name)
        };
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, RoomEntry>> {
        // Whole between any two statements that change it, so a panic elsewhere does not spoil it.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Membership of a room. Dropping it leaves the room.
#[derive(Debug)]
pub(crate) struct Membership {
    shared: Arc<RoomShared>,
    joined: Option<NonZeroU64>,
}

impl Membership {
    /// The home of this room's members: a number that is mapped to a worker. `None` if there are
    /// too many members for one worker.
    pub(crate) fn home(&self) -> Option<usize> {
        let rooms = self.shared.directory.rooms();
        rooms.get(&self.shared.name).filter(|entry| entry.members <= HOME_MEMBERS).map(|entry| entry.home)
    }

    /// From now on `member` receives what others say.
    pub(crate) fn join(&mut self, member: &Member) {
        let member = member.clone();
        self.joined = NonZeroU64::new(member.id());
        self.shared.room.submit(move |room| room.join(member));
    }

    /// Broadcasts `message` from `from` to the room.
    pub(crate) fn say(&self, from: &Member, message: Message) {
        let said = Said::new(from, message.into_frame());
        self.shared.room.submit_deferred(move |room| room.broadcast(&said));
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some(id) = self.joined {
            self.shared.room.submit(move |room| room.leave(id.get()));
        }
        self.shared.directory.give_up(&self.shared.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use singletrack_web::Limits;
    use singletrack_web::SlowMember;

    fn directory(limits: Limits) -> Arc<Directory> {
        let policy = Policy { limits, metrics: Metrics::new(1), slow_members: SlowMember::Close };
        Arc::new(Directory::new(&Runtime::global(), &Arc::new(policy)))
    }

    fn name(name: &str) -> RoomName {
        RoomName::new(name, &Limits::default()).unwrap()
    }

    #[test]
    fn a_room_lives_from_its_first_seat_to_its_last() {
        let directory = directory(Limits::default());
        let first = directory.join(name("a")).unwrap();
        let second = directory.join(name("a")).unwrap();
        let other = directory.join(name("b")).unwrap();
        assert_eq!((directory.policy.metrics.rooms.get(), directory.queues().len()), (2, 2));
        drop(first);
        drop(other);
        assert_eq!(directory.policy.metrics.rooms.get(), 1);
        drop(second);
        assert_eq!((directory.policy.metrics.rooms.get(), directory.queues().len()), (0, 0));
    }

    #[test]
    fn a_room_has_one_home_the_next_room_another_and_those_beyond_a_number_have_none() {
        let directory = directory(Limits::default());
        let members: Vec<Membership> = (0..=HOME_MEMBERS).map(|_| directory.join(name("a")).unwrap()).collect();
        // The member that came last has no home, and neither has any that would ask now.
        assert_eq!(members[HOME_MEMBERS].home(), None);
        drop(members);
        let (one, two, other) = (directory.join(name("a")), directory.join(name("a")), directory.join(name("b")));
        let homes = [one, two, other].map(|membership| membership.unwrap().home());
        assert_eq!(homes, [Some(1), Some(1), Some(2)]);
    }

    #[test]
    fn a_full_room_takes_nobody_until_somebody_leaves() {
        let mut limits = Limits::default();
        limits.room_members = 2;
        let directory = directory(limits);
        let _first = directory.join(name("a")).unwrap();
        let second = directory.join(name("a")).unwrap();
        assert!(directory.join(name("a")).is_err());
        drop(second);
        assert!(directory.join(name("a")).is_ok());
    }

    #[test]
    fn no_join_is_lost_to_a_room_that_is_being_removed() {
        let directory = directory(Limits::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let membership = directory.join(name("hot")).unwrap();
                        // The room that I have joined is the room that everybody else finds.
                        let found = directory.queues();
                        assert_eq!(found.len(), 1);
                        drop(membership);
                    }
                });
            }
        });
        assert_eq!(directory.policy.metrics.rooms.get(), 0);
    }
}
