//! Files: read and written at offsets or in sequence, opened when first used.

use std::io::{Read, Seek};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use singletrack_io::channel::Hold;
use singletrack_io::{Channel, Data, channel};

use super::{Folder, Soon, all, next, open, pattern, queue, tell, to_read, to_write};

#[test]
fn operations_at_offsets_are_independent_of_one_another() {
    let folder = Folder::new();
    let bytes = pattern(100_000);
    let path = folder.file("numbers", &bytes);
    let file = Channel::random(open(&path), &queue()).unwrap();
    let reads: Vec<_> = (0..100).map(|i| (i, file.call_read(i * 1_000, 500))).collect();
    for (i, read) in reads {
        let begin = i as usize * 1_000;
        assert_eq!(read.soon().unwrap().flatten(), bytes[begin..begin + 500]);
    }
    file.call_write(99_999, "the end").soon().unwrap();
    assert_eq!(file.call_read(99_999, Channel::TO_END).soon().unwrap().flatten(), "the end");
    assert_eq!(std::fs::read(&path).unwrap().len(), 100_006);
}

#[test]
fn a_stream_goes_on_where_it_stands_and_reads_what_was_written_before_in_turn() {
    let folder = Folder::new();
    let path = folder.file("lines", b"0123456789");
    let mut file = open(&path);
    file.seek(std::io::SeekFrom::Start(2)).unwrap();
    let stream = Channel::stream(file, &queue()).unwrap();
    // There is one position, so all operations take turns on it.
    let first = stream.call_read(0, 2);
    let write = stream.call_write(0, "xy");
    let rest = stream.call_read(0, Channel::TO_END);
    assert_eq!(first.soon().unwrap().flatten(), "23");
    write.soon().unwrap();
    assert_eq!(rest.soon().unwrap().flatten(), "6789");
    assert_eq!(std::fs::read(&path).unwrap(), b"0123xy6789");
}

#[test]
fn reading_beyond_the_end_is_the_end_and_no_error() {
    let folder = Folder::new();
    let path = folder.file("short", b"abc");
    let file = Channel::random_path(&path, &to_read(), &queue()).unwrap();
    assert_eq!(file.call_read(1, 100).soon().unwrap().flatten(), "bc");
    let (handler, told) = tell();
    file.read(3, 100, handler);
    assert_eq!(next(&told), (true, Data::new(), None));
    let (handler, told) = tell();
    file.read(0, 0, handler);
    assert_eq!(next(&told), (true, Data::new(), None));
}

#[test]
fn a_path_is_opened_by_the_first_operation() {
    let folder = Folder::new();
    let path = folder.path("new");
    let file = Channel::stream_path(&path, &to_write(), &queue()).unwrap();
    assert!(!path.exists());
    file.call_write(0, "made").soon().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"made");
}

#[test]
fn a_relative_path_is_one_from_where_the_channel_was_made() {
    let file = Channel::random_path("Cargo.toml", &to_read(), &queue()).unwrap();
    assert_eq!(file.name(), std::env::current_dir().unwrap().join("Cargo.toml").display().to_string());
    assert_eq!(file.call_read(0, 9).soon().unwrap().flatten(), "[package]");
}

#[test]
fn many_regions_are_written_in_their_order() {
    let folder = Folder::new();
    let path = folder.path("regions");
    let regions: Data = (0..3_000).map(|i| format!("{i},").into()).collect();
    let plain = regions.flatten();
    let file = Channel::stream_path(&path, &to_write(), &queue()).unwrap();
    file.call_write(0, regions).soon().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), plain);
}

#[test]
fn a_device_that_is_always_ready_is_read_as_a_file() {
    let zeros = Channel::stream_path("/dev/zero", &to_read(), &queue()).unwrap();
    let (handler, told) = tell();
    zeros.read(0, 1_000_000, handler);
    assert_eq!(all(&told), (vec![0; 1_000_000], None));
    let full = Channel::stream_path("/dev/full", &to_write(), &queue()).unwrap();
    let failed = full.call_write(0, "x").soon().unwrap_err();
    assert!(failed.to_string().starts_with("cannot write /dev/full: "), "{failed}");
    assert!(failed.to_string().ends_with("; make room on the disk"), "{failed}");
    assert_eq!(failed.data, Data::from("x"), "the unwritten bytes come back");
}

#[test]
fn one_shots_leave_the_descriptor_to_the_caller() {
    let folder = Folder::new();
    let mut file = open(&folder.file("once", b"one two three"));
    assert_eq!(channel::read(&file, 4).soon().unwrap().flatten(), "one ");
    channel::write(&file, "TWO").soon().unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, " three");
}

#[test]
fn random_operations_of_one_file_run_beside_one_another() {
    let folder = Folder::new();
    let path = folder.file("many", &pattern(1 << 20));
    let file = Channel::random(open(&path), &queue()).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let over = Arc::new(AtomicUsize::new(0));
    // The first one's handler holds it back on purpose; the second overtakes it.
    let (keep, kept) = super::channel_pair();
    let (first, second) = (order.clone(), order.clone());
    let (ended, end) = super::channel_pair();
    let (count, also) = (over.clone(), over.clone());
    let mut sent = false;
    file.read(0, 1 << 20, move |read| {
        if !std::mem::replace(&mut sent, true) {
            keep.send(read.hold()).unwrap();
        }
        if read.done {
            first.lock().unwrap().push("first");
            count.fetch_add(1, Relaxed);
        }
    });
    let hold = next(&kept);
    file.read(1_000, 10, move |read| {
        if read.done {
            second.lock().unwrap().push("second");
            also.fetch_add(1, Relaxed);
            ended.send(()).unwrap();
        }
    });
    next(&end);
    drop(hold);
    super::settle(&file);
    assert_eq!((over.load(Relaxed), &**order.lock().unwrap()), (2, &["second", "first"][..]));
}

/// Passes the hold of each delivery on.
fn keep(file: &Channel, length: u64) -> std::sync::mpsc::Receiver<Hold> {
    let (keep, kept) = super::channel_pair();
    file.read(0, length, move |read| keep.send(read.hold()).unwrap_or_default());
    kept
}

#[test]
fn a_write_to_a_stream_waits_for_a_read_before_it_that_waits_for_its_handler() {
    let folder = Folder::new();
    let path = folder.file("turns", b"0123456789");
    let file = Channel::stream(open(&path), &queue()).unwrap();
    file.set_high_water(2);
    let kept = keep(&file, 8);
    let hold = next(&kept);
    let write = file.call_write(0, "xy");
    (0..50).for_each(|_| super::round_trip(&file));
    assert!(!write.is_done() && std::fs::read(&path).unwrap() == b"0123456789");
    drop(hold);
    kept.iter().for_each(drop);
    write.soon().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"01234567xy");
}

#[test]
fn nothing_overtakes_a_read_that_waits_for_the_handlers_before_it() {
    let folder = Folder::new();
    let path = folder.file("turns", b"0123456789");
    let file = Channel::stream(open(&path), &queue()).unwrap();
    file.set_high_water(4);
    // Handlers hold two, two and four bytes: more than the next read may have.
    let [first, second, third] = [2, 2, 4].map(|length| next(&keep(&file, length)));
    let fourth = keep(&file, 1);
    let write = file.call_write(0, "x");
    let blocked = |why: &str| {
        (0..50).for_each(|_| super::round_trip(&file));
        assert!(fourth.try_recv().is_err() && !write.is_done(), "{why}");
    };
    blocked("eight bytes are held");
    drop(first);
    blocked("six bytes are held");
    drop(second);
    drop(next(&fourth));
    write.soon().unwrap();
    drop(third);
    assert_eq!(std::fs::read(&path).unwrap(), b"012345678x");
}
