//! Questions to the kernel about a thread, and one wish.
//!
//! Is a thread that sits in one block computing, or is it blocked in the kernel? A blocked one
//! leaves its core idle and is replaced at once; a computing one only so that others get their
//! turn. Linux tells by the state letter of the thread; elsewhere the answer is "blocked", which
//! costs a thread.
//!
//! The wish: timed waits end on time. By default Linux ends them up to 50 us late, so as to wake
//! for several at once.

/// Names a thread to the kernel, for as long as it lives.
#[derive(Debug)]
pub(crate) struct ThreadState {
    #[cfg(target_os = "linux")]
    stat: libc::c_int,
}

impl ThreadState {
    /// For the thread that calls this.
    pub(crate) fn of_this_thread() -> Self {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: a constant, terminated path; the descriptor is ours and closed on drop. -1 is
            // kept as "unknown".
            let stat = unsafe { libc::open(c"/proc/thread-self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
            Self { stat }
        }
        #[cfg(not(target_os = "linux"))]
        Self {}
    }

    /// Does it wait in the kernel for something other than a processor?
    pub(crate) fn is_blocked(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            let mut text = [0u8; 64];
            // SAFETY: the buffer is ours and its length is given.
            let read = unsafe { libc::pread(self.stat, text.as_mut_ptr().cast(), text.len(), 0) };
            // "tid (name) S ...": the name may hold anything, so the letter stands behind the last
            // bracket.
            let text = &text[..usize::try_from(read).unwrap_or(0)];
            let letter = text.iter().rposition(|&byte| byte == b')').and_then(|at| text.get(at + 2));
            letter.is_none_or(|&letter| letter != b'R')
        }
        #[cfg(not(target_os = "linux"))]
        true
    }
}

/// From now on the timed waits of this thread, and of threads that it starts, end as soon as the
/// clock allows: the keeper of the timers must not be late, and the leeway is the timer's choice,
/// not the system's.
pub(super) fn be_punctual() {
    #[cfg(target_os = "linux")]
    {
        const NANOSECONDS: libc::c_ulong = 1;
        // SAFETY: it concerns this thread, takes no pointer, and a kernel that does not know it
        // changes nothing.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, NANOSECONDS) };
    }
}

#[cfg(target_os = "linux")]
impl Drop for ThreadState {
    fn drop(&mut self) {
        if self.stat >= 0 {
            // SAFETY: ours, open, and closed once.
            unsafe { libc::close(self.stat) };
        }
    }
}

#[cfg(all(test, target_os = "linux", not(queues_loom)))]
mod tests {
    use super::ThreadState;
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_waits_is_blocked_and_one_that_runs_is_not() {
        assert!(!ThreadState::of_this_thread().is_blocked(), "this very thread runs");
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(ThreadState::of_this_thread()).expect("the test listens");
            stopped.recv().expect_err("the sender is dropped");
        });
        let state = told.recv().expect("the thread tells");
        while !state.is_blocked() {
            std::thread::yield_now();
        }
        drop(stop);
        thread.join().expect("it ends");
    }
}
