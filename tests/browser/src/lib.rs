//! Helpers of the browser test: they drive the server as a separate process, and Debian's Chromium
//! over its DevTools protocol.
//!
//! For: `tests/page.rs` of this package, which `.ci/run` calls. Not for: other users; the package
//! is not published and not a default member, so that a bare `cargo test` needs no browser. Rules:
//! every wait looks for a condition and has a deadline; every error is a sentence with the expected
//! and the observed state.

mod page;
pub use page::Page;
mod chromium;
pub use chromium::Chromium;
mod protocol;
mod serve;
pub use serve::Serve;
mod wait;
pub use wait::{DEADLINE, until};
