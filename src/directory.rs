//! Rooms by name: made when the first member takes a seat, gone when the last one leaves.
//!
//! Not for: what happens inside a room. Rules: the members of a room have one [home](Seat::home), so that one worker reads what they
//! say, tells it and writes it, all of a moment at once; the number of seats of a room is kept here, under the same lock as the room itself;
//! a room is taken out in the same step in which its last seat goes, so whoever comes later makes a new room and no seat is
//! ever in a room that cannot be found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use singletrack_queues::{Isolated, Queue, Runtime};

use crate::room::{Member, Room, Said, Terms};
use crate::route::RoomName;
use crate::ws::Message;

/// Seats of a room that are at home with one worker; those beyond are spread over all.
const HOME_SEATS: usize = 256;

/// The rooms of one server.
#[derive(Debug)]
pub(crate) struct Directory {
    runtime: Runtime,
    terms: Arc<Terms>,
    rooms: Mutex<HashMap<RoomName, Kept>>,
    /// Rooms ever made.
    made: AtomicUsize,
}

#[derive(Debug)]
struct Kept {
    hall: Arc<Hall>,
    seats: usize,
    home: usize,
}

/// What all seats of a room share: so a seat is two words.
#[derive(Debug)]
struct Hall {
    directory: Arc<Directory>,
    name: RoomName,
    room: Isolated<Room>,
}

/// A room has as many members as it may have.
#[derive(Debug)]
pub(crate) struct Full;

impl Directory {
    pub(crate) fn new(runtime: &Runtime, terms: &Arc<Terms>) -> Directory {
        Directory { runtime: runtime.clone(), terms: terms.clone(), rooms: Mutex::default(), made: AtomicUsize::new(0) }
    }

    /// Takes a seat in a room, which is made if it is not there.
    pub(crate) fn seat(self: &Arc<Self>, name: RoomName) -> Result<Seat, Full> {
        let mut rooms = self.rooms();
        let hall = match rooms.entry(name) {
            Entry::Occupied(mut kept) => {
                let kept = kept.get_mut();
                if kept.seats >= self.terms.limits.room_members {
                    return Err(Full);
                }
                kept.seats += 1;
                kept.hall.clone()
            }
            Entry::Vacant(place) => {
                let name = place.key().clone();
                let queue = Queue::builder(format!("room.{name}")).runtime(&self.runtime).build();
                let room = Isolated::new(&queue, Room::default());
                self.terms.metrics.rooms.add(1);
                let hall = Arc::new(Hall { directory: self.clone(), name, room });
                // Relaxed: only that the homes go round.
                let home = self.made.fetch_add(1, Ordering::Relaxed);
                place.insert(Kept { hall: hall.clone(), seats: 1, home });
                hall
            }
        };
        Ok(Seat { hall, joined: None })
    }

    /// The queues of all rooms, for a barrier behind everything said so far.
    pub(crate) fn queues(&self) -> Vec<Queue> {
        self.rooms().values().map(|kept| kept.hall.room.queue().clone()).collect()
    }

    fn give_up(&self, name: &RoomName) {
        // Dropped after the lock is released: the last handle of a room frees its memory.
        let _gone = {
            let mut rooms = self.rooms();
            let Some(kept) = rooms.get_mut(name) else { return };
            kept.seats -= 1;
            if kept.seats > 0 {
                return;
            }
            self.terms.metrics.rooms.add(-1);
            rooms.remove(name)
        };
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, Kept>> {
        // Whole between any two statements that change it, so a panic elsewhere does not spoil it.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a room. Dropping it leaves the room.
#[derive(Debug)]
pub(crate) struct Seat {
    hall: Arc<Hall>,
    joined: Option<NonZeroU64>,
}

impl Seat {
    /// Where the members of this room are at home, as a number to be counted round the workers; `None` where they are too many
    /// for one.
    pub(crate) fn home(&self) -> Option<usize> {
        let rooms = self.hall.directory.rooms();
        rooms.get(&self.hall.name).filter(|kept| kept.seats <= HOME_SEATS).map(|kept| kept.home)
    }

    /// Joins: what others say from now on reaches `member`.
    pub(crate) fn join(&mut self, member: &Member) {
        let member = member.clone();
        self.joined = NonZeroU64::new(member.id());
        self.hall.room.submit(move |room| room.join(member));
    }

    /// Tells the room what `from` says.
    pub(crate) fn say(&self, from: &Member, message: Message) {
        let said = Said::new(from, message.into_frame());
        self.hall.room.submit_later(move |room| room.broadcast(&said));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(id) = self.joined {
            self.hall.room.submit(move |room| room.leave(id.get()));
        }
        self.hall.directory.give_up(&self.hall.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::metrics::Metrics;
    use crate::outbox::SlowMember;

    fn directory(limits: Limits) -> Arc<Directory> {
        let terms = Terms { limits, metrics: Metrics::new(1), slow_members: SlowMember::Close };
        Arc::new(Directory::new(&Runtime::global(), &Arc::new(terms)))
    }

    fn name(name: &str) -> RoomName {
        RoomName::new(name, &Limits::default()).unwrap()
    }

    #[test]
    fn a_room_lives_from_its_first_seat_to_its_last() {
        let directory = directory(Limits::default());
        let first = directory.seat(name("a")).unwrap();
        let second = directory.seat(name("a")).unwrap();
        let other = directory.seat(name("b")).unwrap();
        assert_eq!((directory.terms.metrics.rooms.get(), directory.queues().len()), (2, 2));
        drop(first);
        drop(other);
        assert_eq!(directory.terms.metrics.rooms.get(), 1);
        drop(second);
        assert_eq!((directory.terms.metrics.rooms.get(), directory.queues().len()), (0, 0));
    }

    #[test]
    fn a_room_has_one_home_the_next_room_another_and_those_beyond_a_number_have_none() {
        let directory = directory(Limits::default());
        let seats: Vec<Seat> = (0..=HOME_SEATS).map(|_| directory.seat(name("a")).unwrap()).collect();
        // The one that came last has no home, nor has anybody who would ask now.
        assert_eq!(seats[HOME_SEATS].home(), None);
        drop(seats);
        let (one, two, other) = (directory.seat(name("a")), directory.seat(name("a")), directory.seat(name("b")));
        let homes = [one, two, other].map(|seat| seat.unwrap().home());
        assert_eq!(homes, [Some(1), Some(1), Some(2)]);
    }

    #[test]
    fn a_full_room_takes_nobody_until_somebody_leaves() {
        let directory = directory(Limits { room_members: 2, ..Limits::default() });
        let _first = directory.seat(name("a")).unwrap();
        let second = directory.seat(name("a")).unwrap();
        assert!(directory.seat(name("a")).is_err());
        drop(second);
        assert!(directory.seat(name("a")).is_ok());
    }

    #[test]
    fn no_join_is_lost_to_a_room_that_is_being_removed() {
        let directory = directory(Limits::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let seat = directory.seat(name("hot")).unwrap();
                        // The room that has my seat is the room that everybody else finds.
                        let found = directory.queues();
                        assert_eq!(found.len(), 1);
                        drop(seat);
                    }
                });
            }
        });
        assert_eq!(directory.terms.metrics.rooms.get(), 0);
    }
}
