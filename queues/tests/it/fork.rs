//! A call in a fork child reports that the child has no workers, instead of waiting for them.

use crate::child::{alone, exit_code, fork_and_run};
use crate::{LONG, by_a_worker, occupy, runtime, wait_until};
use singletrack_queues::{Gone, Group, Parker, Qos, Runtime, SyncError, TaskError, Workloop, join};
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
    alone("fork::a_fork_child_is_refused_and_told_and_may_make_a_runtime_of_its_own", || {
        let runtime = runtime(2);
        let (idle, busy) = (runtime.queue("idle"), runtime.queue("busy"));
        let workloop = Workloop::builder("urgent").runtime(&runtime).build();
        let latch = occupy(&busy);
        let mut pending = busy.call(|| 5);
        let code = fork_and_run(|| {
            in_the_child(&mut [
                &mut || idle.sync(|| 7) == 7,
                &mut || idle.try_submit(|| ()).is_err_and(|error| error.to_string().contains("fork child")),
                &mut || {
                    let error = busy.sync_timeout(LONG, || ()).expect_err("no thread will run it");
                    matches!(error, SyncError::Gone { why: Gone::ForkChild, .. })
                        && error.to_string().contains("busy")
                        && error.to_string().contains("fork child")
                },
                &mut || matches!(idle.call(|| ()).wait(), Err(TaskError::Dropped { .. })),
                &mut || matches!(pending.wait_timeout(LONG), Some(Err(TaskError::Dropped { .. }))),
                &mut || workloop.try_submit(Qos::Default, || ()).is_err(),
                &mut || {
                    let own = Runtime::builder().workers(1).build().expect("the child gets threads");
                    own.queue("own")
                        .call(|| 8)
                        .wait_timeout(LONG)
                        .is_some_and(|value| value.is_ok_and(|value| value == 8))
                },
                &mut || {
                    let group = Group::new();
                    group.enter();
                    std::thread::scope(|scope| {
                        scope.spawn(|| group.leave());
                        group.wait();
                    });
                    group.wait_timeout(Duration::ZERO)
                },
                &mut || runtime.shutdown(Duration::from_secs(1)).took.is_zero(),
            ])
        });
        assert_eq!(code, Some(0), "a bit for each answer that was wrong; none if the child hung");
        latch.open();
        assert_eq!(pending.wait_timeout(LONG).and_then(Result::ok), Some(5), "the parent goes on");
        assert_eq!(by_a_worker(idle.call(|| 6)), 6);
    });
}

/// Counts the sleepers and the wake-ups.
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
fn a_worker_that_forks_wakes_nobody_in_the_child_for_its_tasks() {
    alone("fork::a_worker_that_forks_wakes_nobody_in_the_child_for_its_tasks", || {
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
            let code = fork_and_run(|| {
                let before = woken.load(SeqCst);
                let sum = join(|| 2, || 3);
                i32::from(sum != (2, 3)) + 2 * i32::from(woken.load(SeqCst) != before)
            });
            assert_eq!(code, Some(0), "1: wrong results, 2: a thread was woken, none: the child hung");
        });
    });
}

/// Ends the child: with 0 if it is dropped there, with 1 if it is run.
#[cfg(unix)]
struct Verdict(libc::pid_t);

#[cfg(unix)]
impl Verdict {
    fn run(&self) {
        // SAFETY: as below.
        if unsafe { libc::getpid() } != self.0 {
            // SAFETY: this ends the process without running any of the parent's code.
            unsafe { libc::_exit(1) };
        }
    }
}

#[cfg(unix)]
impl Drop for Verdict {
    fn drop(&mut self) {
        // SAFETY: it only returns a number.
        if unsafe { libc::getpid() } != self.0 {
            // SAFETY: this ends the process without running any of the parent's code.
            unsafe { libc::_exit(0) };
        }
    }
}

#[cfg(unix)]
#[test]
fn a_queue_whose_block_forks_runs_nothing_more_in_the_child() {
    alone("fork::a_queue_whose_block_forks_runs_nothing_more_in_the_child", || {
        let runtime = runtime(1);
        let queue = runtime.queue("forks");
        let latch = occupy(&queue);
        let child = queue.call(|| {
            // SAFETY: the child allocates and frees (the allocator handles forks), and leaves by
            // `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: as above; if it hangs nevertheless, the alarm ends it.
                unsafe { libc::alarm(60) };
                log::set_max_level(log::LevelFilter::Off);
            }
            child
        });
        // SAFETY: it only returns a number.
        let verdict = Verdict(unsafe { libc::getpid() });
        let next = queue.call(move || verdict.run());
        latch.open();
        // By a worker: this thread would go on with the test in the child.
        let child = by_a_worker(child);
        assert_eq!(exit_code(child), Some(0), "the next block of the queue ran in the child, or the child hung");
        assert!(next.wait().is_ok(), "and runs in the parent");
    });
}
