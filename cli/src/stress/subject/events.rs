//! Event sources, perhaps broken ones: bytes that are read without the handler, two calls at once,
//! an end that comes twice.

use std::io::Read;
use std::os::unix::net::UnixStream;

use singletrack::queues::{Queue, Source};
use singletrack::{EventError, EventSource};

use super::Now;
use crate::stress::fault::Fault;

/// Calls `event` when `socket` can be read, as [`EventSource::readable`], and `end` at the end. A
/// planted fault changes that.
pub(crate) fn readable<E, C>(
    queue: &Queue,
    socket: &UnixStream,
    fault: Option<Fault>,
    event: E,
    end: C,
) -> Result<EventSource, EventError>
where
    E: Fn(u64) + Send + Sync + 'static,
    C: Fn() + Send + 'static,
{
    // The end comes once for each source: there is nothing to count.
    let twice = fault == Some(Fault::EventEndTwice);
    let builder = Source::builder(queue).on_cancel(move || (0..=u32::from(twice)).for_each(|_| end()));
    let (mut now, mut reader) = (Now { fault, calls: 0 }, socket.try_clone().ok());
    EventSource::readable(builder, socket, move |bytes| {
        if now.is_due(Fault::EventLost) {
            let _ = reader.as_mut().map(|reader| reader.read(&mut vec![0; bytes as usize]));
        } else if now.is_due(Fault::EventBeside) {
            std::thread::scope(|scope| {
                scope.spawn(|| event(bytes));
                event(bytes);
            });
        } else {
            event(bytes);
        }
    })
}
