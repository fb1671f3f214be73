//! `singletrack serve`: the room server, until a signal.
//!
//! Not for: serving itself (`Server`). Rule: standard output gets exactly one line, when
//! connections are accepted.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use singletrack::error::Fault;
use singletrack::{Error, Limits, OriginPolicy, Server, SlowMember};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Slow {
    /// Close it with 1013.
    Close,
    /// Drop messages and tell it how many: {"missed":12}.
    Drop,
}

/// The arguments of `serve`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Address and port to listen on; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Workers that run the queues [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// What happens to a member that does not keep up with its room.
    #[arg(long, value_name = "POLICY", value_enum, default_value = "close")]
    slow_members: Slow,
    /// Origins from which browsers may connect, besides pages of this server: a list with commas,
    /// or * for all.
    #[arg(long, value_name = "ORIGINS", default_value = "", value_parser = origins)]
    origin: String,
    /// Bytes of one message; more are answered by close 1009.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().message_bytes)]
    message_bytes: usize,
    /// Bytes that may wait for one member before it counts as slow.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().outbox_bytes)]
    outbox_bytes: usize,
    /// Messages that may wait for one member before it counts as slow.
    #[arg(long, value_name = "N", default_value_t = Limits::default().outbox_frames)]
    outbox_frames: usize,
    /// Bytes that the system may hold for one member, besides those.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().send_buffer)]
    send_buffer: usize,
    /// Members of one room; more are answered by 503.
    #[arg(long, value_name = "N", default_value_t = Limits::default().room_members)]
    room_members: usize,
    /// Connections at once; more are answered by 503 [default: what the limit on open files
    /// allows].
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Seconds for a request head to arrive; then 408.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    head_time: Duration,
    /// Seconds of silence after which a peer is pinged.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    ping_interval: Duration,
    /// Seconds to wait for an answer to a ping; then the peer counts as gone.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pong_timeout: Duration,
    /// Seconds for all connections to finish after SIGTERM or SIGINT.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    drain: Duration,
}

/// Checks the list: an origin without a scheme would be accepted and never match.
fn origins(text: &str) -> Result<String, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    match items.into_iter().find(|item| !(["*", "null"].contains(item) || item.contains("://"))) {
        Some(item) => Err(format!("`{item}` is not an origin: give scheme and host, such as https://chat.example.org")),
        None => Ok(text.to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "give seconds, such as 10 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|_| "give seconds from 0 up, such as 10 or 0.5".to_owned())
}

impl Arguments {
    /// The values that apply without options.
    pub(crate) fn default_values() -> Arguments {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            arguments: Arguments,
        }
        Alone::parse_from(["serve"]).arguments
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.message_bytes = self.message_bytes;
        limits.outbox_bytes = self.outbox_bytes;
        limits.outbox_frames = self.outbox_frames;
        limits.send_buffer = self.send_buffer;
        limits.room_members = self.room_members;
        limits.connections = self.connections;
        limits.head_time = self.head_time;
        limits.ping_interval = self.ping_interval;
        limits.ping_jitter = self.ping_interval / 3;
        limits.pong_timeout = self.pong_timeout;
        limits.drain = self.drain;
        limits
    }
}

/// Serves until a signal.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    super::raise_file_limit();
    keep_pages_small();
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A standard error that accepts nothing is no reason for another exit status.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(match error.fault() {
                Fault::Caller => 2,
                _ => 1,
            })
        }
    }
}

/// With huge pages, the few hundred bytes of an idle connection, and the gaps that handshakes leave
/// between them, make the process two to four times as large. There was no measurable difference in
/// speed.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        log::debug!("the heap may be backed by huge pages: {error}");
    }
}

fn serve(arguments: &Arguments) -> Result<(), Error> {
    let mut builder = Server::builder()
        .listen(arguments.listen.as_str())
        .limits(arguments.limits())
        .origins(OriginPolicy::parse(&arguments.origin))
        .slow_members(match arguments.slow_members {
            Slow::Close => SlowMember::Close,
            Slow::Drop => SlowMember::DropAndTell,
        });
    if let Some(workers) = arguments.workers {
        builder = builder.workers(workers.into());
    }
    let server = builder.build()?;
    let (address, capacity) = (server.local_addr(), server.capacity());
    log::info!("{} workers, room for {capacity} connections", server.runtime().workers());
    let report = server.run_until_signal(|| {
        // The parent may have closed standard output, which is no reason not to serve.
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
    })?;
    log::info!("{report}");
    Ok(())
}
