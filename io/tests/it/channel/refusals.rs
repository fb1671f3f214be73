//! Bad input: each case is an error value that names the file, the attempt, and the remedy.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use singletrack_io::{Channel, ChannelError, Data};

use super::{Folder, Soon, next, open, pattern, pipe, queue, tell, to_read, to_write};

#[test]
fn the_wrong_direction_is_told_by_the_first_operation() {
    let folder = Folder::new();
    let path = folder.file("one-way", b"x");
    let writes = Channel::random_path(&path, &to_write(), &queue()).unwrap();
    let error = writes.call_read(0, 1).soon().unwrap_err().to_string();
    assert_eq!(error, format!("cannot read {}: it is not open for that; open it with `read(true)`", path.display()));
    let (reader, writer) = pipe();
    let (reader, writer) = (Channel::stream(reader, &queue()).unwrap(), Channel::stream(writer, &queue()).unwrap());
    let failed = reader.call_write(0, "x").soon().unwrap_err();
    assert!(matches!(failed.error, ChannelError::Access { needed: "write", .. }));
    assert_eq!(failed.data, Data::from("x"));
    let only_a_name =
        OpenOptions::new().read(true).custom_flags(OFlags::PATH.bits().cast_signed()).open(&path).unwrap();
    let only_a_name = Channel::random(only_a_name, &queue()).unwrap();
    assert!(matches!(only_a_name.call_read(0, 1).soon().unwrap_err().error, ChannelError::Access { .. }));
    assert!(matches!(writer.call_read(0, 1).soon().unwrap_err().error, ChannelError::Access { .. }));
}

#[test]
fn offsets_that_no_file_has_are_refused() {
    let folder = Folder::new();
    let path = folder.file("small", &pattern(10));
    let file = Channel::random(open(&path), &queue()).unwrap();
    for (offset, length) in [(u64::MAX, 1), (-5_i64 as u64, 10), (i64::MAX as u64, 1), (1, u64::MAX - 1)] {
        let error = file.call_read(offset, length).soon().unwrap_err().error;
        assert!(matches!(error, ChannelError::Offset { .. }), "{error}");
    }
    let error = file.call_write(i64::MAX as u64, "x").soon().unwrap_err().to_string();
    assert!(
        error.contains("/small) at offset 9223372036854775807, 1 bytes: offsets of a file end at 2^63 - 1"),
        "{error}"
    );
    assert_eq!(file.call_read(i64::MAX as u64, Channel::TO_END).soon().unwrap(), Data::new());
    let stream = Channel::stream(open(&path), &queue()).unwrap();
    let error = stream.call_read(3, 1).soon().unwrap_err().to_string();
    assert!(error.contains("/small) at offset 3: a stream goes on where it stands"), "{error}");
    assert_eq!(stream.call_read(0, 1).soon().unwrap().len(), 1, "the channel goes on");
}

#[test]
fn a_pipe_has_no_offsets() {
    let (reader, _writer) = pipe();
    let error = Channel::random(reader, &queue()).unwrap_err();
    assert!(matches!(error, ChannelError::NoOffsets { .. }), "{error}");
    assert!(error.to_string().ends_with("make its channel with `stream`"), "{error}");
}

#[test]
fn a_path_that_cannot_be_opened_is_told_to_every_operation() {
    let folder = Folder::new();
    let missing = folder.path("missing");
    let file = Channel::random_path(&missing, &to_read(), &queue()).unwrap();
    for _ in 0..3 {
        let (handler, told) = tell();
        file.read(0, 10, handler);
        let (done, data, error) = next(&told);
        let error = error.unwrap();
        assert!(done && data.is_empty());
        assert!(error.starts_with(&format!("cannot open {}: ", missing.display())), "{error}");
        assert!(error.ends_with("name a file that exists, or open it with `create(true)`"), "{error}");
    }
    assert!(file.call_read(0, 0).soon().is_err(), "even without anything to read");
    let directory = Channel::random_path(&folder.0, &to_read(), &queue()).unwrap();
    let error = directory.call_read(0, 1).soon().unwrap_err().to_string();
    assert!(error.ends_with("it is a folder: open a file in it"), "{error}");
    let twice =
        Channel::random_path(folder.file("there", b""), OpenOptions::new().write(true).create_new(true), &queue());
    let error = twice.unwrap().call_write(0, "x").soon().unwrap_err().to_string();
    assert!(error.ends_with("it exists already: leave out `create_new`"), "{error}");
    // The options ask for neither reading nor writing: they are refused themselves.
    let nothing = Channel::random_path(folder.path("there"), &OpenOptions::new(), &queue()).unwrap();
    assert!(nothing.call_read(0, 1).soon().is_err());
}
