//! Channels over real files, pipes, sockets and FIFOs.

mod barrier;
mod copy;
mod end;
mod files;
mod outside;
mod refusals;
mod streams;
mod water;

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};

use singletrack_io::Data;
use singletrack_io::channel::{Channel, Delivery};
use singletrack_queues::{Queue, Task};

use crate::DEADLINE;

/// A folder that is deleted after the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("singletrack-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a folder of its own");
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a file with these bytes.
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("write a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn to_read() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    options
}

fn to_write() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).expect("open")
}

/// Makes a pipe: its reading end and its writing end.
fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (reader.into(), writer.into())
}

/// One report to a handler: whether it was the last one, the data, and the error's sentence.
type Told = (bool, Data, Option<String>);

/// Makes a handler that passes its reports on.
fn tell() -> (impl FnMut(Delivery) + Send + 'static, Receiver<Told>) {
    let (tell, told) = channel();
    let handler = move |delivery: Delivery| {
        let Delivery { done, data, error, .. } = delivery;
        tell.send((done, data, error.map(|error| error.to_string()))).unwrap_or_default();
    };
    (handler, told)
}

fn next<T>(told: &Receiver<T>) -> T {
    told.recv_timeout(DEADLINE).expect("nothing was reported in time")
}

/// Joins all reports until `done`, and returns the data and the error.
fn all(told: &Receiver<Told>) -> (Vec<u8>, Option<String>) {
    let mut bytes = Vec::new();
    loop {
        let (done, data, error) = next(told);
        bytes.extend_from_slice(&data.flatten());
        if done {
            return (bytes, error);
        }
    }
}

/// Makes bytes in which each shows its position.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 251 + i % 251) as u8).collect()
}

/// Gets the value of a task that ends soon: a hang is a failure with a name.
trait Soon<T> {
    fn soon(self) -> T;
}

impl<T> Soon<T> for Task<T> {
    #[track_caller]
    fn soon(mut self) -> T {
        self.wait_timeout(DEADLINE).expect("the task did not end in time").expect("nothing panicked")
    }
}

fn queue() -> Queue {
    Queue::new("test.channel")
}

/// A round trip through the core of a channel: afterwards the core has seen all earlier requests.
fn round_trip(channel: &Channel) {
    let sibling = channel.sibling(&queue());
    sibling.close();
    assert!(sibling.call_write(0, "x").soon().unwrap_err().error.is_closed());
}

/// Waits, by a barrier, until everything that was submitted before is over.
fn settle(channel: &Channel) {
    let (tell, told) = channel_pair();
    channel.barrier(move |_| tell.send(()).unwrap_or_default());
    next(&told);
}

fn channel_pair<T>() -> (std::sync::mpsc::Sender<T>, Receiver<T>) {
    channel()
}
