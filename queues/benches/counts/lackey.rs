//! Runs this program again under lackey, which traces every access to memory, and reads the trace.
//!
//! For: the lines of memory that both workers of `apart` touch in an operation and at least one of
//! them writes. More cores cannot make these faster: such a line travels between them, whatever the
//! word in it is for. Not for: what the child does. Rules: a line counts if every second operation
//! of either worker touches it; rare events (a look around after 61 blocks) are shared out among
//! many operations. The least of several stretches counts: on a busy machine the monitor ticks many
//! times in a stretch, and that only adds to it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use super::apart::OPS;

/// The result for one kind of operation.
pub(crate) struct Seen {
    pub(crate) name: String,
    /// Lines that an operation writes.
    pub(crate) written: usize,
    /// Lines that an operation of one thread writes and an operation of the other thread touches.
    pub(crate) shared: usize,
    /// How many shared lines there should be.
    pub(crate) limit: usize,
}

/// How often one worker's part touched each line, and how many of these accesses wrote it.
type Part = HashMap<u64, Touches>;

#[derive(Clone, Copy, Default)]
struct Touches {
    all: usize,
    writes: usize,
}

/// A line that is touched more often than this counts.
const EACH: usize = OPS / 2;

/// Where the mark is: known once the child reports it, which is before the child stores there.
static MARK: OnceLock<u64> = OnceLock::new();

/// Runs this program with `arguments` under lackey.
pub(crate) fn run(arguments: &[&str]) -> Result<Vec<Seen>, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut child = Command::new("valgrind")
        .args(["--tool=lackey", "--basic-counts=no", "--trace-mem=yes", "--log-fd=2"])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("valgrind cannot be started ({error}); it is in Debian's package of that name"))?;
    let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        unreachable!("all three are pipes")
    };
    // This must go on all the while, or the child stops at a full pipe.
    let trace = thread::spawn(move || parts(stderr));
    let names = talk(stdin, stdout);
    let parts = trace.join().expect("it does not panic");
    let status = child.wait().map_err(|error| format!("valgrind: {error}"))?;
    let (names, parts) = (names?, parts.map_err(|error| format!("lackey's trace: {error}"))?);
    if !status.success() || parts.len() != 2 * names.len() {
        let (stretches, parts) = (names.len(), parts.len());
        return Err(format!(
            "under lackey the program ended with {status}, after {stretches} stretches of {parts} parts"
        ));
    }
    let mut least: Vec<Seen> = Vec::new();
    for (line, parts) in names.iter().zip(parts.chunks(2)) {
        let seen = Seen::new(line, &parts[0], &parts[1])?;
        match least.iter_mut().find(|known| known.name == seen.name) {
            Some(known) => {
                known.written = known.written.min(seen.written);
                known.shared = known.shared.min(seen.shared);
            }
            None => least.push(seen),
        }
    }
    Ok(least)
}

/// Learns where the mark is, lets the child begin, and reads its report on its stretches.
fn talk(mut stdin: ChildStdin, stdout: ChildStdout) -> Result<Vec<String>, String> {
    let mut lines = BufReader::new(stdout).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    let mark = u64::from_str_radix(&first, 16).map_err(|error| format!("the child said {first:?}: {error}"))?;
    MARK.get_or_init(|| mark);
    stdin.write_all(b"go\n").map_err(|error| format!("the child does not listen: {error}"))?;
    lines.collect::<Result<_, _>>().map_err(|error| format!("what the child says: {error}"))
}

/// The lines that were touched between the marks.
fn parts(trace: ChildStderr) -> std::io::Result<Vec<Part>> {
    let mut trace = BufReader::with_capacity(1 << 16, trace);
    let (mut parts, mut open, mut line) = (Vec::new(), None, Vec::new());
    while trace.read_until(b'\n', &mut line)? > 0 {
        if let Some((address, writes)) = access(&line) {
            if MARK.get() == Some(&address) {
                match open.take() {
                    Some(part) => parts.push(part),
                    None => open = Some(Part::new()),
                }
            } else if let Some(part) = &mut open {
                let touches = part.entry(address / LINE).or_default();
                touches.all += 1;
                touches.writes += usize::from(writes);
            }
        }
        line.clear();
    }
    Ok(parts)
}

/// The size of a line of memory: the unit that travels between cores.
const LINE: u64 = 64;

/// An access to data, such as ` S 1ffefff4d8,8`: its address, and whether it wrote (`S`, or `M` for
/// a read and a write).
fn access(line: &[u8]) -> Option<(u64, bool)> {
    let [b' ', kind @ (b'L' | b'S' | b'M'), b' ', rest @ ..] = line else { return None };
    let digits = rest.split(|&byte| byte == b',').next()?;
    let address = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((address, *kind != b'L'))
}

impl Seen {
    fn new(line: &str, one: &Part, other: &Part) -> Result<Self, String> {
        let (name, limit) = line.split_once('|').ok_or_else(|| format!("the child said: {line}"))?;
        let limit = limit.parse().map_err(|error| format!("the child said: {line}: {error}"))?;
        let written = |part: &Part| part.values().filter(|touches| touches.writes >= EACH).count();
        let is_shared = |line: &u64| {
            let [one, other] = [one, other].map(|part| part.get(line).copied().unwrap_or_default());
            one.writes >= EACH && other.all >= EACH || other.writes >= EACH && one.all >= EACH
        };
        let shared = one.keys().filter(|line| is_shared(line)).count();
        Ok(Self { name: name.to_owned(), written: written(one).max(written(other)), shared, limit })
    }

    /// A line of the table, or an object.
    pub(crate) fn line(&self, as_json: bool) -> String {
        let Self { name, written, shared, limit } = self;
        if as_json {
            format!(
                "{{\"operation\":\"{name}\",\"lines_written\":{written},\"lines_shared\":{shared},\"limit\":{limit}}}\n"
            )
        } else {
            format!("{name:<40}{written:>13}{shared:>8}{limit:>8}\n")
        }
    }

    /// The fault of this operation, if there is one.
    pub(crate) fn fault(&self) -> Option<String> {
        let Self { name, shared, limit, .. } = self;
        let one_side = if shared > limit { "more" } else { "fewer" };
        (shared != limit).then(|| {
            format!("\"{name}\" of two threads that have nothing to do with one another touches {one_side} lines of memory that are the same for both: {limit} before, {shared} now. See queues/benches/counts/apart.rs")
        })
    }
}

/// The head of the table.
pub(crate) const HEAD: &str = "\nby two threads apart                     lines written  shared   limit\n";
