//! Watches a folder, a command, the standard input, memory and Ctrl-C at once: five sources on one
//! queue, and no thread that waits for any of them.
//!
//! `cargo run --example watch -- --folder src sleep 10`, then type something, write a file, press
//! Ctrl-C.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Sender, channel};

use clap::Parser;
use singletrack::event::signals::{SIGINT, SIGTERM};
use singletrack::event::{Pressure, ProcessEnd};
use singletrack::{EventError, EventSource, Queue, Source};

/// Reports changes of a folder, the end of a command, its own input, and memory pressure, until
/// Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// The folder to watch, one level deep.
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// A command to run, with its arguments; its end is reported. Its input is empty.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Messages to the main thread, which prints them.
enum Seen {
    Happened(String),
    InputEnded,
    Stop,
}

/// Watches lines on standard input, as they are typed. The descriptor that is read is closed when
/// the source has ended.
fn typed(queue: &Queue, tell: &Sender<Seen>) -> io::Result<Result<EventSource, EventError>> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (tell, ended, watched) = (tell.clone(), tell.clone(), input.try_clone()?);
    let builder = Source::builder(queue).on_cancel(move || {
        let _ = ended.send(Seen::Happened("standard input: no longer watched".into()));
    });
    Ok(EventSource::readable(builder, &watched, move |bytes| {
        let mut buffer = vec![0; bytes.max(1) as usize];
        let seen = match input.read(&mut buffer) {
            Ok(0) => Seen::InputEnded,
            Ok(count) => Seen::Happened(format!("typed: {:?}", String::from_utf8_lossy(&buffer[..count]))),
            Err(error) => Seen::Happened(format!("typed: {error}")),
        };
        let _ = tell.send(seen);
    }))
}

/// Starts a command and watches its end.
fn run(
    queue: &Queue,
    command: &[String],
    tell: &Sender<Seen>,
) -> Result<Option<EventSource>, Box<dyn std::error::Error>> {
    let [program, arguments @ ..] = command else { return Ok(None) };
    let child = Command::new(program).args(arguments).stdin(Stdio::null()).spawn();
    let mut child = child.map_err(|error| format!("cannot run {program}: {error}"))?;
    let (tell, program) = (tell.clone(), program.clone());
    let source = EventSource::process_exit(queue, child.id(), move |end| {
        // It has ended, so this does not wait; the system forgets the child.
        let _ = child.wait();
        let how = match end {
            ProcessEnd::Exited(code) => format!("exited with {code}"),
            ProcessEnd::Killed(signal) => format!("was ended by signal {signal}"),
            _ => "ended".into(),
        };
        let _ = tell.send(Seen::Happened(format!("command: {program} {how}")));
    })?;
    Ok(Some(source))
}

fn watch(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new("watch");
    let (tell, told) = channel();

    let mut sources = Vec::new();
    for signal in [SIGINT, SIGTERM] {
        let tell = tell.clone();
        sources.push(EventSource::signal(&queue, signal, move |_| {
            let _ = tell.send(Seen::Stop);
        })?);
    }
    let changed = tell.clone();
    sources.push(EventSource::file_changes(&queue, &arguments.folder, move |changes| {
        for (path, change) in &changes.paths {
            let _ = changed.send(Seen::Happened(format!("{}: {change:?}", path.display())));
        }
    })?);
    sources.extend(run(&queue, &arguments.command, &tell)?);
    let short = tell.clone();
    match EventSource::memory_pressure(&queue, Pressure::Some, move || {
        let _ = short.send(Seen::Happened("memory: short".into()));
    }) {
        Ok(source) => sources.push(source),
        Err(error) => eprintln!("{error}"),
    }
    let mut input = Some(typed(&queue, &tell)??);

    println!("watching {}; Ctrl-C ends", arguments.folder.display());
    for seen in told {
        match seen {
            Seen::Happened(what) => println!("{what}"),
            Seen::InputEnded => input.take().iter().for_each(EventSource::cancel),
            Seen::Stop => break,
        }
    }
    sources.iter().chain(&input).for_each(EventSource::cancel);
    // This runs behind the ends of all sources.
    queue.sync(|| ());
    println!("done");
    Ok(())
}

fn main() -> ExitCode {
    match watch(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
