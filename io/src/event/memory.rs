//! Sources that are called when memory is short.
//!
//! Linux counts how long tasks have to wait for memory ("pressure stall information"), and reports
//! when that exceeds a limit within a window. A trigger is a line that is written to a file, which
//! then becomes urgent. While memory is not short, nothing runs. Not for: how much memory is free;
//! that says little about whether more can be allocated.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use singletrack_queues::SourceBuilder;

use super::error::refused;
use super::{EventError, EventSource, Own, watched};
use crate::poller::{HANGUP, Interest, READABLE};

/// The limit at which the system reports: how long tasks had to wait for memory in the last two
/// seconds.
///
/// The window is two seconds, because the system lets only privileged processes choose another one.
///
/// ```
/// use singletrack_io::{EventSource, event::Pressure};
/// use singletrack_queues::Queue;
///
/// match EventSource::memory_pressure(&Queue::new("cache"), Pressure::Full, || println!("dropping the cache")) {
///     Ok(source) => source.cancel(),
///     Err(error) => println!("{error}"), // this system does not count pressure
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pressure {
    /// Some task waited for 150 of 2,000 ms. Free what is cheap to make again, such as caches.
    Some,
    /// No task could work for 100 of 2,000 ms, because all waited for memory. Free everything that
    /// can be freed.
    Full,
}

impl Pressure {
    /// The trigger in the system's format, with the end of a C string.
    fn trigger(self) -> &'static [u8] {
        match self {
            Pressure::Some => b"some 150000 2000000\0",
            Pressure::Full => b"full 100000 2000000\0",
        }
    }
}

/// The file of the whole system.
const SYSTEM: &str = "/proc/pressure/memory";

impl EventSource {
    /// Calls `handler` on the queue when memory becomes short as `pressure` says, and at most every
    /// two seconds while it is.
    ///
    /// The source watches the whole system or, where that is not available, the control group of
    /// this process.
    ///
    /// ```no_run
    /// use singletrack_io::{EventSource, event::Pressure};
    /// use singletrack_queues::Queue;
    ///
    /// let cache = Queue::new("cache");
    /// let source = EventSource::memory_pressure(&cache, Pressure::Some, || println!("dropping half of the cache"))?;
    /// # drop(source);
    /// # Ok::<(), singletrack_io::EventError>(())
    /// ```
    ///
    /// # Errors
    /// When the system does not count pressure, or does not let this process ask. The error has the
    /// reason for each place.
    #[track_caller]
    pub fn memory_pressure<F>(
        on: impl Into<SourceBuilder>,
        pressure: Pressure,
        handler: F,
    ) -> Result<EventSource, EventError>
    where
        F: FnMut() + Send + 'static,
    {
        let own_group = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|groups| of_group(&groups));
        let places: Vec<PathBuf> = [PathBuf::from(SYSTEM)].into_iter().chain(own_group).collect();
        told_by(on.into(), pressure, &places, handler)
    }
}

/// Finds the file of a control group in the list of a process's groups: the line of version 2 has
/// no controllers.
fn of_group(groups: &str) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    roots.iter().map(|root| root.join(group).join("memory.pressure")).find(|file| file.exists())
}

#[track_caller]
fn told_by(
    builder: SourceBuilder,
    pressure: Pressure,
    places: &[PathBuf],
    mut handler: impl FnMut() + Send + 'static,
) -> Result<EventSource, EventError> {
    let label = builder.label().to_string();
    EventError::unless_gone(&builder, "memory pressure")?;
    let armed = match arm(pressure, places) {
        Ok(armed) => armed,
        Err(why) => return Err(EventError::new(&label, "memory pressure", why)),
    };
    let turn = move |_: &File, signals| {
        if signals & HANGUP != 0 {
            log::warn!("memory pressure is no longer reported: the control group that counted it is gone");
        } else if signals & READABLE != 0 {
            handler();
        }
    };
    match watched(builder, armed, Interest::Urgent, &Own::default(), turn) {
        Ok(made) => Ok(made),
        Err(why) => Err(EventError::new(&label, "memory pressure", why)),
    }
}

/// Returns the first place that takes the trigger, or the errors of all of them.
fn arm(pressure: Pressure, places: &[PathBuf]) -> io::Result<File> {
    let (mut said, mut kind) = (Vec::new(), io::ErrorKind::NotFound);
    for place in places {
        match arm_at(pressure, place) {
            Ok(file) => return Ok(file),
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::NotFound => " (a kernel with CONFIG_PSI, started with psi=1, has it)",
                    io::ErrorKind::PermissionDenied => " (this process may not write there)",
                    _ => "",
                };
                said.push(format!("{}: {error}{why}", place.display()));
                kind = error.kind();
            }
        }
    }
    Err(refused(kind, said.join("; ")))
}

fn arm_at(pressure: Pressure, place: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(place)?;
    file.write_all(pressure.trigger())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use singletrack_queues::{Queue, Source};

    #[test]
    fn a_system_that_has_none_says_so_for_each_place() {
        let queue = Queue::new("cache");
        let places = ["/nowhere/memory", "/proc/self/status"].map(PathBuf::from);
        let error = told_by(Source::builder(&queue), Pressure::Some, &places, || ()).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("cache") && places.iter().all(|place| said.contains(place.to_str().unwrap())), "{said}");
    }

    #[test]
    fn a_plain_file_is_not_taken_for_a_system_that_tells() {
        let file = std::env::temp_dir().join(format!("singletrack-pressure-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let told = told_by(Source::builder(&Queue::new("cache")), Pressure::Full, std::slice::from_ref(&file), || ());
        let written = std::fs::read(&file).unwrap();
        std::fs::remove_file(file).unwrap();
        assert!(told.is_err());
        assert_eq!(written, Pressure::Full.trigger());
    }

    #[test]
    fn the_group_of_version_2_is_found_among_others() {
        assert_eq!(of_group("4:memory:/x\n1:cpu:/\n"), None);
        let found = of_group("4:memory:/x\n0::/\n");
        assert!(found.is_none_or(|file| file.ends_with("memory.pressure")));
    }
}
