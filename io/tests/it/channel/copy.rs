//! Much data through channels: bounded memory, and no effect on the queues.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use singletrack_io::Channel;
use singletrack_queues::Queue;

use super::{Folder, Soon, channel_pair, next, pattern, pipe, queue, to_read, to_write};

#[test]
fn a_hundred_mebibytes_are_copied_with_a_mebibyte_in_memory() {
    let folder = Folder::new();
    let mebibyte = pattern(1 << 20);
    let mut file = std::fs::File::create(folder.path("from")).unwrap();
    (0..100).for_each(|_| file.write_all(&mebibyte).unwrap());
    let (high, size) = (256 * 1024, 100 << 20);
    let from = Channel::stream_path(folder.path("from"), &to_read(), &queue()).unwrap();
    let to = Channel::random_path(folder.path("to"), &to_write(), &queue()).unwrap();
    let (now, peak) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let (tell, told) = channel_pair();
    let (counts, peaks, mut offset) = (now.clone(), peak.clone(), 0);
    from.read(0, Channel::TO_END, move |read| {
        assert!(read.error.is_none());
        let (hold, length) = (read.hold(), read.data.len());
        peaks.fetch_max(counts.fetch_add(length, Relaxed) + length, Relaxed);
        let (counts, tell, done) = (counts.clone(), tell.clone(), read.done);
        to.write(offset, read.data, move |written| {
            let _hold = &hold;
            assert!(written.error.is_none());
            if written.done {
                counts.fetch_sub(length, Relaxed);
                if done {
                    tell.send(()).unwrap();
                }
            }
        });
        offset += length as u64;
    });
    next(&told);
    assert!(peak.load(Relaxed) <= 2 * high, "{} bytes were on their way at once", peak.load(Relaxed));
    assert_eq!(now.load(Relaxed), 0);
    let copy = std::fs::read(folder.path("to")).unwrap();
    assert!(copy.len() == size && copy.chunks(1 << 20).all(|part| part == mebibyte));
}

#[test]
fn a_thousand_reads_that_wait_do_not_delay_a_block_nor_a_file() {
    let folder = Folder::new();
    let path = folder.file("file", &pattern(1_000));
    let queue = Queue::new("test.busy");
    // As many pipes as the limit on descriptors allows; several reads wait on each.
    let pipes: Vec<_> = (0..100).map(|_| pipe()).collect();
    let (readers, writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
    let readers: Vec<_> = readers.into_iter().map(|fd| Channel::stream(fd, &queue).unwrap()).collect();
    let reads: Vec<_> = readers.iter().flat_map(|reader| (0..10).map(|_| reader.call_read(0, 1))).collect();
    assert_eq!(queue.call(|| 7).soon(), 7);
    let file = Channel::random_path(path, &to_read(), &queue).unwrap();
    assert_eq!(file.call_read(0, 1_000).soon().unwrap().flatten(), pattern(1_000));
    assert!(reads.iter().all(|read| !read.is_done()), "nothing was written yet");
    for writer in writers {
        std::fs::File::from(writer).write_all(b"0123456789").unwrap();
    }
    let bytes: Vec<u8> = reads.into_iter().flat_map(|read| read.soon().unwrap().flatten()).collect();
    assert_eq!(bytes, b"0123456789".repeat(100));
}
