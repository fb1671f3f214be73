//! The threads that serve channels: few that may block, for files, and one that waits for pipes and sockets.
//!
//! The system says of no file whether reading it would block, so it is read by threads that may: a runtime of their own,
//! whose workers are blocked most of the time and are stood in for as any blocked worker is, up to [`DISK_THREADS`]. So a
//! hung disk takes one of these threads and not a worker of the queues, and 64 of them take none either; what comes
//! afterwards waits for a disk, the queues do not. The library's `blocking` would take stand-ins of the queues' own
//! runtime, whose cap the program's blocks share; and it makes a stand-in for each read, though most are served from memory
//! in microseconds. Here only the monitor makes them, for a thread that it sees asleep.
//! Not for: what is read; these run what they are given. Rule: started when first used, and never ended.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use singletrack_queues::Runtime;

use super::error::ChannelError;
use crate::io::Io;

/// Threads that are there when a file is first used.
const DISK_WORKERS: usize = 4;
/// Most threads that may be blocked by disks at a time.
const DISK_THREADS: usize = 64;

/// The threads of all channels of this process.
#[derive(Clone)]
pub(super) struct Ground {
    /// Where the blocks of channels run that must not block; waits in `io`.
    pub(super) runtime: Runtime,
    /// Watches pipes and sockets.
    pub(super) io: Io,
    disk: Runtime,
}

static GROUND: Mutex<Option<Ground>> = Mutex::new(None);

impl Ground {
    /// That of the process. A failed start is tried again by the next call.
    pub(super) fn get() -> Result<Ground, ChannelError> {
        let mut ground = GROUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ground) = &*ground {
            return Ok(ground.clone());
        }
        let started = Ground::start().map_err(|source| ChannelError::Threads { source: Arc::new(source) })?;
        Ok(ground.insert(started).clone())
    }

    fn start() -> io::Result<Ground> {
        let io = Io::new(1)?;
        let runtime = Runtime::builder().workers(1).name("singletrack-channels").parkers(io.parkers()).build();
        let disk = Runtime::builder().workers(DISK_WORKERS).thread_cap(DISK_THREADS).name("singletrack-disk").build();
        Ok(Ground { runtime: runtime.map_err(io::Error::other)?, io, disk: disk.map_err(io::Error::other)? })
    }

    /// Runs `job`, which may block, on a thread that may.
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
        let ground = Ground::get().unwrap();
        // A pipe that blocks is the slow disk: the reading thread sleeps in the system until somebody writes.
        let (disk, motor) = std::io::pipe().unwrap();
        let (tell, told) = channel();
        for _ in 0..1_000 {
            let (mut disk, tell) = (disk.try_clone().unwrap(), tell.clone());
            ground.on_disk(move || tell.send(disk.read(&mut [0; 16]).unwrap()).unwrap());
        }
        let began = Instant::now();
        while ground.disk.stats().threads < DISK_THREADS {
            assert!(began.elapsed() < SOON, "blocked threads are stood in for: {:?}", ground.disk.stats());
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
        assert!(ground.disk.stats().peak_threads <= DISK_THREADS);
    }
}
