//! Dropping the last handle of a suspended queue runs what it holds, whatever channels know the
//! queue.

use std::io::Write;
use std::sync::mpsc::channel;

use singletrack_io::Channel;
use singletrack_io::channel::HandlerQueue;
use singletrack_queues::{ConcurrentQueue, Queue};

use crate::DEADLINE;

/// Suspends the queue, and returns what takes its last handle away.
fn held(which: usize) -> (HandlerQueue, Box<dyn FnOnce()>) {
    if which == 0 {
        let queue = Queue::new("held");
        queue.suspend();
        (HandlerQueue::from(&queue), Box::new(move || drop(queue)))
    } else {
        let queue = ConcurrentQueue::new("held");
        queue.suspend();
        (HandlerQueue::from(&queue), Box::new(move || drop(queue)))
    }
}

#[test]
fn though_a_channel_reads_writes_and_ends_on_it() {
    for which in 0..2 {
        let (queue, let_go) = held(which);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (tell, told) = channel();
        let (for_read, for_barrier, for_end) = (tell.clone(), tell.clone(), tell);
        let channel = Channel::builder(queue).on_cleanup(move |_| for_end.send("end").unwrap()).stream(reader).unwrap();
        channel.read(0, 4, move |read| {
            if read.done {
                for_read.send("read").unwrap();
            }
        });
        channel.barrier(move |_| for_barrier.send("barrier").unwrap());
        writer.write_all(b"half").unwrap();
        let_go();
        assert_eq!(told.recv_timeout(DEADLINE), Ok("read"), "the channel is no handle of the queue");
        assert_eq!(told.recv_timeout(DEADLINE), Ok("barrier"));
        drop(channel);
        assert_eq!(told.recv_timeout(DEADLINE), Ok("end"));
    }
}

#[test]
fn though_a_read_is_still_to_come() {
    for which in 0..2 {
        let (queue, let_go) = held(which);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (tell, told) = channel();
        let channel = Channel::stream(reader, queue).unwrap();
        channel.read(0, 4, move |read| tell.send((read.data.flatten(), read.done)).unwrap());
        drop(channel);
        let_go();
        writer.write_all(b"late").unwrap();
        assert_eq!(told.recv_timeout(DEADLINE), Ok(("late".into(), true)));
    }
}
