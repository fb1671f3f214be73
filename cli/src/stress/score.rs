//! The number of verified promises of a check, and the first broken one.
//!
//! A score is shared by the check, its blocks, and its observers: counting is one addition, and the
//! first broken promise is kept with a sentence. Not for: deciding what is broken.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// A check: its name, and what it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    /// In kebab-case, as scripts read it.
    pub(crate) name: &'static str,
    /// The unit of the count.
    pub(crate) counts: &'static str,
}

/// The score of one check.
#[derive(Debug)]
pub(crate) struct Score {
    check: Check,
    count: AtomicU64,
    broken: AtomicBool,
    seen: Mutex<Option<String>>,
}

impl Score {
    /// Nothing verified yet.
    pub(crate) fn new(check: Check) -> Score {
        Score { check, count: AtomicU64::new(0), broken: AtomicBool::new(false), seen: Mutex::new(None) }
    }

    /// The name of the check.
    pub(crate) fn name(&self) -> &'static str {
        self.check.name
    }

    /// Counts `count` more as verified.
    pub(crate) fn verified(&self, count: usize) {
        // Relaxed, here and below: numbers for people. A check synchronises what it concludes from.
        self.count.fetch_add(count as u64, Relaxed);
    }

    /// The number of verifications.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The promise is broken. The first sentence is kept.
    pub(crate) fn broken(&self, sentence: impl FnOnce() -> String) {
        if !self.broken.swap(true, Relaxed) {
            *locked(&self.seen) = Some(sentence());
        }
    }

    /// The promise is broken unless `holds`.
    pub(crate) fn expect(&self, holds: bool, sentence: impl FnOnce() -> String) {
        if !holds {
            self.broken(sentence);
        }
    }

    /// Whether it was seen broken.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    /// The outcome so far.
    pub(crate) fn line(&self) -> Line {
        let (name, counts) = (self.check.name, self.check.counts);
        Line { name, ok: !self.is_broken(), count: self.count(), seen: locked(&self.seen).clone(), counts }
    }
}

/// Locks a mutex. In this program a mutex holds plain values that are whole between any two
/// statements.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outcome of one check, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    /// The check.
    pub(crate) name: &'static str,
    /// Its promise held.
    pub(crate) ok: bool,
    /// The number of verifications.
    pub(crate) count: u64,
    /// What was seen instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seen: Option<String>,
    /// The unit of the count.
    #[serde(skip)]
    pub(crate) counts: &'static str,
}
