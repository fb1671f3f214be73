//! The core is the part that the channels of one descriptor share: the line of operations and
//! barriers, and the operations under way.
//!
//! It lives on a serial queue of its own, so everything here runs one at a time and nothing needs a
//! lock. System calls on watched descriptors are made here, because they do not block. System calls
//! on files are sent to the disk threads and come back as a block. Not for: how far one operation
//! is (`operation`), system calls (`descriptor`), calling handlers (`sink`).
//!
//! The line is cut into generations: a barrier ends one. Operations of the first generation begin
//! as [`Core::next`] allows:
//!
//! | order | begins when |
//! |---|---|
//! | stream that is watched | nothing in the same direction is moving |
//! | stream over a file (one shared position) | nothing is moving or was submitted earlier |
//! | random | fewer than [`PARALLEL`] operations are moving |
//!
//! In addition, a read begins only while the handlers of earlier reads hold no more than its high
//! water. An operation *moves* until its last byte is transferred. It is *over* when its handler
//! has returned from the last delivery. A barrier waits until everything before it is over. The
//! descriptor is given back when the last channel is closed and everything is over.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use singletrack_queues::{Isolated, Source, Submitter, Timer};

use super::barrier::{self, Barrier};
use super::descriptor::{self, Descriptor};
use super::disk_pool::DiskPool;
use super::error::ChannelError;
use super::line::{Entry, Line, Sink, lane, verb};
use super::operation::Due;
use super::place::Place;
use super::sink::{self, Handler};
use super::step::{self, Call, Moved, Next};

/// The number of operations of a random channel that move at once.
const PARALLEL: usize = 8;
/// The shortest interval: a shorter one would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

/// The core on its queue: the handle that returning blocks hold.
pub(super) type Desk = Isolated<Core>;

pub(super) type Cleanup = Box<dyn FnOnce(Option<OwnedFd>) + Send>;

/// Submits `f` to the core.
pub(super) fn at(desk: &Desk, f: impl FnOnce(&mut Core, &Desk) + Send + 'static) {
    let own = desk.clone();
    desk.submit(move |core| f(core, &own));
}

/// The order among the operations of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Stream,
    Random,
}

/// See the module.
pub(super) struct Core {
    pub(super) name: Arc<str>,
    disk_pool: DiskPool,
    order: Order,
    place: Place,
    /// The channels that are still open.
    channels: BTreeSet<u64>,
    cleanup: Option<(Submitter, Cleanup)>,
    line: Line,
    begun: BTreeMap<u64, Entry>,
    /// Those of the operations that are moving, by lane.
    moving: [Vec<u64>; 2],
    /// Bytes of reads that handlers hold.
    held: usize,
    next: u64,
    in_barrier: bool,
}

impl Core {
    pub(super) fn new(
        disk_pool: &DiskPool,
        name: Arc<str>,
        order: Order,
        place: Place,
        channel: u64,
        cleanup: Option<(Submitter, Cleanup)>,
    ) -> Desk {
        let queue = disk_pool.runtime.queue(format!("channel {name}"));
        let core = Core {
            name,
            disk_pool: disk_pool.clone(),
            order,
            place,
            channels: BTreeSet::from([channel]),
            cleanup,
            line: Line::default(),
            begun: BTreeMap::new(),
            moving: <[Vec<u64>; 2]>::default(),
            held: 0,
            next: 0,
            in_barrier: false,
        };
        Isolated::new(&queue, core)
    }

    /// Adds another channel for the same descriptor. Once the descriptor is given back, the new
    /// channel is closed.
    pub(super) fn join(&mut self, channel: u64) {
        if !matches!(self.place, Place::GivenBack) {
            self.channels.insert(channel);
        }
    }

    /// Puts an operation into the line; an operation of a closed channel ends at once.
    pub(super) fn submit(&mut self, desk: &Desk, mut entry: Entry) {
        entry.id = self.next;
        self.next += 1;
        if self.channels.contains(&entry.channel) {
            self.line.push(entry);
        } else {
            let (channel, operation) = (self.name.clone(), verb(&entry.operation));
            entry.operation.end(Some(ChannelError::Closed { channel, operation }));
            self.begin(desk, entry);
        }
        self.advance(desk);
    }

    /// Puts a barrier into the line. On a closed channel it runs too, with the error in place of
    /// the descriptor.
    pub(super) fn barrier(&mut self, desk: &Desk, channel: u64, barrier: Barrier) {
        if !self.channels.contains(&channel) {
            let error = ChannelError::Closed { channel: self.name.clone(), operation: "run a barrier on" };
            return barrier.refuse(error);
        }
        self.line.push_barrier(barrier);
        self.advance(desk);
    }

    /// Closes the channel to new operations; with `stop`, its submitted operations end now.
    pub(super) fn close(&mut self, desk: &Desk, channel: u64, stop: bool) {
        self.channels.remove(&channel);
        if stop {
            let name = self.name.clone();
            let own = |id: &u64| self.begun.get(id).is_some_and(|entry| entry.channel == channel);
            let moving: Vec<u64> = self.moving.iter().flatten().copied().filter(own).collect();
            for id in moving {
                self.change(desk, id, |entry| entry.stop(&name));
            }
            // Not in turn: operations before these may belong to another channel, and may take for
            // ever.
            for mut entry in self.line.take_out(channel) {
                entry.stop(&name);
                self.begin(desk, entry);
            }
        }
        self.advance(desk);
    }

    /// Begins the operations that may begin, runs the barrier whose turn it is, and gives the
    /// descriptor back when all is over.
    pub(super) fn advance(&mut self, desk: &Desk) {
        if self.open_if_wanted(desk) || matches!(self.place, Place::Opening) || self.in_barrier {
            return;
        }
        while let Some(entry) = self.next() {
            self.begin(desk, entry);
        }
        if !self.begun.is_empty() {
            return;
        }
        if let Some(barrier) = self.line.take_barrier() {
            self.run_barrier(desk, barrier);
        } else if self.line.is_empty() && self.channels.is_empty() && !matches!(self.place, Place::GivenBack) {
            self.give_back();
        }
    }

    /// Takes the next operation that may begin now.
    fn next(&mut self) -> Option<Entry> {
        let is_free = |entry: &Entry| {
            if entry.operation.has_ended() || matches!(self.place, Place::Failed(_)) {
                return true;
            }
            let moving = self.moving.each_ref().map(Vec::len);
            let has_room = match (self.order, &self.place) {
                (Order::Random, _) => moving[0] + moving[1] < PARALLEL,
                (Order::Stream, Place::Open(open)) if open.is_watched() => moving[lane(&entry.operation)] == 0,
                (Order::Stream, _) => moving == [0; 2],
            };
            has_room && (!entry.operation.is_read() || self.held <= entry.operation.marks().high)
        };
        let in_turn = self.order == Order::Stream && matches!(&self.place, Place::Open(open) if !open.is_watched());
        self.line.take_first(in_turn, is_free)
    }

    fn begin(&mut self, desk: &Desk, mut entry: Entry) {
        if let (None, Err(error)) = (&entry.operation.error, self.place.allows(&entry.operation, &self.name)) {
            entry.operation.fail(error);
        }
        let id = entry.id;
        if entry.is_moving() {
            self.moving[lane(&entry.operation)].push(id);
            if let Some(interval) = entry.operation.marks().interval {
                entry.timer = Some(tick_after(desk, id, interval.every));
            }
        }
        self.begun.insert(id, entry);
        self.drive(desk, id);
    }

    /// Changes an operation that has begun, and handles the consequences.
    fn change(&mut self, desk: &Desk, id: u64, f: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.begun.get_mut(&id) else { return };
        let before = entry.is_moving();
        f(entry);
        self.still_moving(id, before);
        self.drive(desk, id);
    }

    /// Updates the list of moving operations.
    fn still_moving(&mut self, id: u64, before: bool) {
        if let Some(entry) = self.begun.get(&id).filter(|entry| before && !entry.is_moving()) {
            self.moving[lane(&entry.operation)].retain(|moving| *moving != id);
        }
    }

    /// Moves the bytes that can be moved now and delivers what is due. The caller advances the
    /// line.
    fn drive(&mut self, desk: &Desk, id: u64) {
        loop {
            if let Some(entry) = self.begun.get_mut(&id) {
                let before = entry.is_moving();
                if let Place::Open(open) = &mut self.place {
                    match step::step(entry, open, &self.name) {
                        Next::Wait => {}
                        Next::Again => at(desk, move |core, desk| core.again(desk, id)),
                        Next::OnDisk(call) => call_on_disk(&self.disk_pool, desk, id, call),
                    }
                }
                self.still_moving(id, before);
            }
            if !self.deliver(desk, id) {
                return;
            }
        }
    }

    /// Delivers what is due. Returns `true` if there was a delivery.
    fn deliver(&mut self, desk: &Desk, id: u64) -> bool {
        let Some(entry) = self.begun.get_mut(&id) else { return false };
        match &mut entry.sink {
            Sink::Handler(queue, handler) => {
                let Some(Due { done, data }) = handler.as_ref().and_then(|_| entry.operation.due()) else {
                    return false;
                };
                let Some(handler) = handler.take() else { return false };
                if entry.operation.is_read() {
                    entry.held = data.len();
                    self.held += entry.held;
                }
                let (error, desk) = (entry.operation.error.clone().filter(|_| done), desk.clone());
                let back = move |handler| at(&desk.clone(), move |core, desk| core.handled(desk, id, done, handler));
                sink::call(queue, handler, (done, data, error), back);
                !done
            }
            Sink::Whole(whole) => {
                if let Some(Due { data, .. }) = entry.operation.due().filter(|due| due.done) {
                    let error = entry.operation.error.take();
                    if let Some(whole) = whole.take() {
                        whole(error, data);
                    }
                    self.remove(id);
                }
                false
            }
            Sink::Nobody => {
                if !entry.is_moving() {
                    self.remove(id);
                }
                false
            }
        }
    }

    /// A handler has returned, and no hold of its delivery is left. `handler` is `None` if it is
    /// done, panicked, or was dropped with its queue.
    fn handled(&mut self, desk: &Desk, id: u64, done: bool, handler: Option<Handler>) {
        let Some(entry) = self.begun.get_mut(&id) else { return };
        self.held -= std::mem::take(&mut entry.held);
        if done {
            self.remove(id);
        } else {
            let name = self.name.clone();
            self.change(desk, id, |entry| match (handler, &mut entry.sink) {
                (Some(handler), Sink::Handler(_, place)) => *place = Some(handler),
                _ => {
                    entry.sink = Sink::Nobody;
                    entry.stop(&name);
                }
            });
        }
        self.advance(desk);
    }

    fn remove(&mut self, id: u64) {
        if let Some(timer) = self.begun.remove(&id).and_then(|entry| entry.timer) {
            timer.cancel();
        }
    }

    /// Handles the end of an operation's interval.
    fn tick(&mut self, desk: &Desk, id: u64) {
        self.change(desk, id, |entry| {
            entry.operation.tick();
            entry.timer = match entry.operation.marks().interval {
                Some(interval) if entry.is_moving() => Some(tick_after(desk, id, interval.every)),
                _ => None,
            };
        });
        self.advance(desk);
    }

    /// Takes the result of a disk thread.
    fn moved(&mut self, desk: &Desk, id: u64, moved: io::Result<Moved>) {
        let name = self.name.clone();
        self.change(desk, id, |entry| {
            entry.busy = false;
            step::take_in(entry, moved, &name);
            if let Some(error) = entry.stopped.take() {
                entry.operation.end(Some(error));
            }
        });
        self.advance(desk);
    }

    /// Continues an operation that had moved enough for one block.
    fn again(&mut self, desk: &Desk, id: u64) {
        self.change(desk, id, |entry| entry.again = false);
        self.advance(desk);
    }

    /// Handles an event of the watched descriptor.
    pub(super) fn ready(&mut self, desk: &Desk, bits: u64) {
        if let Place::Open(open) = &mut self.place {
            open.ready(bits);
        }
        self.drive_all(desk);
    }

    /// Drives the moving operations: at most two of a watched stream.
    fn drive_all(&mut self, desk: &Desk) {
        let moving: Vec<u64> = self.moving.iter().flatten().copied().collect();
        moving.into_iter().for_each(|id| self.drive(desk, id));
        self.advance(desk);
    }

    /// Opens the path when there is work for it. Returns `true` while the file is being opened.
    fn open_if_wanted(&mut self, desk: &Desk) -> bool {
        if self.line.is_empty() || !matches!(self.place, Place::Path(..)) {
            return false;
        }
        let Place::Path(path, options) = std::mem::replace(&mut self.place, Place::Opening) else { return false };
        let desk = desk.clone();
        self.disk_pool.on_disk(move || {
            let opened = step::open(&path, options).map_err(|error| ChannelError::open(path, error));
            at(&desk, move |core, desk| core.opened(desk, opened));
        });
        true
    }

    fn opened(&mut self, desk: &Desk, fd: Result<OwnedFd, ChannelError>) {
        let opened = fd.and_then(|fd| self.take_over(desk, fd));
        self.place = opened.map_or_else(Place::Failed, Place::Open);
        self.advance(desk);
    }

    /// Takes the descriptor that a new core is given.
    pub(super) fn start(&mut self, desk: &Desk, fd: OwnedFd) -> Result<(), ChannelError> {
        self.place = Place::Open(self.take_over(desk, fd)?);
        Ok(())
    }

    fn take_over(&self, desk: &Desk, fd: OwnedFd) -> Result<Descriptor, ChannelError> {
        if let Some(why) = descriptor::without_bytes(&fd) {
            return Err(ChannelError::NoBytes { channel: self.name.clone(), why });
        }
        let (queue, desk) = (desk.queue().clone(), desk.clone());
        let told = move || Source::new(&queue, move |bits| at(&desk, move |core, desk| core.ready(desk, bits)));
        let open = Descriptor::new(fd, &self.disk_pool.io, told)
            .map_err(|error| ChannelError::system(&self.name, "prepare", error))?;
        if self.order == Order::Random && !open.has_offsets() {
            return Err(ChannelError::NoOffsets { channel: self.name.clone() });
        }
        Ok(open)
    }

    fn run_barrier(&mut self, desk: &Desk, barrier: Barrier) {
        self.in_barrier = true;
        let fd = self.place.descriptor(&self.name);
        let own = desk.clone();
        barrier::run(barrier, desk.queue(), fd, move || at(&own, Core::barrier_is_over));
    }

    /// The block of a barrier has ended, or will never run: the line continues.
    fn barrier_is_over(&mut self, desk: &Desk) {
        self.in_barrier = false;
        self.advance(desk);
    }

    fn give_back(&mut self) {
        let (fd, is_file) = self.place.give_back(&self.name);
        match self.cleanup.take() {
            Some((queue, cleanup)) => queue.submit(move || cleanup(fd)),
            // Closing a file may block.
            None if is_file => self.disk_pool.on_disk(move || drop(fd)),
            None => drop(fd),
        }
    }
}

fn call_on_disk(disk_pool: &DiskPool, desk: &Desk, id: u64, call: Call) {
    let desk = desk.clone();
    disk_pool.on_disk(move || {
        let moved = call.make();
        at(&desk, move |core, desk| core.moved(desk, id, moved));
    });
}

fn tick_after(desk: &Desk, id: u64, every: Duration) -> Timer {
    let own = desk.clone();
    desk.submit_after(every.max(SHORTEST), move |core| core.tick(&own, id))
}
