//! `singletrack load`: arguments, the progress bar, and the report as a table, as JSON and as a
//! picture.
//!
//! Not for: the load itself (`load.rs`). Rules: the report alone goes to standard output. The
//! progress bar goes to standard error, and only to a terminal. Exit 0 when the server kept every
//! rule, 1 when it did not or this process lacked a resource, 2 for arguments that cannot be used,
//! 130 when it was interrupted and nothing was wrong so far.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::ProgressBar;
use rustix::process::{Resource, getrlimit};

use super::{INTERRUPTED, grouped, progress_bar};
use crate::load::{Kind, Pattern, Percentiles, Phase, Plan, Progress, Report, ServerUsage, Target};

/// The upper bound of the numeric options: far beyond what one machine can hold.
const MOST: usize = 10_000_000;
const LONGEST: f64 = 7.0 * 86_400.0;

/// The beginning of `load --help`.
pub(crate) const ABOUT: &str = "\
Puts a WebSocket server under load, verifies every message, and tells throughput and latency.

The server speaks the protocol of `singletrack serve`: what is sent to /echo comes back, and what a member of /room/NAME sends \
comes to all its members, the sender included, unchanged. Every message has its sender and a number: one that is lost, \
doubled, changed, out of order or in the wrong room ends the run, and the report names the connection.

Without --rate each sender has one message in flight and sends the next when its own copy has come back (a closed loop): that \
finds what the server can do. With --rate messages are due at fixed times, whatever the server does, and latency counts from \
then (an open loop): that finds what users would wait. Figures leave out the warm-up.

Exit code: 0 when the server kept every rule, 1 when it did not, 2 for arguments that cannot be used, 130 when it was interrupted \
(the report so far is printed).";

const EXAMPLES: &str = "\
Examples:
  singletrack load ws://127.0.0.1:8080                                 echo, 64 connections
  singletrack load ws://127.0.0.1:8080 --connections 1000 --idle 9000  and 9,000 more that only hold
  singletrack load ws://127.0.0.1:8080 --rooms 100                     chat: rooms of 10, everybody sends
  singletrack load ws://127.0.0.1:8080 --rooms 10 --members 100 --senders 1      broadcast
  singletrack load ws://127.0.0.1:8080 --rooms 100 --slow 1            one member of each room does not read
  singletrack load ws://127.0.0.1:8080 --rooms 100 --rate 20000 --plot load.svg  open loop, with a picture
  singletrack load ws://127.0.0.1:8080 --rooms 100 --pid $(pidof server) --json  what a delivery costs the server
";

/// The arguments of `load`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, after_help = "See --help for examples.")]
pub(crate) struct Arguments {
    /// The server: ws://HOST:PORT, with or without a path that stands before all others.
    #[arg(value_name = "URL")]
    url: String,
    /// Echo connections, each with a message in flight [default: 64, without --rooms].
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with = "rooms")]
    connections: Option<usize>,
    /// Rooms, instead of echo.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    rooms: Option<usize>,
    /// Members of each room.
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value = "10", requires = "rooms")]
    members: usize,
    /// Members of each room that send, or `all`: everybody who reads.
    #[arg(long, value_name = "N", value_parser = senders, default_value = "all", requires = "rooms")]
    senders: Senders,
    /// Members of each room that do not read before the others are done; they may miss messages by
    /// the server's rules.
    #[arg(long, value_name = "N", value_parser = any_number, default_value = "0", requires = "rooms")]
    slow: usize,
    /// More connections, which only hold.
    #[arg(long, value_name = "N", value_parser = any_number, default_value = "0")]
    idle: usize,
    /// Messages per second, of all senders together [default: each sends when its own copy is
    /// back].
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Payload bytes of a message, at least 48.
    #[arg(long, value_name = "BYTES", default_value = "64")]
    bytes: usize,
    /// Send binary messages instead of text.
    #[arg(long)]
    binary: bool,
    /// Seconds to measure.
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "10")]
    seconds: Duration,
    /// Seconds of load before that, which are left out of the figures.
    #[arg(long, value_name = "S", value_parser = seconds_or_none, default_value = "1")]
    warmup: Duration,
    /// Messages of each sender, instead of a time; there is no warm-up then.
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with_all = ["seconds", "warmup"])]
    messages: Option<usize>,
    /// Threads of the generator [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Connections that are being opened at one time.
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value = "64")]
    handshakes: usize,
    /// Seconds without any progress after which the server counts as stuck.
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "10")]
    patience: Duration,
    /// Path of the echo socket.
    #[arg(long, value_name = "PATH", value_parser = path, default_value = "/echo")]
    path: String,
    /// What stands before a room's name in its path.
    #[arg(long, value_name = "PATH", value_parser = path, default_value = "/room/")]
    room_path: String,
    /// The server's process, if it runs on this machine: tells what it costs.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Draw latency by percentile and deliveries over time.
    #[arg(long, value_name = "FILE.svg", value_parser = picture)]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Senders {
    All,
    Some(usize),
}

fn number(text: &str, least: usize) -> Result<usize, String> {
    let usable = |number: &usize| (least..=MOST).contains(number);
    text.parse().ok().filter(usable).ok_or_else(|| format!("give a whole number between {least} and {MOST}"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    number(text, 1)
}

fn any_number(text: &str) -> Result<usize, String> {
    number(text, 0)
}

fn senders(text: &str) -> Result<Senders, String> {
    if text == "all" { Ok(Senders::All) } else { number(text, 1).map(Senders::Some) }
}

fn rate(text: &str) -> Result<f64, String> {
    let usable = |rate: &f64| (0.001..=1e8).contains(rate);
    text.parse().ok().filter(usable).ok_or_else(|| "give messages per second, between 0.001 and 100000000".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let usable = |seconds: &f64| (0.1..=LONGEST).contains(seconds);
    let number = text.parse().ok().filter(usable);
    number.map(Duration::from_secs_f64).ok_or_else(|| format!("give a number of seconds between 0.1 and {LONGEST}"))
}

fn seconds_or_none(text: &str) -> Result<Duration, String> {
    if text.parse() == Ok(0.0) { Ok(Duration::ZERO) } else { seconds(text).map_err(|error| format!("{error}, or 0")) }
}

fn path(text: &str) -> Result<String, String> {
    let usable = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if usable { Ok(text.to_owned()) } else { Err("give a path that begins with / and has no spaces".into()) }
}

fn picture(text: &str) -> Result<PathBuf, String> {
    let file = PathBuf::from(text);
    let is_svg = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("svg"));
    if is_svg { Ok(file) } else { Err("pictures are SVG: give a name that ends in .svg".into()) }
}

impl Arguments {
    /// The plan, or a sentence that says why it cannot work.
    fn plan(&self) -> Result<(Plan, SocketAddr), String> {
        let target = Target::parse(&self.url)?;
        let resolved = target.authority.to_socket_addrs();
        let resolved = resolved.map(|addresses| crate::load::reachable(&addresses.collect::<Vec<_>>()));
        let address = match resolved {
            Ok(Some(address)) => address,
            Ok(None) => return Err(format!("{} has no address", target.authority)),
            Err(error) => return Err(format!("{} cannot be resolved: {error}", target.authority)),
        };
        let pattern = match self.rooms {
            None => Pattern::Echo { connections: self.connections.unwrap_or(64) },
            Some(rooms) => {
                let senders = match self.senders {
                    Senders::All => self.members.saturating_sub(self.slow).max(1),
                    Senders::Some(senders) => senders,
                };
                Pattern::Rooms { rooms, members: self.members, senders, slow: self.slow }
            }
        };
        if let Some(file) = &self.plot {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() {
                return Err(format!("--plot: there is no folder {}", folder.display()));
            }
            if file.is_dir() {
                return Err(format!("--plot: {} is a folder", file.display()));
            }
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        if self.pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}/stat")).exists()) {
            return Err("--pid names no process of this machine (or there is no /proc)".into());
        }
        let plan = Plan {
            target,
            pattern,
            path: if self.rooms.is_some() { self.room_path.clone() } else { self.path.clone() },
            idle: self.idle,
            idle_path: self.path.clone(),
            bytes: self.bytes,
            kind: if self.binary { Kind::Binary } else { Kind::Text },
            rate: self.rate,
            messages: self.messages.map(|each| each as u64),
            warmup: if self.messages.is_some() { Duration::ZERO } else { self.warmup },
            time: if self.messages.is_some() { Duration::from_secs_f64(LONGEST) } else { self.seconds },
            workers: self.workers.map_or_else(cores, usize::from),
            handshakes: self.handshakes,
            patience: self.patience,
            pid: self.pid,
        };
        plan.check(getrlimit(Resource::Nofile).current)?;
        Ok((plan, address))
    }
}

/// Runs the load and prints the report.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    super::raise_file_limit();
    let (plan, address) = match arguments.plan() {
        Ok(both) => both,
        Err(what) => return refuse(&what),
    };
    let bar = progress_bar();
    let outcome = crate::load::run(&plan, address, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            return ExitCode::FAILURE;
        }
    };
    // A reader that went away, such as `head`, is no reason to panic. The exit code still gives the
    // result.
    let _ = print(&report, arguments.json);
    if let Some(file) = &arguments.plot
        && let Err(error) = crate::load::draw(&report, &command(), &shape(&report), file)
    {
        let _ = writeln!(io::stderr(), "error: {} cannot be written: {error}", file.display());
        return ExitCode::FAILURE;
    }
    match (report.ok, report.interrupted) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(INTERRUPTED),
        (true, false) => ExitCode::SUCCESS,
    }
}

fn refuse(what: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {what}");
    ExitCode::from(2)
}

/// The command as it was typed, for the title of the picture.
fn command() -> String {
    std::iter::once("singletrack".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}

fn show(bar: &ProgressBar, progress: &Progress) {
    if bar.is_hidden() {
        return;
    }
    bar.set_position((progress.part * 1_000.0) as u64);
    let connections = grouped(progress.connections);
    bar.set_message(match progress.phase {
        Phase::Connecting => format!("connecting: {connections}"),
        Phase::WarmingUp => format!("{connections} connections, warming up"),
        Phase::Measuring => {
            let rate = grouped(progress.deliveries_per_s as u64);
            format!("{connections} connections, {} deliveries, {rate} a second", grouped(progress.deliveries))
        }
        Phase::Draining => "waiting for what is on its way".to_owned(),
        Phase::ReadingSlow => "reading what waits for the slow members".to_owned(),
    });
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, report)?;
        return writeln!(out);
    }
    table(report, &mut out)
}

/// The requested load, in one line.
fn shape(report: &Report) -> String {
    let idle = if report.idle > 0 { format!(", {} idle", grouped(report.idle as u64)) } else { String::new() };
    let loop_of = match report.rate {
        Some(rate) => format!("{rate} messages a second"),
        None => "each sender waits for its own copy".into(),
    };
    let who = if report.pattern == "echo" {
        format!("echo on {} connections", grouped((report.connections - report.idle) as u64))
    } else {
        let slow = if report.slow > 0 { format!(" and {} slow", report.slow) } else { String::new() };
        format!(
            "{} rooms of {} members, {} sending{slow}",
            grouped(report.rooms as u64),
            report.members,
            report.senders
        )
    };
    format!("{who}{idle}, {} bytes, {loop_of}", report.bytes)
}

fn table(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{} ({})", shape(report), report.target)?;
    writeln!(out, "connected    {} in {:.2} s", grouped(report.connections as u64), report.connect_s)?;
    writeln!(
        out,
        "messages     {:>14}  {:>12} a second over {:.1} s",
        grouped(report.messages),
        grouped(report.messages_per_s as u64),
        report.seconds
    )?;
    writeln!(
        out,
        "deliveries   {:>14}  {:>12} a second",
        grouped(report.deliveries),
        grouped(report.deliveries_per_s as u64)
    )?;
    writeln!(out, "latency      {}", times(&report.latency_us))?;
    if let Some(late) = &report.late_us {
        writeln!(out, "of that late {}  (sent after it was due)", times(late))?;
    }
    if report.not_sent > 0 {
        writeln!(out, "not sent     {} that were due: the server took no more", grouped(report.not_sent))?;
    }
    if let Some(server) = &report.server {
        print_server(server, out)?;
    }
    let own = &report.generator;
    writeln!(
        out,
        "generator    {:.3} µs of processor time per delivery, {:.0} % of its {} workers{}",
        own.cpu_us_per_delivery,
        own.busy * 100.0,
        report.workers,
        if own.busy > 0.9 { ": it may be what limits the figures; give it more" } else { "" }
    )?;
    if let Some(slow) = &report.slow_members {
        writeln!(
            out,
            "slow members {} closed with 1013, {} reset, {} served in the end, {} messages missed as reported",
            slow.closed, slow.reset, slow.served, slow.missed
        )?;
    }
    let early = if report.interrupted { "Interrupted. " } else { "" };
    match &report.breach {
        // Nothing waited for the messages on their way.
        None if report.interrupted => writeln!(out, "{early}What arrived came once, unchanged and in order."),
        None => writeln!(out, "Every message arrived once, unchanged and in order."),
        Some(what) => {
            let more = report.breaches - 1;
            let more = if more > 0 { format!(" ({more} more saw something wrong)") } else { String::new() };
            writeln!(out, "{early}BROKEN: {what}{more}")
        }
    }
}

fn print_server(server: &ServerUsage, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "server       {:.3} µs of processor time per delivery, {:.3} per message, {} threads at most",
        server.cpu_us_per_delivery, server.cpu_us_per_message, server.threads_peak
    )?;
    writeln!(
        out,
        "its memory   {} KiB at the start, {} connected ({} bytes a connection), {} at most",
        grouped(server.rss_start_kib),
        grouped(server.rss_connected_kib),
        grouped(server.bytes_per_connection),
        grouped(server.rss_peak_kib)
    )
}

fn times(of: &Percentiles) -> String {
    let Percentiles { p50, p90, p99, p999, max, .. } = of;
    format!("p50 {p50} µs, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max}")
}
