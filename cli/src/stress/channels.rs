//! Channels: bytes come in order, none is lost, water marks are kept, and a barrier is alone.
//!
//! Streams of all kinds run at once. Each byte encodes its stream and its position, so the next
//! byte reveals one that is missing, doubled or misplaced. Two channels share a table in a file and
//! rewrite it between barriers. Each barrier must find everything that was written before it and
//! nothing that comes after. Not for: disks, which are the system's.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;

use singletrack::{Channel, Data};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::ChannelVerbs;

pub(super) const FAMILY: Family = Family {
    name: "channels",
    checks: &[
        Check { name: "channel-bytes", counts: "deliveries of bytes in their place" },
        Check { name: "channel-water", counts: "deliveries within their marks" },
        Check { name: "channel-barriers", counts: "slots of a file in their generation" },
    ],
    place: Place::Beside,
    round,
};

const BYTES: usize = 0;
const WATER: usize = 1;
const BARRIERS: usize = 2;
/// The number of slots of the table, of eight bytes each.
const SLOTS: usize = 32;

/// The byte for this position of the stream.
fn byte_at(stream: usize, position: usize) -> u8 {
    // A step of 251, a prime, between rows: a lost or doubled piece shifts everything after it.
    (position + position / 251 + stream * 37) as u8
}

/// The read end and the write end of a pipe, or of a pair of sockets.
fn ends(choice: &mut Choice) -> io::Result<(OwnedFd, OwnedFd)> {
    if choice.one_in(2) {
        let (reader, writer) = io::pipe()?;
        Ok((reader.into(), writer.into()))
    } else {
        let (reader, writer) = UnixStream::pair()?;
        Ok((reader.into(), writer.into()))
    }
}

/// A file without a name, which is gone when it is closed.
fn nameless() -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("singletrack-stress-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

/// What a reader has seen of its stream.
struct Reader {
    stream: usize,
    position: usize,
    marks: (usize, usize),
    inside: AtomicBool,
    bytes: Arc<Score>,
    water: Arc<Score>,
}

impl Reader {
    fn take(&mut self, data: &Data, done: bool) {
        let Reader { stream, marks: (low, high), .. } = *self;
        self.water.expect(!self.inside.swap(true, Relaxed), || "a handler was entered twice".into());
        let length = data.len();
        self.water.expect(length <= high && (done || length >= low), || {
            format!("a delivery had {length} bytes, between the marks {low} and {high}, done: {done}")
        });
        for byte in data.regions().flatten() {
            let (position, expected) = (self.position, byte_at(stream, self.position));
            self.bytes.expect(*byte == expected, || {
                format!("byte {position} of stream {stream} is {byte}, not {expected}: some are lost or out of order")
            });
            self.position += 1;
        }
        self.bytes.verified(1);
        self.water.verified(1);
        self.inside.store(false, Relaxed);
    }
}

/// Many streams at once, each written in pieces and read to its end.
fn streams(round: &Round, choice: &mut Choice) -> io::Result<()> {
    let runtime = &round.ground.runtime;
    // Enough streams that a fault of one call in many occurs.
    let count = choice.between(8..=16);
    round.stage(format_args!("{count} streams read to their ends"));
    let (tell, told) = channel();
    let mut verbs = ChannelVerbs::new(round.ground.fault);
    let mut sent = Vec::new();
    for stream in 0..count {
        let (reader, writer) = ends(choice)?;
        let reads = Channel::stream(reader, &runtime.queue("channels.read")).map_err(io::Error::other)?;
        let writes = Channel::stream(writer, &runtime.queue("channels.write")).map_err(io::Error::other)?;
        let high = choice.between(1..=60_000);
        let low = choice.between(1..=high);
        verbs.set_high_water(&reads, high);
        reads.set_low_water(low);
        let (bytes, water) = (round.score(BYTES).clone(), round.score(WATER).clone());
        let mut seen = Reader { stream, position: 0, marks: (low, high), inside: AtomicBool::new(false), bytes, water };
        let tell = tell.clone();
        reads.read(0, Channel::TO_END, move |read| {
            seen.take(&read.data, read.done);
            if read.done {
                let error = read.error.map(|error| error.to_string());
                // The round may have been given up.
                let _ = tell.send((stream, seen.position, error));
            }
        });
        let mut position = 0;
        for _ in 0..choice.between(1..=40) {
            let length = if choice.one_in(4) { choice.between(1..=100_000) } else { choice.between(1..=200) };
            let piece: Vec<u8> = (position..position + length).map(|at| byte_at(stream, at)).collect();
            position += length;
            let score = round.score(BYTES).clone();
            verbs.write(&writes, 0, piece, move |written| {
                score.expect(written.error.is_none(), || format!("a write failed: {:?}", written.error));
            });
        }
        sent.push(position);
    }
    drop(tell);
    for _ in 0..count {
        let Ok((stream, got, error)) = told.recv() else {
            round.score(BYTES).broken(|| "a handler was dropped before its last call".into());
            return Ok(());
        };
        let sent = sent[stream];
        round.score(BYTES).expect(error.is_none() && got == sent, || {
            format!("stream {stream} had {sent} bytes, {got} came; error: {error:?}")
        });
    }
    Ok(())
}

/// A table that two channels write, with barriers between its generations.
fn table(round: &Round, choice: &mut Choice) -> io::Result<()> {
    let runtime = &round.ground.runtime;
    let generations = choice.between(20..=60) as u64;
    round.stage(format_args!("{generations} barriers over a file"));
    let mut verbs = ChannelVerbs::new(round.ground.fault);
    let first = Channel::random(nameless()?, &runtime.queue("channels.table")).map_err(io::Error::other)?;
    let channels = [first.sibling(&runtime.queue("channels.sibling")), first];
    let over = Arc::new(AtomicUsize::new(0));
    let (tell, told) = channel();
    for generation in 1..=generations {
        for slot in 0..SLOTS {
            let (over, score) = (over.clone(), round.score(BARRIERS).clone());
            let bytes = generation.to_le_bytes().to_vec();
            verbs.write(&channels[slot % 2], slot as u64 * 8, bytes, move |written| {
                score.expect(written.error.is_none(), || format!("a write failed: {:?}", written.error));
                over.fetch_add(1, Relaxed);
            });
        }
        let (over, score, dwell, tell) = (over.clone(), round.score(BARRIERS).clone(), choice.dwell(), tell.clone());
        verbs.barrier(&channels[choice.between(0..=1)], move |fd| {
            let expected = generation as usize * SLOTS;
            for _ in 0..2 {
                let now = over.load(Relaxed);
                score.expect(now == expected, || {
                    format!("{now} writes had ended in a barrier behind {expected} of them")
                });
                let mut bytes = [0; SLOTS * 8];
                let read = fd.as_ref().ok().map(|fd| rustix::io::pread(fd, &mut bytes, 0));
                let slots = bytes.chunks_exact(8).filter(|slot| *slot == generation.to_le_bytes()).count();
                score.expect(matches!(read, Some(Ok(_))) && slots == SLOTS, || {
                    format!("{slots} of {SLOTS} slots were of generation {generation} in its barrier ({read:?})")
                });
                dwell.pass();
            }
            score.verified(SLOTS);
            // The round may have been given up.
            let _ = tell.send(());
        });
    }
    verbs.settle();
    drop(tell);
    let ran = told.iter().count() as u64;
    round.score(BARRIERS).expect(ran == generations, || format!("{ran} of {generations} barriers ran"));
    Ok(())
}

fn round(round: &Round, mut choice: Choice) {
    if let Err(error) = streams(round, &mut choice).and_then(|()| table(round, &mut choice)) {
        for check in [BYTES, WATER, BARRIERS] {
            round.score(check).broken(|| format!("the system gave no pipe, socket or file: {error}"));
        }
    }
}
