//! The progress: a bar on a terminal, nothing elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Steps of about known length.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// For work that takes about `all`.
    pub(crate) fn new(all: Duration) -> Progress {
        if !stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(all.as_millis() as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {eta:>4} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(500));
        Progress(bar)
    }

    /// Shows the current step.
    pub(crate) fn now(&self, what: String) {
        self.0.set_message(what);
    }

    /// A step of this length is over.
    pub(crate) fn done(&self, step: Duration) {
        self.0.inc(step.as_millis() as u64);
    }

    /// Prints above the bar.
    pub(crate) fn around(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
