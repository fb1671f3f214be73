//! The one door to the log. A message of the library always arrives somewhere, whatever the logger
//! does.
//!
//! A logger is code of the program. It may wait for a queue, submit to one, or panic, and each of
//! these may be the very thing that is being reported. So while a thread is in the logger, further
//! reports of that thread go to the standard error. A panic of the logger ends here, and its
//! message goes to the standard error, too. The last message before an abort does not pass through
//! the logger at all, because the logger may hang.
//!
//! Labels come from the program, and sometimes from its users. Print them with `{:?}`, which
//! escapes line breaks and escape sequences. Not for: the contents of the messages.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::Level;

thread_local! {
    /// The logger runs further up on this stack.
    static IN_LOGGER: Cell<bool> = const { Cell::new(false) };
}

/// Reports something that may be intended by the program.
#[cold]
pub(crate) fn warn(text: fmt::Arguments<'_>) {
    say(Level::Warn, text);
}

/// Reports something that is certainly wrong.
#[cold]
pub(crate) fn error(text: fmt::Arguments<'_>) {
    say(Level::Error, text);
}

/// The message before an abort.
#[cold]
pub(crate) fn last_words(text: &str) {
    to_stderr(format_args!("{text}"));
}

fn say(level: Level, text: fmt::Arguments<'_>) {
    if level > log::max_level() {
        return;
    }
    if IN_LOGGER.replace(true) {
        return to_stderr(text);
    }
    let said = catch_unwind(AssertUnwindSafe(|| log::log!(target: "singletrack_queues", level, "{text}")));
    IN_LOGGER.set(false);
    if let Err(payload) = said {
        to_stderr(format_args!("the logger panicked ({}) when it was given: {text}", message(&*payload)));
        // Its drop might panic, too.
        std::mem::forget(payload);
    }
}

fn to_stderr(text: fmt::Arguments<'_>) {
    // A closed standard error is no reason to panic.
    let _written = writeln!(std::io::stderr(), "singletrack: {text}");
}

/// The text of a panic, if its payload is text.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(a panic whose payload is not text)"
    }
}
