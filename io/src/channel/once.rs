//! One read or one write of a descriptor that stays with the caller.
//!
//! Not for: several operations; make a [`Channel`], which registers its descriptor once. Rule: the
//! task ends after the descriptor has its former mode again.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use singletrack_queues::Task;

use super::descriptor;
use super::operation::{Marks, Operation};
use super::{Channel, ChannelError, DiskPool, Incomplete, Sink, Whole};
use crate::data::Data;

/// Reads `length` bytes, or to the end, from the current position of `fd`, and does not wait for
/// them.
///
/// ```
/// use singletrack_io::channel;
///
/// let file = std::fs::File::open("Cargo.toml")?;
/// let begin = channel::read(&file, 9).wait().unwrap()?;
/// assert_eq!(begin.flatten(), "[package]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The task's value is [`Incomplete`], with what was read, when the read ended before its time.
#[doc(alias = "dispatch_read")]
#[doc(alias = "dispatch_read_f")]
pub fn read(fd: impl AsFd, length: u64) -> Task<Result<Data, Incomplete>> {
    once(fd, Operation::read(None, length, Marks::WHOLE), |data| data)
}

/// Writes `data` at the current position of `fd`, and does not wait until it is taken.
///
/// ```
/// use singletrack_io::channel;
///
/// let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
/// channel::write(&ours, "ping").wait().unwrap()?;
/// assert_eq!(channel::read(&theirs, 4).wait().unwrap()?.flatten(), "ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The task's value is [`Incomplete`], with what was not written, when the write ended before its
/// time.
#[doc(alias = "dispatch_write")]
#[doc(alias = "dispatch_write_f")]
pub fn write(fd: impl AsFd, data: impl Into<Data>) -> Task<Result<(), Incomplete>> {
    once(fd, Operation::write(None, data.into(), Marks::WHOLE), |_| ())
}

fn once<T: Send + 'static>(fd: impl AsFd, operation: Operation, value: fn(Data) -> T) -> Task<Result<T, Incomplete>> {
    let (task, promise) = Task::promised();
    let (outcome, told) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(Some(promise))));
    let (end, ended) = (outcome.clone(), told.clone());
    // The task gets its result once the descriptor is given back: then its mode is the former one.
    let cleanup = move |_| {
        let outcome = lock(&outcome).take();
        if let (Some(promise), Some(outcome)) = (lock(&ended).take(), outcome) {
            promise.fulfil(outcome);
        }
    };
    let made = DiskPool::get().and_then(|disk_pool| {
        let own = fd.as_fd().try_clone_to_owned();
        let own = own.map_err(|error| ChannelError::system(&descriptor::name(&fd), "duplicate", error))?;
        Channel::builder(&disk_pool.runtime.queue("singletrack.once")).on_cleanup(cleanup).stream(own)
    });
    match made {
        Ok(channel) => {
            let whole: Whole = Box::new(move |error, data| {
                *lock(&end) = Some(match error {
                    None => Ok(value(data)),
                    Some(error) => Err(Incomplete { data, error }),
                });
            });
            channel.submit(operation, Ok(()), Sink::Whole(Some(whole)));
        }
        Err(error) => {
            if let Some(promise) = lock(&told).take() {
                promise.fulfil(Err(Incomplete { data: operation.rest(usize::MAX), error }));
            }
        }
    }
    task
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
