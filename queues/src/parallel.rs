//! Fork and join inside a block: scopes, loops, and the door to rayon.

pub(crate) mod scope;
pub use scope::{Scope, join, scope};

pub(crate) mod apply;
pub use apply::{apply, apply_chunks, apply_reduce};

#[cfg(feature = "rayon")]
mod par_iter;
#[cfg(feature = "rayon")]
pub use par_iter::parallel;
