//! Copies a file or the standard input through two channels: reading and writing overlap, and at
//! most half a mebibyte is in memory.
//!
//! `cargo run --release --example copy -- FROM TO`, or `... -- - TO` for the standard input.
//!
//! The copy is written next to its target, under a name that ends in `.part`, and replaces the
//! target when it is complete. An error or Ctrl-C removes it and reports that. The progress bar
//! goes to standard error, if that is a terminal.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};

use indicatif::{ProgressBar, ProgressStyle};
use singletrack::io::{Io, signal};
use singletrack::{Channel, Queue, Runtime};

/// Messages of the channels to the main thread.
enum Told {
    Written(u64),
    AllRead,
    AllWritten,
    Failed(String),
    Interrupted,
    Closed,
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    const USAGE: &str = "usage: copy FROM TO\n       copy - TO     copies the standard input";
    if matches!(&arguments[..], [only] if only == "--help" || only == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let [from, to] = &arguments[..] else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match copy(from, Path::new(to)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { sentence, code }) => {
            eprintln!("copy: {sentence}");
            ExitCode::from(code)
        }
    }
}

struct Failure {
    sentence: String,
    code: u8,
}

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { sentence: error.to_string(), code: 1 }
    }
}

fn copy(from: &OsString, to: &Path) -> Result<(), Failure> {
    // A link is followed to its target. A device or a folder cannot be replaced by a file.
    let to = fs::canonicalize(to).unwrap_or_else(|_| to.to_owned());
    if fs::metadata(&to).is_ok_and(|meta| !meta.is_file()) {
        return Err(format!("{} is no file: name a file to copy to", to.display()).into());
    }
    let mut part = to.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);

    let io = Io::new(1)?;
    let queue = Runtime::builder().workers(1).name("copy").parkers(io.parkers()).build()?.queue("copy");
    let (tell, told) = channel();
    let interrupted = tell.clone();
    let _signals = signal::on_end(&io, &queue, move || send(&interrupted, Told::Interrupted))?;
    let (source, size) = source(from, &queue, &tell)?;
    let target = target(&part, &queue, &tell)?;
    let bar = progress_bar(size);
    pump(&source, &target, &tell);
    let outcome = watch(&told, &tell, &target, &bar);

    // In any case, the descriptors are given back before the process ends: a terminal stays as it
    // was.
    source.stop();
    target.stop();
    (0..2).for_each(|_| while !matches!(told.recv(), Ok(Told::Closed) | Err(_)) {});
    let outcome = outcome.and_then(|()| {
        let error = |error| format!("cannot name the copy {}: {error}", to.display());
        Ok(fs::rename(&part, &to).map_err(error)?)
    });
    outcome.map_err(|failure| {
        bar.abandon();
        let removed = match fs::remove_file(&part) {
            Ok(()) => format!("the unfinished {} was removed", part.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "nothing was written".into(),
            Err(error) => format!("the unfinished {} is still there: {error}", part.display()),
        };
        Failure { sentence: format!("{}; {removed}", failure.sentence), code: failure.code }
    })?;
    bar.finish();
    Ok(())
}

/// Opens the source; also returns its size, if that is known.
fn source(from: &OsString, queue: &Queue, tell: &Sender<Told>) -> Result<(Channel, Option<u64>), Failure> {
    let closed = tell.clone();
    let builder = Channel::builder(queue).on_cleanup(move |_| send(&closed, Told::Closed));
    if from == "-" {
        return Ok((builder.stream(io::stdin().as_fd().try_clone_to_owned()?)?, None));
    }
    let size = fs::metadata(from).ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
    Ok((builder.stream_path(from, OpenOptions::new().read(true))?, size))
}

fn target(part: &Path, queue: &Queue, tell: &Sender<Told>) -> Result<Channel, Failure> {
    let closed = tell.clone();
    let builder = Channel::builder(queue).on_cleanup(move |_| send(&closed, Told::Closed));
    Ok(builder.random_path(part, OpenOptions::new().write(true).create(true).truncate(true))?)
}

/// Writes each delivery of the source. The next delivery waits until the one before it is written.
fn pump(source: &Channel, target: &Channel, tell: &Sender<Told>) {
    let (target, tell, mut offset) = (target.clone(), tell.clone(), 0);
    source.read(0, Channel::TO_END, move |read| {
        let (hold, length, wrote) = (read.hold(), read.data.len() as u64, tell.clone());
        target.write(offset, read.data, move |written| {
            let _until_written = &hold;
            match written.error {
                Some(error) => send(&wrote, Told::Failed(error.to_string())),
                None if written.done => send(&wrote, Told::Written(length)),
                None => {}
            }
        });
        offset += length;
        match read.error {
            Some(error) => send(&tell, Told::Failed(error.to_string())),
            None if read.done => send(&tell, Told::AllRead),
            None => {}
        }
    });
}

/// Shows the progress until the copy is complete or fails.
fn watch(told: &Receiver<Told>, tell: &Sender<Told>, target: &Channel, bar: &ProgressBar) -> Result<(), Failure> {
    loop {
        match told.recv()? {
            Told::Written(bytes) => bar.inc(bytes),
            Told::AllRead => {
                let tell = tell.clone();
                // Behind all writes; a full disk may be reported only now.
                target.barrier(move |fd| {
                    let synced = fd.map_err(|error| error.to_string()).and_then(|fd| {
                        rustix::fs::fsync(fd).map_err(|error| format!("cannot make the copy durable: {error}"))
                    });
                    send(&tell, synced.map_or_else(Told::Failed, |()| Told::AllWritten));
                });
            }
            Told::AllWritten => return Ok(()),
            Told::Failed(sentence) => return Err(sentence.into()),
            Told::Interrupted => return Err(Failure { sentence: "interrupted".into(), code: 130 }),
            Told::Closed => {}
        }
    }
}

fn progress_bar(size: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = size.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = if size.is_some() {
        "{elapsed:>4} [{bar:32}] {bytes} of {total_bytes}, {bytes_per_sec}"
    } else {
        "{elapsed:>4} {spinner} {bytes}, {bytes_per_sec}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Sends to the main thread, which listens until both channels are closed, so no message is lost.
fn send(to: &Sender<Told>, told: Told) {
    let _ = to.send(told);
}
