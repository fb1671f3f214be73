//! The contents of a message: its sender, its sequence number and the time at which it was due, in
//! text that reveals every changed byte.
//!
//! Pure. A payload begins with a stamp of [`LEAST`] bytes: the run, the sender, its number, a check
//! sum and a time, sixteen letters for each 64 bits. The rest repeats a pattern from a place that
//! the check sum chooses. Everything is ASCII, so that it may travel as text. Rules: no allocation,
//! no copy. A written payload is read back to the same stamp, and one that differs in any byte is
//! rejected.

/// The fewest bytes of a payload: the stamp alone.
pub(crate) const LEAST: usize = 48;
/// The filling of longer payloads.
const PATTERN: &[u8; 256] = &pattern();
/// The number of places in the pattern at which a filling may begin.
const STARTS: usize = 128;

/// The stamp of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The run that made it: other runs may use the same server.
    pub(crate) run: u32,
    /// The sender's number in the run.
    pub(crate) sender: u32,
    /// The number of messages that the sender had sent before.
    pub(crate) number: u32,
    /// The time at which it was due, in nanoseconds of the run's clock.
    pub(crate) due: u64,
}

impl Stamp {
    /// Fills `payload`, which has at least [`LEAST`] bytes.
    pub(crate) fn write(self, payload: &mut [u8]) {
        let check = self.check();
        let words = [self.run, self.sender, self.number, check, (self.due >> 32) as u32, self.due as u32];
        let (stamp, mut rest) = payload.split_at_mut(LEAST);
        for (place, word) in stamp.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&letters(word).to_le_bytes());
        }
        let mut filling = &PATTERN[check as usize % STARTS..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at_mut(filling.len().min(rest.len()));
            piece.copy_from_slice(&filling[..piece.len()]);
            (rest, filling) = (after, PATTERN);
        }
    }

    /// Reads a payload. `None` if it is not exactly what [`write`](Self::write) made.
    pub(crate) fn read(payload: &[u8]) -> Option<Stamp> {
        let (stamp, mut rest) = payload.split_at_checked(LEAST)?;
        let mut words = [0; 6];
        for (word, place) in words.iter_mut().zip(stamp.chunks_exact(8)) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(place);
            *word = number(u64::from_le_bytes(bytes))?;
        }
        let [run, sender, number, check, high, low] = words;
        let stamp = Stamp { run, sender, number, due: u64::from(high) << 32 | u64::from(low) };
        if stamp.check() != check {
            return None;
        }
        let mut filling = &PATTERN[check as usize % STARTS..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(filling.len().min(rest.len()));
            if piece != &filling[..piece.len()] {
                return None;
            }
            (rest, filling) = (after, PATTERN);
        }
        Some(stamp)
    }

    /// A sum that depends on each bit of the stamp.
    fn check(self) -> u32 {
        let mut sum = (u64::from(self.run) << 32 | u64::from(self.sender)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        sum = (sum ^ sum >> 29 ^ u64::from(self.number)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        sum = (sum ^ sum >> 32 ^ self.due).wrapping_mul(0x94d0_49bb_1331_11eb);
        (sum ^ sum >> 32) as u32
    }
}

const fn pattern() -> [u8; 256] {
    let (mut bytes, mut i) = ([0; 256], 0);
    while i < bytes.len() {
        // 37 and 94 have no common divisor: neighbours differ, and so do the fillings of different
        // starts.
        bytes[i] = b'!' + (i * 37 % 94) as u8;
        i += 1;
    }
    bytes
}

/// Eight letters from `a` to `p`, one for each four bits, all at once.
fn letters(word: u32) -> u64 {
    let mut wide = u64::from(word);
    wide = (wide | wide << 16) & 0x0000_ffff_0000_ffff;
    wide = (wide | wide << 8) & 0x00ff_00ff_00ff_00ff;
    wide = (wide | wide << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    wide + FIRST
}

/// The reverse of `letters`. `None` if there is another byte among them.
fn number(letters: u64) -> Option<u32> {
    // A byte below `a` borrows from the next one, and its own upper half is not empty then.
    let mut wide = letters.wrapping_sub(FIRST);
    if wide & !0x0f0f_0f0f_0f0f_0f0f != 0 {
        return None;
    }
    wide = (wide | wide >> 4) & 0x00ff_00ff_00ff_00ff;
    wide = (wide | wide >> 8) & 0x0000_ffff_0000_ffff;
    Some((wide | wide >> 16) as u32)
}

const FIRST: u64 = u64::from_ne_bytes([b'a'; 8]);

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 0xdead_beef, sender: 1_234, number: u32::MAX, due: 98_765_432_101_234 };

    fn written(bytes: usize) -> Vec<u8> {
        let mut payload = vec![0; bytes];
        STAMP.write(&mut payload);
        payload
    }

    #[test]
    fn what_was_written_is_read_at_every_length_and_is_ascii() {
        for bytes in (LEAST..LEAST + 600).chain([100_000]) {
            let payload = written(bytes);
            assert!(payload.iter().all(u8::is_ascii_graphic), "{bytes}");
            assert_eq!(Stamp::read(&payload), Some(STAMP), "{bytes}");
        }
    }

    #[test]
    fn a_change_of_any_bit_is_seen() {
        let mut payload = written(500);
        for byte in 0..payload.len() {
            for bit in 0..8 {
                payload[byte] ^= 1 << bit;
                assert_eq!(Stamp::read(&payload), None, "bit {bit} of byte {byte}");
                payload[byte] ^= 1 << bit;
            }
        }
        assert_eq!(Stamp::read(&payload), Some(STAMP));
    }

    #[test]
    fn too_few_bytes_are_no_stamp() {
        assert_eq!(Stamp::read(&written(LEAST)[..LEAST - 1]), None);
        assert_eq!(Stamp::read(b""), None);
    }

    #[test]
    fn every_number_has_its_own_letters() {
        for word in [0, 1, 0xf, 0x10, 0x1234_5678, 0x8000_0000, u32::MAX] {
            assert_eq!(number(letters(word)), Some(word));
        }
        assert_eq!(&letters(0x0123).to_le_bytes(), b"dcbaaaaa");
    }
}
