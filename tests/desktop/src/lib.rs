//! What the desktop test drives: the programs of `examples/desktop` on a display of their own, over the X protocol.
//!
//! For: `tests/windows.rs` of this package, which `.ci/run` calls. Not for: anybody else; the package is not published and
//! not a default member, so that a bare `cargo test` needs no display. Rules: the programs know nothing of the test and
//! have no mode for it; every wait looks for a condition and has a deadline; every error is a sentence that says what was
//! expected and what was seen.

mod window;
pub use window::Window;
mod picture;
pub use picture::{Colour, Picture};
mod program;
pub use program::{Program, Statistics, Used};
mod display;
pub use display::Display;
// As for the page in a browser.
#[path = "../../browser/src/wait.rs"]
mod wait;
pub use wait::{DEADLINE, until};
