//! What a check has verified, and what it saw broken.
//!
//! A score is shared by the check, its blocks, and whoever watches: counting is one addition, and the first broken promise
//! is kept with a sentence. Not for: deciding what is broken.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// A check: its name, and what it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    /// In kebab-case, as scripts read it.
    pub(crate) name: &'static str,
    /// What was verified as often as the count says.
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

    /// `count` more were verified.
    pub(crate) fn verified(&self, count: usize) {
        // Relaxed, here and below: numbers for people; what a check concludes from, it synchronises itself.
        self.count.fetch_add(count as u64, Relaxed);
    }

    /// How many were verified.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The promise is broken; the first sentence is kept.
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

    /// Was it seen broken?
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    /// The outcome so far.
    pub(crate) fn line(&self) -> Line {
        let (name, counts) = (self.check.name, self.check.counts);
        Line { name, ok: !self.is_broken(), count: self.count(), seen: locked(&self.seen).clone(), counts }
    }
}

/// A mutex of this program holds plain values that are whole between any two statements.
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
    /// How often that was verified.
    pub(crate) count: u64,
    /// What was seen instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seen: Option<String>,
    /// What the count counts.
    #[serde(skip)]
    pub(crate) counts: &'static str,
}
