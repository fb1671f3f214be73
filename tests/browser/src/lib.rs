//! What the browser test drives: the server as a process of its own, and Debian's Chromium over its DevTools protocol.
//!
//! For: `tests/page.rs` of this package, which `.ci/run` calls. Not for: anybody else; the package is not published and
//! not a default member, so that a bare `cargo test` needs no browser. Rules: every wait looks for a condition and has a
//! deadline; every error is a sentence that says what was expected and what was seen.

mod page;
pub use page::Page;
mod chromium;
pub use chromium::Chromium;
mod protocol;
mod serve;
pub use serve::Serve;
mod wait;
pub use wait::{DEADLINE, until};
