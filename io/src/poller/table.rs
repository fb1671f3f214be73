//! The table of a poller: keys, and the entries that get its events.
//!
//! Not for: the system (`wait`), and dropping entries (`poller`). The rules are stated there.

use std::io;

use singletrack_queues::{Source, WeakSource};

use super::wait::Events;

/// Bits of a key that are the index; the others are the generation. With 64 bits that is half of
/// them.
const INDEX_BITS: u32 = if usize::BITS == 64 { 32 } else { 20 };
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
/// The last two indices are not used, so that the two reserved keys (all bits set, all but one)
/// cannot occur.
const INDEX_LIMIT: usize = INDEX_MASK - 1;

/// An index in the table and the generation of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(pub(super) usize);

impl Key {
    fn new(index: usize, generation: usize) -> Key {
        Key(index | generation << INDEX_BITS)
    }

    pub(super) fn index(self) -> usize {
        self.0 & INDEX_MASK
    }

    pub(super) fn generation(self) -> u32 {
        (self.0 >> INDEX_BITS) as u32
    }
}

/// The receiver of events, and the generation that they must have. Each variant has the generation
/// itself, so that an entry is two words.
pub(super) enum Entry {
    /// Not attached yet; the events so far.
    Later(u32, u64),
    Source(u32, Source),
    Weak(u32, WeakSource),
}

/// There is one entry for each socket.
const _: () = assert!(size_of::<Entry>() <= 16);

impl Entry {
    fn generation(&self) -> u32 {
        match *self {
            Entry::Later(generation, _) | Entry::Source(generation, _) | Entry::Weak(generation, _) => generation,
        }
    }
}

/// Sources to drop once the table is unlocked. Usually there are none, and an empty list allocates
/// nothing.
pub(super) type Passed = Vec<Source>;

/// The receiver of events, by index.
#[derive(Default)]
pub(super) struct Table {
    entries: slab::Slab<Entry>,
    /// Grows with each registration; wraps within the bits that a key has for it.
    generation: usize,
}

impl Table {
    /// Returns the number of sockets in the table.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn insert(&mut self) -> io::Result<Key> {
        make_room(&mut self.entries);
        let entry = self.entries.vacant_entry();
        if entry.key() >= INDEX_LIMIT {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "one poller cannot watch more sockets"));
        }
        self.generation = self.generation.wrapping_add(1);
        let key = Key::new(entry.key(), self.generation);
        entry.insert(Entry::Later(key.generation(), 0));
        Ok(key)
    }

    /// Returns the entry at the key's index, if it has the key's generation.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.get_mut(key.index()).filter(|entry| entry.generation() == key.generation())
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Entry> {
        self.get(key)?;
        Some(self.entries.remove(key.index()))
    }

    /// Attaches `source` as `now`, and merges the events so far into it.
    pub(super) fn attach(&mut self, key: Key, source: &Source, now: Entry) {
        let Some(entry) = self.get(key) else { return };
        if let Entry::Later(_, bits) = *entry {
            source.merge(bits);
        }
        *entry = now;
    }

    #[must_use = "what is in it may end when it is dropped, which takes the lock of the table"]
    pub(super) fn deliver(&mut self, ready: Events<'_>) -> Passed {
        let mut passed = Passed::new();
        for event in ready {
            match self.get(Key(event.key)) {
                Some(Entry::Source(_, source)) => source.merge(event.bits),
                Some(Entry::Weak(_, source)) => {
                    if let Some(source) = source.upgrade() {
                        source.merge(event.bits);
                        passed.push(source);
                    }
                }
                Some(Entry::Later(_, bits)) => *bits |= event.bits,
                // It was taken from the system before its registration was closed, so it belongs to
                // no entry.
                None => log::trace!("dropped a stale event of key {:#x}", event.key),
            }
        }
        passed
    }
}

/// Makes room for one more entry. The table grows by an eighth at a time where a vector would
/// double: tables with an entry for each connection would often be half empty.
fn make_room<T>(slab: &mut slab::Slab<T>) {
    if slab.len() == slab.capacity() {
        slab.reserve_exact(slab.len() / 8 + 8);
    }
}
