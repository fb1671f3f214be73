//! Rooms by name: made when the first member takes a seat, gone when the last one leaves.
//!
//! Not for: what happens inside a room. Rule: the number of seats of a room is kept here, under the same lock as the room itself;
//! a room is taken out in the same step in which its last seat goes, so whoever comes later makes a new room and no seat is
//! ever in a room that cannot be found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use singletrack_queues::{Isolated, Queue, Runtime};

use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::room::{Member, Room, Said};
use crate::route::RoomName;
use crate::ws::Message;

/// The rooms of one server.
#[derive(Debug)]
pub(crate) struct Directory {
    runtime: Runtime,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
    rooms: Mutex<HashMap<RoomName, Kept>>,
}

#[derive(Debug)]
struct Kept {
    room: Isolated<Room>,
    seats: usize,
}

/// A room has as many members as it may have.
#[derive(Debug)]
pub(crate) struct Full;

impl Directory {
    pub(crate) fn new(runtime: &Runtime, limits: &Arc<Limits>, metrics: &Arc<Metrics>) -> Directory {
        Directory {
            runtime: runtime.clone(),
            limits: limits.clone(),
            metrics: metrics.clone(),
            rooms: Mutex::default(),
        }
    }

    /// Takes a seat in a room, which is made if it is not there.
    pub(crate) fn seat(self: &Arc<Self>, name: RoomName) -> Result<Seat, Full> {
        let mut rooms = self.rooms();
        let room = match rooms.entry(name.clone()) {
            Entry::Occupied(mut kept) => {
                let kept = kept.get_mut();
                if kept.seats >= self.limits.room_members {
                    return Err(Full);
                }
                kept.seats += 1;
                kept.room.clone()
            }
            Entry::Vacant(place) => {
                let queue = Queue::builder(format!("room.{name}")).runtime(&self.runtime).build();
                let room = Isolated::new(&queue, Room::default());
                self.metrics.rooms.add(1);
                place.insert(Kept { room: room.clone(), seats: 1 });
                room
            }
        };
        Ok(Seat { directory: self.clone(), name, room, joined: None })
    }

    /// The queues of all rooms, for a barrier behind everything said so far.
    pub(crate) fn queues(&self) -> Vec<Queue> {
        self.rooms().values().map(|kept| kept.room.queue().clone()).collect()
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
            self.metrics.rooms.add(-1);
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
    directory: Arc<Directory>,
    name: RoomName,
    room: Isolated<Room>,
    joined: Option<u64>,
}

impl Seat {
    /// Joins: what others say from now on reaches `member`.
    pub(crate) fn join(&mut self, member: &Member) {
        let member = member.clone();
        self.joined = Some(member.id());
        self.room.submit(move |room| room.join(member));
    }

    /// Tells the room what `from` says.
    pub(crate) fn say(&self, from: &Member, message: Message) {
        let said = Said::new(from, message.into_frame());
        self.room.submit_later(move |room| room.broadcast(&said));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(id) = self.joined {
            self.room.submit(move |room| room.leave(id));
        }
        self.directory.give_up(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(limits: Limits) -> (Arc<Directory>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(1));
        (Arc::new(Directory::new(&Runtime::global(), &Arc::new(limits), &metrics)), metrics)
    }

    fn name(name: &str) -> RoomName {
        RoomName::new(name, &Limits::default()).unwrap()
    }

    #[test]
    fn a_room_lives_from_its_first_seat_to_its_last() {
        let (directory, metrics) = directory(Limits::default());
        let first = directory.seat(name("a")).unwrap();
        let second = directory.seat(name("a")).unwrap();
        let other = directory.seat(name("b")).unwrap();
        assert_eq!((metrics.rooms.get(), directory.queues().len()), (2, 2));
        drop(first);
        drop(other);
        assert_eq!(metrics.rooms.get(), 1);
        drop(second);
        assert_eq!((metrics.rooms.get(), directory.queues().len()), (0, 0));
    }

    #[test]
    fn a_full_room_takes_nobody_until_somebody_leaves() {
        let (directory, _) = directory(Limits { room_members: 2, ..Limits::default() });
        let _first = directory.seat(name("a")).unwrap();
        let second = directory.seat(name("a")).unwrap();
        assert!(directory.seat(name("a")).is_err());
        drop(second);
        assert!(directory.seat(name("a")).is_ok());
    }

    #[test]
    fn no_join_is_lost_to_a_room_that_is_being_removed() {
        let (directory, metrics) = directory(Limits::default());
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
        assert_eq!(metrics.rooms.get(), 0);
    }
}
