//! Processes of their own for tests: a test that runs alone, and a fork child that answers a
//! question.
//!
//! The tests of several packages include this file by its path. Rule: a child that hangs is ended.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Long after every fork child here has ended: only a hang reaches it.
const HANG: Duration = Duration::from_secs(20);
/// The same for a process, which may have several such children.
const PROCESS_HANG: Duration = Duration::from_secs(150);

const CHILD: &str = "SINGLETRACK_TEST_CHILD";
/// The exit code of a body that came to its end: a name that is no test's ends with 0.
const ENDED: i32 = 75;

/// Runs `body` in a process of its own, which may end in any way. Returns whether `body` came to
/// its end, and what was written to the standard error; `None` if it hung and was killed.
///
/// `name` is that of the calling test, which the child runs again.
#[track_caller]
pub(crate) fn in_a_process(name: &str, body: impl FnOnce()) -> Option<(bool, String)> {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        body();
        // Drops nothing: what the body did to this process must not be examined again.
        std::process::exit(ENDED);
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "--nocapture", name]).env(CHILD, name).env("RUST_BACKTRACE", "0");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs again");
    let mut pipe = child.stderr.take().expect("it is piped");
    let text = std::thread::spawn(move || {
        let mut text = Vec::new();
        pipe.read_to_end(&mut text).expect("a pipe");
        String::from_utf8_lossy(&text).into_owned()
    });
    let end = Instant::now() + PROCESS_HANG;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
            break None;
        }
        std::thread::sleep(Duration::from_millis(2)); // between two looks: at a process, which sends no notification
    };
    let text = text.join().expect("it reads");
    status.map(|status| (status.code() == Some(ENDED), format!("{text}{status}")))
}

/// Runs `body` in a process of its own, where it must come to its end.
#[track_caller]
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    let (ended, text) = in_a_process(name, body).unwrap_or_else(|| panic!("{name} hung"));
    assert!(ended, "{name}: {text}");
}

/// Forks, and asks the child: `true` if it answered yes; `None` if it hung. Only for tests that run
/// [`alone`], where no other test holds a lock at the moment of the fork, which would never open in
/// the child. The threads of the test's own runtimes must not panic meanwhile: that takes a lock of
/// std.
pub(crate) fn in_a_child(question: impl FnOnce() -> bool) -> Option<bool> {
    let child = || {
        std::panic::set_hook(Box::new(|_| ()));
        i32::from(!catch_unwind(AssertUnwindSafe(question)).unwrap_or(false))
    };
    fork_and_run(child).map(|code| code == 0)
}

/// Forks, and runs `child` there: its exit code. `None` if it hung, or a signal ended it.
pub(crate) fn fork_and_run(child: impl FnOnce() -> i32) -> Option<i32> {
    // SAFETY: the child allocates (the allocator handles forks), touches only what its test made,
    // and leaves by `_exit`. It does not log, and takes no lock that another test holds.
    let id = unsafe { libc::fork() };
    if id == 0 {
        // SAFETY: as above; if it hangs, the alarm ends it.
        unsafe { libc::alarm(HANG.as_secs() as u32) };
        log::set_max_level(log::LevelFilter::Off);
        let code = child();
        // SAFETY: this ends the process without running any of the parent's code.
        unsafe { libc::_exit(code) };
    }
    exit_code(id)
}

/// Waits for a fork child: its exit code. `None` if a signal ended it.
pub(crate) fn exit_code(child: libc::pid_t) -> Option<i32> {
    let mut status = 0;
    // SAFETY: our own child, waited for once.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}
