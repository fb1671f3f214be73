//! Who is told of what a poller sees: keys, and what stands behind them.
//!
//! Not for: the system (`wait`), and what is done when an entry is dropped (`poller`). The rules are told there.

use std::io;

use singletrack_queues::{Source, WeakSource};

use super::wait::Events;

/// Bits of a key that are the index; the others are the generation. With 64 bits that is half of them.
const INDEX_BITS: u32 = if usize::BITS == 64 { 32 } else { 20 };
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
/// The last two indices are not used, so that the keys which mean something else (all bits set, all but one) cannot occur.
const INDEX_LIMIT: usize = INDEX_MASK - 1;

/// An index in the table and the generation of what is there.
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

/// Who is told of events, and of which generation they must be: each has the generation itself, so that all of it is two words.
pub(super) enum Entry {
    /// Nobody yet: what came so far.
    Later(u32, u64),
    Source(u32, Source),
    Weak(u32, WeakSource),
}

/// There is one for each socket.
const _: () = assert!(size_of::<Entry>() <= 16);

impl Entry {
    fn generation(&self) -> u32 {
        match *self {
            Entry::Later(generation, _) | Entry::Source(generation, _) | Entry::Weak(generation, _) => generation,
        }
    }
}

/// Sources to be dropped when the table is not locked any more; as a rule none, which allocates nothing.
pub(super) type Passed = Vec<Source>;

/// Who is told what, by index.
#[derive(Default)]
pub(super) struct Table {
    entries: slab::Slab<Entry>,
    /// Grows with each registration; wraps within the bits that a key has for it.
    generation: usize,
}

impl Table {
    /// Sockets that are in it.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn insert(&mut self) -> io::Result<Key> {
        crate::io::make_room(&mut self.entries);
        let entry = self.entries.vacant_entry();
        if entry.key() >= INDEX_LIMIT {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "one poller cannot watch more sockets"));
        }
        self.generation = self.generation.wrapping_add(1);
        let key = Key::new(entry.key(), self.generation);
        entry.insert(Entry::Later(key.generation(), 0));
        Ok(key)
    }

    /// What is there now, if it is what `key` was given to.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.get_mut(key.index()).filter(|entry| entry.generation() == key.generation())
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Entry> {
        self.get(key)?;
        Some(self.entries.remove(key.index()))
    }

    /// Says who is told, and tells what came before.
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
                // Taken from the system before its registration was closed: nobody's event any more.
                None => log::trace!("dropped a stale event of key {:#x}", event.key),
            }
        }
        passed
    }
}
