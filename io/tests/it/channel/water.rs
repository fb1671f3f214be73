//! Water marks, intervals, and handlers that are slow.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use singletrack_io::channel::Hold;
use singletrack_io::{Channel, Data};

use super::{Folder, all, channel_pair, next, open, pattern, queue, round_trip, tell};
use crate::until;

#[test]
fn no_delivery_is_above_the_high_water_and_none_but_the_last_below_the_low() {
    let folder = Folder::new();
    let bytes = pattern(1_000_003);
    let file = Channel::random(open(&folder.file("big", &bytes)), &queue()).unwrap();
    file.set_high_water(10_000);
    file.set_low_water(7_000);
    let (handler, told) = tell();
    file.read(0, Channel::TO_END, handler);
    let mut got = Vec::new();
    loop {
        let (done, data, error) = next(&told);
        assert_eq!(error, None);
        assert!(data.len() <= 10_000 && (done || data.len() >= 7_000), "{} bytes, done: {done}", data.len());
        got.extend_from_slice(&data.flatten());
        if done {
            break;
        }
    }
    assert_eq!(got, bytes);
}

#[test]
fn below_the_low_water_a_handler_waits_for_more() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    channel.set_low_water(10);
    let (handler, told) = tell();
    channel.read(0, Channel::TO_END, handler);
    theirs.write_all(b"12345").unwrap();
    theirs.write_all(b"67890").unwrap();
    // Without the low water, the first delivery would sometimes have five bytes; it always has ten.
    let (done, data, _) = next(&told);
    assert_eq!((done, data.len()), (false, 10));
    theirs.write_all(b"rest").unwrap();
    drop(theirs);
    assert_eq!(next(&told), (true, "rest".into(), None));
}

#[test]
fn a_strict_interval_tells_even_that_nothing_came() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    channel.set_low_water(100);
    channel.set_interval(Duration::from_millis(2), true);
    let (handler, told) = tell();
    channel.read(0, Channel::TO_END, handler);
    for _ in 0..3 {
        assert_eq!(next(&told), (false, Data::new(), None));
    }
    theirs.write_all(b"few").unwrap();
    let few = std::iter::from_fn(|| Some(next(&told))).find(|(_, data, _)| !data.is_empty()).unwrap();
    assert_eq!(few, (false, "few".into(), None), "the interval undercuts the low water");
}

#[test]
fn an_interval_that_is_not_strict_keeps_the_low_water() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    channel.set_low_water(4);
    channel.set_interval(Duration::from_millis(2), false);
    let (handler, told) = tell();
    channel.read(0, Channel::TO_END, handler);
    theirs.write_all(b"123").unwrap();
    // Some intervals pass. They are those of another read, which shares only the clock with this
    // one.
    let (clock, _far) = UnixStream::pair().unwrap();
    let clock = Channel::stream(clock, &queue()).unwrap();
    clock.set_interval(Duration::from_millis(2), true);
    let (handler, ticks) = tell();
    clock.read(0, 1, handler);
    for _ in 0..5 {
        next(&ticks);
    }
    theirs.write_all(b"4").unwrap();
    assert_eq!(next(&told), (false, "1234".into(), None));
}

#[test]
fn a_long_write_tells_how_far_it_is() {
    let folder = Folder::new();
    let path = folder.path("out");
    let file = Channel::stream_path(&path, &super::to_write(), &queue()).unwrap();
    file.set_high_water(100_000);
    let (handler, told) = tell();
    file.write(0, pattern(1_000_000), handler);
    let (mut left, mut steps) = (1_000_000, 0);
    loop {
        let (done, data, error) = next(&told);
        assert!(data.len() < left && error.is_none(), "{} bytes are left after {left}", data.len());
        (left, steps) = (data.len(), steps + 1);
        if done {
            break;
        }
    }
    assert!(left == 0 && steps > 1, "{steps} deliveries");
    assert_eq!(std::fs::read(path).unwrap(), pattern(1_000_000));
}

#[test]
fn a_handler_is_never_entered_twice_and_a_slow_one_stops_the_reading() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    channel.set_high_water(1_000);
    let (keep, kept) = channel_pair();
    let inside = Arc::new(AtomicBool::new(false));
    channel.read(0, Channel::TO_END, move |read| {
        assert!(!inside.swap(true, Relaxed), "the handler was entered twice");
        keep.send((read.hold(), read.data.len())).unwrap_or_default();
        inside.store(false, Relaxed);
    });
    // Sends until the socket takes no more: afterwards the reader has the bytes that it holds, not
    // all that were sent.
    let mut sent = 0;
    let fill = |sent: &mut usize, theirs: &mut UnixStream| {
        let before = *sent;
        while let Ok(count) = theirs.write(&[7; 4096]) {
            *sent += count;
        }
        *sent > before
    };
    fill(&mut sent, &mut theirs);
    let (hold, first): (Hold, usize) = next(&kept);
    assert!(first <= 1_000);
    // With the handler out, at most one more high water is gathered, so apart from that a full
    // socket stays full.
    let empty_socket = {
        let (_near, mut far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let mut room = 0;
        while let Ok(count) = far.write(&[7; 4096]) {
            room += count;
        }
        room
    };
    for _ in 0..100 {
        fill(&mut sent, &mut theirs);
        round_trip(&channel);
    }
    assert!(sent <= empty_socket + 2 * 1_000 + 2 * 4096, "{sent} bytes were taken, the socket holds {empty_socket}");
    assert!(kept.try_recv().is_err(), "nothing is delivered while the delivery is held");
    drop(hold);
    let (_hold, second) = next(&kept);
    assert_eq!(second, 1_000);
    channel.stop();
}

#[test]
fn queued_reads_do_not_read_ahead_of_a_slow_handler_either() {
    let folder = Folder::new();
    let file = Channel::stream(open(&folder.file("big", &pattern(1_000_000))), &queue()).unwrap();
    file.set_high_water(10_000);
    let (tell, told) = channel_pair();
    let holds = Arc::new(std::sync::Mutex::new(Vec::new()));
    let calls = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let (tell, holds, calls) = (tell.clone(), holds.clone(), calls.clone());
        file.read(0, 10_000, move |read| {
            calls.fetch_add(1, Relaxed);
            holds.lock().unwrap().push(read.hold());
            tell.send(()).unwrap();
        });
    }
    next(&told);
    next(&told);
    for _ in 0..50 {
        round_trip(&file);
    }
    assert!(calls.load(Relaxed) <= 2, "{} reads were delivered while the handlers held two", calls.load(Relaxed));
    until("all reads to be delivered", || {
        holds.lock().unwrap().clear();
        calls.load(Relaxed) == 100
    });
}

#[test]
fn a_handler_that_panics_ends_its_operation_and_no_other() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    channel.read(0, Channel::TO_END, |_| panic!("on purpose"));
    theirs.write_all(b"x").unwrap();
    super::settle(&channel);
    let (handler, told) = tell();
    channel.read(0, 2, handler);
    theirs.write_all(b"yz").unwrap();
    assert_eq!(all(&told), (b"yz".to_vec(), None));
}
