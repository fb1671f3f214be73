//! How long a thread lets what was put off wait for everything else.
//!
//! What was put off ([`Place::Later`](super::Place::Later)) has its round when its thread has nothing else: no runnable of its
//! own, none to take from others, and one more look at the parker brought none. So a server reads all there is before it tells,
//! and tells all there is before it writes. Under constant load that moment never comes: then the round is due after a
//! stated number of looks around or pulses, whichever is first, and goes behind what waits by then.
//!
//! Counted, not timed: no clock is read, and a test can foretell it. Not for: where runnables wait (`find`).

/// Looks around, each after some sixty runnables or a pulse.
const LOOKS: u32 = 32;
/// Pulses, of a millisecond each.
const PULSES: u64 = 4;

/// Of one thread, for one round.
#[derive(Debug, Default)]
pub(super) struct Patience {
    looks: u32,
    /// The pulse at the first of them.
    since: u64,
    looked_once_more: bool,
}

impl Patience {
    /// The thread looked around while something is put off; `true`: it has waited long enough.
    pub(super) fn is_over(&mut self, pulse: u64) -> bool {
        if self.looks == 0 {
            self.since = pulse;
        }
        self.looks += 1;
        self.looks >= LOOKS || pulse.wrapping_sub(self.since) >= PULSES
    }

    /// The thread has nothing else: shall it look at the parker before the round? Once, lest a trickle of events delays it.
    pub(super) fn looks_once_more(&mut self) -> bool {
        !std::mem::replace(&mut self.looked_once_more, true)
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_ends_after_so_many_looks_or_pulses() {
        let mut looks = Patience::default();
        assert_eq!((1..).find(|_| looks.is_over(7)), Some(LOOKS));
        let mut pulses = Patience::default();
        assert_eq!((7..).find(|&pulse| pulses.is_over(pulse)), Some(7 + PULSES));
    }

    #[test]
    fn it_looks_once_more_and_not_twice() {
        let mut patience = Patience::default();
        assert!(patience.looks_once_more());
        assert!(!patience.looks_once_more());
    }
}
