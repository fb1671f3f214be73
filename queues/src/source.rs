//! Handlers on a queue: a signal ([`Source`]) or a clock ([`Ticker`]) calls them.

mod ticker;
pub use ticker::{Schedule, Ticker};

mod builder;
pub use builder::SourceBuilder;

mod body;

mod handle;
pub use handle::{Source, WeakSource};

mod head;

pub(crate) mod pending;
pub use pending::Merge;
