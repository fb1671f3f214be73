//! A fork child is told that it has no workers, instead of waiting for them.

use crate::{LONG, occupy, runtime, wait_until};
use singletrack_queues::{Parker, Qos, Runtime, SyncError, TaskError, Workloop, join};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Each question that the child answers has a bit in its exit code.
fn in_the_child(questions: &mut [&mut dyn FnMut() -> bool]) -> i32 {
    questions.iter_mut().enumerate().fold(0, |code, (bit, question)| code | i32::from(!question()) << bit)
}

#[cfg(unix)]
#[test]
fn a_fork_child_is_refused_and_told_and_may_make_a_runtime_of_its_own() {
    let runtime = runtime(2);
    let (idle, busy) = (runtime.queue("idle"), runtime.queue("busy"));
    let workloop = Workloop::builder("urgent").runtime(&runtime).build();
    let latch = occupy(&busy);
    let mut pending = busy.call(|| 5);
    // SAFETY: the child allocates (the allocator sees to forks), touches what this test made, and leaves by `_exit`; a lock
    // that another test's thread may hold it does not take: it neither prints, logs nor panics.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above; if it hangs nevertheless, the alarm ends it.
        unsafe { libc::alarm(60) };
        log::set_max_level(log::LevelFilter::Off);
        let code = in_the_child(&mut [
            &mut || idle.sync(|| 7) == 7,
            &mut || idle.try_submit(|| ()).is_err_and(|error| error.to_string().contains("fork child")),
            &mut || {
                let error = busy.sync_timeout(LONG, || ()).expect_err("nobody will run it");
                matches!(error, SyncError::Shutdown { .. })
                    && error.to_string().contains("busy")
                    && error.to_string().contains("fork child")
            },
            &mut || matches!(idle.call(|| ()).wait(), Err(TaskError::Dropped)),
            &mut || matches!(pending.wait_timeout(LONG), Some(Err(TaskError::Dropped))),
            &mut || workloop.try_submit(Qos::Default, || ()).is_err(),
            &mut || {
                let own = Runtime::builder().workers(1).build().expect("the child gets threads");
                own.queue("own").call(|| 8).wait().is_ok_and(|value| value == 8)
            },
            &mut || runtime.shutdown(Duration::from_secs(1)).took.is_zero(),
        ]);
        // SAFETY: ends this process, without anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: our own child, waited for once.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "the child hung, and was ended by signal {}", libc::WTERMSIG(status));
    assert_eq!(libc::WEXITSTATUS(status), 0, "a bit for each answer that was wrong");
    latch.open();
    assert_eq!(pending.wait_timeout(LONG).and_then(Result::ok), Some(5), "the parent goes on");
    assert_eq!(idle.call(|| 6).wait().ok(), Some(6));
}

/// Counts who sleeps, and how often somebody was woken.
#[cfg(unix)]
#[derive(Default)]
struct Bed {
    token: Mutex<bool>,
    bell: Condvar,
    sleepers: Arc<[AtomicUsize; 2]>,
}

#[cfg(unix)]
impl Parker for Bed {
    fn park(&self, timeout: Option<Duration>, awake: &mut dyn FnMut()) {
        self.sleepers[0].fetch_add(1, SeqCst);
        let token = self.token.lock().expect("no panic under it");
        let wait = timeout.unwrap_or(LONG);
        let (mut token, _) = self.bell.wait_timeout_while(token, wait, |token| !*token).expect("no panic under it");
        *token = false;
        drop(token);
        self.sleepers[0].fetch_sub(1, SeqCst);
        awake();
    }

    fn poll(&self) {}

    fn unpark(&self) {
        self.sleepers[1].fetch_add(1, SeqCst);
        *self.token.lock().expect("no panic under it") = true;
        self.bell.notify_one();
    }
}

#[cfg(unix)]
#[test]
fn a_worker_that_forks_wakes_nobody_in_the_child_for_its_pieces() {
    let sleepers = Arc::<[AtomicUsize; 2]>::default();
    let beds = sleepers.clone();
    let runtime = Runtime::builder()
        .workers(2)
        .parkers(move |_| Ok(Arc::new(Bed { sleepers: beds.clone(), ..Bed::default() })))
        .build()
        .expect("a few threads");
    let [asleep, woken] = &*sleepers;
    runtime.scope(|_| {
        wait_until("the other worker to sleep", || asleep.load(SeqCst) == 1);
        // SAFETY: as above.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above.
            unsafe { libc::alarm(60) };
            let before = woken.load(SeqCst);
            let sum = join(|| 2, || 3);
            let wrong = i32::from(sum != (2, 3)) + 2 * i32::from(woken.load(SeqCst) != before);
            // SAFETY: ends this process, without anything of the parent's.
            unsafe { libc::_exit(wrong) };
        }
        let mut status = 0;
        // SAFETY: our own child, waited for once.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status), "the child hung, and was ended by signal {}", libc::WTERMSIG(status));
        assert_eq!(libc::WEXITSTATUS(status), 0, "1: wrong results, 2: somebody was woken");
    });
}
