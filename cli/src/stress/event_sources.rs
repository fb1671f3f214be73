//! Event sources on socket pairs: no byte is missed, no handler runs twice at once, and the cancel
//! handler runs once and last.
//!
//! Writers send numbered bytes. Handlers read only some of the reported bytes, so they must be
//! called until nothing is left. Some sources are suspended and resumed meanwhile, and must still
//! get all. Some are cancelled, by two threads at once, in the middle of the storm: the bytes read
//! until then must be in order, and nothing may come after. Half of the queues are on the shared
//! runtime, whose workers wait in pollers. The others are on the default one, which has a poller
//! with its own thread.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use singletrack::EventSource;
use singletrack::queues::Queue;

use super::choice::{Choice, Dwell};
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject;

pub(super) const FAMILY: Family = Family {
    name: "event-sources",
    checks: &[
        Check { name: "event-bytes", counts: "bytes that event handlers read in order" },
        Check { name: "event-exclusion", counts: "calls of event handlers, none beside another" },
        Check { name: "event-ends", counts: "cancel handlers that ran once, after the last event" },
    ],
    place: Place::Beside,
    round,
};
const BYTES: usize = 0;
const EXCLUSION: usize = 1;
const ENDS: usize = 2;
/// Longer than the end of any stream or source takes.
const LONG: Duration = Duration::from_secs(25);

/// The byte at a place of the stream. Its period is prime, so that a lost buffer shows.
fn byte_at(place: usize) -> u8 {
    (place % 251) as u8
}

/// The state of a handler.
struct Watch {
    near: UnixStream,
    inside: AtomicUsize,
    place: AtomicUsize,
    ended: AtomicUsize,
    most: usize,
    dwell: Dwell,
    scores: [Arc<Score>; 3],
    /// Reports the end of the stream, and the end of the source.
    tell: Sender<&'static str>,
}

impl Watch {
    fn event(&self, bytes: u64) {
        let beside = self.inside.fetch_add(1, SeqCst);
        self.scores[EXCLUSION].expect(beside == 0, || "an event handler was called while it ran".into());
        self.scores[EXCLUSION].verified(1);
        self.scores[ENDS].expect(self.ended.load(SeqCst) == 0, || "an event came after the cancel handler".into());
        if bytes == 0 {
            let _ = self.tell.send("stream");
        } else {
            self.read(usize::try_from(bytes).unwrap_or(usize::MAX).min(self.most));
        }
        self.dwell.pass();
        self.inside.fetch_sub(1, SeqCst);
    }

    fn read(&self, most: usize) {
        let mut buffer = vec![0; most];
        let count = match (&self.near).read(&mut buffer) {
            Ok(count) => count,
            // If a handler is called twice at once, one call finds nothing.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => return self.scores[BYTES].broken(|| format!("reading {most} bytes failed: {error}")),
        };
        let place = self.place.fetch_add(count, SeqCst);
        for (i, byte) in buffer[..count].iter().enumerate() {
            let due = byte_at(place + i);
            self.scores[BYTES].expect(*byte == due, || format!("byte {} was {byte}, not {due}", place + i));
        }
        self.scores[BYTES].verified(count);
    }

    fn end(&self) {
        let before = self.ended.fetch_add(1, SeqCst);
        self.scores[ENDS].expect(before == 0, || format!("a cancel handler ran {} times", before + 1));
        let inside = self.inside.load(SeqCst);
        self.scores[ENDS].expect(inside == 0, || "a cancel handler ran beside an event".into());
        let _ = self.tell.send("source");
    }
}

/// Writes until all is written, or nobody listens.
fn write(mut far: UnixStream, count: usize, mut choice: Choice) {
    let mut place = 0;
    while place < count {
        let length = choice.between(1..=4_000).min(count - place);
        let piece: Vec<u8> = (place..place + length).map(byte_at).collect();
        if far.write_all(&piece).is_err() {
            return;
        }
        place += length;
        choice.dwell().pass();
    }
}

/// One stream through one source, to its end or into the middle.
fn stream(round: &Round, queue: &Queue, mut choice: Choice) -> Result<(), Box<dyn std::error::Error>> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    let (tell, told) = channel();
    let scores = [BYTES, EXCLUSION, ENDS].map(|check| round.score(check).clone());
    let (most, dwell) = (choice.between(100..=8_000), choice.dwell());
    let (zero, watched) = (AtomicUsize::default, near.try_clone()?);
    let watch = Arc::new(Watch {
        near,
        inside: zero(),
        place: zero(),
        ended: zero(),
        most,
        dwell,
        scores: scores.clone(),
        tell,
    });
    let (event, end) = (watch.clone(), watch.clone());
    let fault = round.ground.fault;
    let source = subject::readable(queue, &watched, fault, move |bytes| event.event(bytes), move || end.end())?;
    let (count, whole) = (choice.between(1_000..=100_000), choice.one_in(2));
    let (pauses, until) = (choice.between(0..=20), choice.between(0..=count));
    std::thread::scope(|scope| {
        let writer = choice.fork();
        scope.spawn(move || write(far, count, writer));
        for _ in 0..pauses {
            source.suspend();
            choice.dwell().pass();
            let resumed = source.resume();
            scores[BYTES].expect(resumed.is_ok(), || "a source that was suspended could not be resumed".into());
        }
        if whole {
            let end = told.recv_timeout(LONG);
            scores[BYTES].expect(end == Ok("stream"), || format!("the end of the stream was not reported: {end:?}"));
            let read = watch.place.load(SeqCst);
            scores[BYTES].expect(read == count, || format!("{count} bytes were sent, {read} were read until the end"));
        } else {
            while watch.place.load(SeqCst) < until && !scores[BYTES].is_broken() {
                std::thread::yield_now();
            }
        }
        scope.spawn(|| source.cancel());
        source.cancel();
        let ended = std::iter::from_fn(|| told.recv_timeout(LONG).ok()).any(|end| end == "source");
        scores[ENDS].expect(ended, || "a source was cancelled, and its cancel handler did not run".into());
        // A writer in the middle of the storm must not wait for a reader that is gone.
        let _ = watched.shutdown(std::net::Shutdown::Both);
    });
    finish(queue, &source, &watch);
    Ok(())
}

/// Checks that nothing comes any more.
fn finish(queue: &Queue, source: &EventSource, watch: &Watch) {
    let read = watch.place.load(SeqCst);
    source.again();
    queue.sync(|| ());
    let [_, _, ends] = &watch.scores;
    ends.expect(watch.place.load(SeqCst) == read, || "a handler read on after the cancel handler".into());
    ends.expect(watch.ended.load(SeqCst) == 1, || format!("{} ends of a source", watch.ended.load(SeqCst)));
    ends.verified(1);
}

fn round(round: &Round, mut choice: Choice) {
    let streams = choice.between(2..=6);
    round.stage(format_args!("{streams} streams to event sources"));
    std::thread::scope(|scope| {
        for number in 0..streams {
            let label = format!("event.{number}");
            let queue = if number % 2 == 0 { round.ground.runtime.queue(label) } else { Queue::new(label) };
            let choice = choice.fork();
            scope.spawn(move || {
                if let Err(error) = stream(round, &queue, choice) {
                    round.score(BYTES).broken(|| format!("a stream could not be watched: {error}"));
                }
            });
        }
    });
}
