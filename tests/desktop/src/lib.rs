//! Helpers of the desktop test: they drive the programs of `examples/desktop` on their own display,
//! over the X protocol.
//!
//! For: `tests/windows.rs` of this package, which `.ci/run` calls. Not for: other users; the
//! package is not published and not a default member, so that a bare `cargo test` needs no display.
//! Rules: the programs know nothing of the test and have no mode for it; every wait looks for a
//! condition and has a deadline; every error is a sentence with the expected and the observed
//! state.

mod window;
pub use window::Window;
mod picture;
pub use picture::{Colour, Picture};
mod program;
pub use program::{Program, Statistics, Used};
mod display;
pub use display::Display;
// The same file as in the browser test.
#[path = "../../browser/src/wait.rs"]
mod wait;
pub use wait::{DEADLINE, until};
