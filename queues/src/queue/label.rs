//! The name of a queue, stored within the queue. Most names are short, and a million of them should
//! not cost a million allocations.
//!
//! Not for: anything but messages to people. Each read of a short name checks its text again.

use std::borrow::Cow;

/// The size of a name that needs no memory of its own, in bytes.
const SHORT: usize = 22;

/// See the module.
#[derive(Debug)]
pub(super) enum Label {
    Static(&'static str),
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<str>),
}

const _: () = assert!(size_of::<Label>() <= 24);

impl Label {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Static(label) => label,
            Self::Long(label) => label,
            // It was a string when it came in.
            Self::Short { len, bytes } => std::str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default(),
        }
    }
}

impl From<Cow<'static, str>> for Label {
    fn from(label: Cow<'static, str>) -> Self {
        match label {
            Cow::Borrowed(label) => Self::Static(label),
            Cow::Owned(label) if label.len() > SHORT => Self::Long(label.into()),
            Cow::Owned(label) => {
                let mut bytes = [0; SHORT];
                bytes[..label.len()].copy_from_slice(label.as_bytes());
                Self::Short { len: label.len() as u8, bytes }
            }
        }
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_as_it_was_given_whatever_its_length() {
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 500] {
            let name: String = "room.ä."
                .chars()
                .cycle()
                .scan(0, |at, c| {
                    *at += c.len_utf8();
                    (*at <= len).then_some(c)
                })
                .collect();
            assert_eq!(Label::from(Cow::Owned(name.clone())).as_str(), name);
        }
        assert_eq!(Label::from(Cow::Borrowed("lobby")).as_str(), "lobby");
    }

    #[test]
    fn a_short_name_owns_no_memory() {
        let owned = |len| Label::from(Cow::Owned("x".repeat(len)));
        assert!(matches!(owned(SHORT), Label::Short { .. }) && matches!(owned(SHORT + 1), Label::Long(_)));
    }
}
