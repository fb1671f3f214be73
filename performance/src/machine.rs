//! The machine of the measurements, in words for a README.
//!
//! Not for: anything that distinguishes one machine of a kind from another.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A kind of machine.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) virtual_machine: bool,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
}

impl Machine {
    /// The machine that this runs on.
    pub(crate) fn this() -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let rustc = Command::new("rustc").arg("--version").output();
        let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        Machine {
            cpu: field("model name").unwrap_or_else(|| "a processor without a name".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            virtual_machine: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            kernel: two_numbers(kernel.trim()),
            rustc: two_numbers(rustc.split(' ').nth(1).unwrap_or_default()),
        }
    }

    /// "AMD EPYC, 2 cores of a virtual machine, Linux 6.18, rustc 1.95".
    pub(crate) fn sentence(&self) -> String {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        let of = if self.virtual_machine { " of a virtual machine" } else { "" };
        let (cpu, kernel, rustc) = (&self.cpu, &self.kernel, &self.rustc);
        format!("{cpu}, {} {cores}{of}, Linux {kernel}, rustc {rustc}", self.cores)
    }
}

/// The number of looks at the running threads, and the time between two.
const LOOKS: (u32, Duration) = (40, Duration::from_millis(50));

/// The number of other threads that want a core now, on average over two seconds. Not the load
/// average, which remembers for minutes the build of this program.
pub(crate) fn busy() -> f64 {
    let look = |_| {
        thread::sleep(LOOKS.1);
        others(&fs::read_to_string("/proc/loadavg").unwrap_or_default())
    };
    (f64::from((0..LOOKS.0).map(look).sum::<u32>()) / f64::from(LOOKS.0) * 100.0).round() / 100.0
}

/// Threads that run or could, apart from the one that asks: `0.20 0.18 0.12 3/80 11206` means two.
fn others(load: &str) -> u32 {
    let running = load.split(' ').nth(3).and_then(|threads| threads.split('/').next()?.parse::<u32>().ok());
    running.unwrap_or_default().saturating_sub(1)
}

/// The first two numbers of a version. The rest is specific to one machine.
fn two_numbers(version: &str) -> String {
    version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::{Machine, others, two_numbers};

    #[test]
    fn a_machine_is_named_by_its_kind() {
        let (cpu, kernel, rustc) = ("AMD EPYC".to_owned(), two_numbers("6.18.44-own"), two_numbers("1.95.0"));
        let machine = Machine { cpu, cores: 2, virtual_machine: true, kernel, rustc };
        assert_eq!(machine.sentence(), "AMD EPYC, 2 cores of a virtual machine, Linux 6.18, rustc 1.95");
    }

    #[test]
    fn what_was_built_before_does_not_make_a_machine_busy() {
        assert_eq!(others("15.20 8.18 3.12 1/80 11206\n"), 0);
        assert_eq!(others("0.20 0.18 0.12 3/80 11206\n"), 2);
        assert_eq!(others(""), 0);
    }

    #[test]
    fn this_machine_has_a_name() {
        let machine = Machine::this();
        assert!(!machine.cpu.is_empty() && machine.cores > 0 && machine.kernel.contains('.'), "{machine:?}");
    }
}
