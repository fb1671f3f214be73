//! The cost of a process, as Linux reports it in /proc: processor time, memory, threads.
//!
//! Not for: this process's own time, which the system reports more exactly. Without /proc nothing
//! is reported.

use std::fs;

/// One look at a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time of all its threads so far, in seconds.
    pub(crate) cpu: f64,
    /// Its resident memory.
    pub(crate) resident_kib: u64,
    pub(crate) threads: u64,
}

impl Usage {
    /// Looks at a process. `None` if there is none of that number, or no /proc.
    pub(crate) fn of(process: u32) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        Usage::read(&stat, &status, rustix::param::clock_ticks_per_second())
    }

    fn read(stat: &str, status: &str, ticks_per_second: u64) -> Option<Usage> {
        // The second field is the program's name in parentheses. It may hold anything, including
        // parentheses and spaces.
        let fields = &stat[stat.rfind(')')? + 1..];
        let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
        let ticks = times.next()?.ok()? + times.next()?.ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse().ok()
        };
        Some(Usage {
            cpu: ticks as f64 / ticks_per_second as f64,
            // A process that has ended but was not waited for has no memory.
            resident_kib: field("VmRSS:").unwrap_or(0),
            threads: field("Threads:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15";
        let status = "Name:\ta) b (c)\nVmRSS:\t  1234 kB\nThreads:\t7\n";
        assert_eq!(Usage::read(stat, status, 100), Some(Usage { cpu: 3.0, resident_kib: 1234, threads: 7 }));
        assert_eq!(Usage::read("42 (a) S 1 2", status, 100), None);
    }

    #[test]
    fn this_process_is_found_and_one_that_cannot_be_is_not() {
        let own = Usage::of(std::process::id()).unwrap();
        assert!(own.resident_kib > 0 && own.threads > 0);
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
