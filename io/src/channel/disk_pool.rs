//! The threads that serve channels: a few that may block, for files, and one that waits for pipes
//! and sockets.
//!
//! The system does not say of any file whether a read would block. So threads that may block read
//! it: a runtime of their own, whose workers are blocked most of the time and are replaced as any
//! blocked worker is, up to [`DISK_THREADS`]. A hung disk therefore takes one of these threads and
//! not a worker of the queues. Even 64 hung disks take no worker; later reads wait for a disk, the
//! queues do not.
//! The library's `blocking` would take replacement threads of the queues' own runtime, whose limit
//! the program's blocks share. It would also make a replacement thread for each read, though most
//! reads are served from memory in microseconds. Here only the monitor makes replacement threads,
//! for a thread that it sees asleep.
//! One thread that never blocks serves pipes and sockets, and is their poller too. The runtime of
//! the handlers' queue does not serve them: it may be shut down, and the descriptors must be given
//! back even then.
//! Not for: reading itself; these threads run the jobs that they are given. Rule: they start when
//! first used, and never end.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use singletrack_queues::{Gone, Runtime};

use super::error::ChannelError;
use crate::pollers::Io;

/// Threads that start when a file is first used.
const DISK_WORKERS: usize = 4;
/// The most threads that disks may block at a time.
const DISK_THREADS: usize = 64;

/// The threads of all channels of this process.
#[derive(Clone)]
pub(super) struct DiskPool {
    /// Runs the blocks of channels that must not block; waits in `io`.
    pub(super) runtime: Runtime,
    /// Watches pipes and sockets.
    pub(super) io: Io,
    disk: Runtime,
}

static GROUND: Mutex<Option<DiskPool>> = Mutex::new(None);

impl DiskPool {
    /// Returns the pool of the process. If the start failed, the next call tries again.
    pub(super) fn get() -> Result<DiskPool, ChannelError> {
        let mut disk_pool = GROUND.lock().unwrap_or_else(PoisonError::into_inner);
        match disk_pool.take() {
            // They run nothing in a fork child, which has threads of its own.
            Some(parents) if parents.runtime.gone() == Some(Gone::ForkChild) => std::mem::forget(parents),
            Some(own) => return Ok(disk_pool.insert(own).clone()),
            None => {}
        }
        let started = DiskPool::start().map_err(|source| ChannelError::Threads { source: Arc::new(source) })?;
        Ok(disk_pool.insert(started).clone())
    }

    fn start() -> io::Result<DiskPool> {
        let io = Io::new(1)?;
        let runtime = Runtime::builder().workers(1).name("singletrack-channels").parkers(io.parkers()).build();
        let disk = Runtime::builder().workers(DISK_WORKERS).thread_cap(DISK_THREADS).name("singletrack-disk").build();
        Ok(DiskPool { runtime: runtime.map_err(io::Error::other)?, io, disk: disk.map_err(io::Error::other)? })
    }

    /// Runs `job`, which may block, on a disk thread.
    pub(super) fn on_disk(&self, job: impl FnOnce() + Send + 'static) {
        self.disk.spawn(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use singletrack_queues::Queue;
    use std::io::Read;
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn a_thousand_reads_of_slow_disks_take_few_threads_and_none_of_the_queues() {
        let disk_pool = DiskPool::get().unwrap();
        // A pipe without data is the slow disk: the reading thread sleeps in the system until the
        // test closes it.
        let (disk, motor) = std::io::pipe().unwrap();
        let (tell, told) = channel();
        for _ in 0..1_000 {
            let (mut disk, tell) = (disk.try_clone().unwrap(), tell.clone());
            disk_pool.on_disk(move || tell.send(disk.read(&mut [0; 16]).unwrap()).unwrap());
        }
        let began = Instant::now();
        while disk_pool.disk.stats().threads < DISK_THREADS {
            assert!(began.elapsed() < SOON, "blocked threads are replaced: {:?}", disk_pool.disk.stats());
            std::thread::yield_now();
        }
        let queues: Vec<_> = (0..100).map(|i| Queue::new(format!("queue.{i}"))).collect();
        let blocks: Vec<_> = queues.iter().map(|queue| queue.call(|| ())).collect();
        blocks.into_iter().for_each(|block| block.wait().unwrap());
        assert!(told.try_recv().is_err(), "no disk has answered when all blocks have run");
        drop(motor);
        for _ in 0..1_000 {
            assert_eq!(told.recv_timeout(SOON).unwrap(), 0);
        }
        assert!(disk_pool.disk.stats().peak_threads <= DISK_THREADS);
    }
}
