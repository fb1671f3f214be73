//! The programs of `examples/desktop` on a display, driven from outside.
//!
//! For: what a person sees and does: a bar that grows, a button that cancels, a window that closes
//! while work goes on. Also for the load on the machine: turns that keep to their budget, one
//! wake-up for many blocks, none when nothing happens.
//! Not for: the main queue's own rules, which its tests cover. Rules: the tests check counts, never
//! seconds; each saves a picture in the target folder under `desktop`, for a person to look at.

use singletrack_desktop_test::{Colour, Display, Picture, Program, Statistics, Used, Window, until};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// One of the two toolkits' programs.
struct Subject {
    name: &'static str,
    title: &'static str,
    /// The colour that fills its bar.
    bar: Colour,
    /// The position of its only button.
    button: (i16, i16),
    /// Arguments for a search that submits 100,000 blocks.
    short: Vec<&'static str>,
    /// Arguments for a search that does not end within a test.
    endless: Vec<&'static str>,
}

/// Its search gets the folder that it runs in, of [`FILES`] files, many times.
fn egui() -> Subject {
    Subject {
        name: "singletrack-egui",
        title: "Largest files",
        bar: [46, 125, 50],
        button: (30, 20),
        short: vec!["."; 100_000 / FILES],
        endless: vec!["."; 50_000],
    }
}

/// Its search submits a block for every ten numbers.
fn gtk() -> Subject {
    Subject {
        name: "singletrack-gtk",
        title: "Collatz",
        bar: [53, 132, 228],
        button: (590, 29),
        short: vec!["1000000"],
        endless: vec!["1000000000"],
    }
}

const FILES: usize = 1_000;

/// Makes the test's own folder in the target folder, with [`FILES`] files of different sizes.
fn folder() -> Result<PathBuf, String> {
    static MADE: std::sync::OnceLock<Result<PathBuf, String>> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("files");
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        for size in 0..FILES {
            fs::write(folder.join(format!("{size}.txt")), "x".repeat(size)).map_err(|e| e.to_string())?;
        }
        Ok(folder)
    })
    .clone()
}

fn start(subject: &Subject, args: &[&str]) -> Result<(Display, Program, Window), String> {
    let display = Display::start()?;
    let program = Program::start(subject.name, args, &folder()?, &display)?;
    let window = Window::wait_for(subject.title, &display)?;
    Ok((display, program, window))
}

fn save(subject: &Subject, window: &Window, what: &str) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../desktop");
    window.picture()?.save(&folder.join(format!("{}-{what}.png", subject.name)))
}

/// Waits until the window is drawn and its bar is longer than `than`.
fn bar_longer(subject: &Subject, window: &Window, than: usize) -> Result<usize, String> {
    window.wait_for_picture(&format!("a bar longer than {than} pixels"), |picture: &Picture| {
        let (bar, colours) = (picture.longest_run(subject.bar), picture.colours());
        if bar > than && colours > 10 { Ok(bar) } else { Err(format!("{bar} pixels in {colours} colours")) }
    })
}

/// Waits until the program uses no more than `at_most` in a period of `long`.
fn quiet(program: &Program, long: Duration, at_most: Used) -> Result<(), String> {
    until(&format!("no more than {at_most:?} in {long:?}"), Duration::from_secs(60), || {
        let before = program.used()?;
        thread::sleep(long); // between two looks: that nothing happens takes a while to see
        let after = program.used()?;
        let used = after.since(before).ok_or("a thread ended meanwhile")?;
        if used.ticks <= at_most.ticks && used.switches <= at_most.switches { Ok(()) } else { Err(format!("{used:?}")) }
    })
}

/// Checks what holds for every run, long or short.
fn keeps_to_its_turns(said: Statistics) {
    assert!(said.wakes <= said.turns + 1, "one wake for each turn, and no more: {said:?}");
    assert!(said.frames > 1 && said.blocks > said.turns, "it drew, and ran many blocks in a turn: {said:?}");
    // The budget is 4 ms, and these blocks take microseconds; the rest is for a machine that does
    // much else.
    assert!(said.longest_turn_ms < 10_000.0, "the window did not hang: {said:?}");
}

fn shows_all_and_sleeps(subject: &Subject) -> Result<(), String> {
    let (_display, program, window) = start(subject, &subject.short)?;
    window.wait_for_title("that it is done", |title| title.ends_with("done") || title.ends_with("found"))?;
    // The window has 640 pixels, less the margins.
    bar_longer(subject, &window, 580)?;
    quiet(&program, Duration::from_secs(5), Used { ticks: 1, switches: 10 })?;
    save(subject, &window, "done")?;
    window.close()?;
    let said = program.ended()?;
    keeps_to_its_turns(said);
    assert!((100_000..110_000).contains(&said.blocks), "a block for each step: {said:?}");
    assert!(said.wakes < said.blocks / 10, "one wake for many blocks: {said:?}");
    Ok(())
}

fn grows_and_is_cancelled(subject: &Subject) -> Result<(), String> {
    let (display, program, window) = start(subject, &subject.endless)?;
    let bar = bar_longer(subject, &window, 0)?;
    let bar = bar_longer(subject, &window, bar)?;
    save(subject, &window, "searching")?;
    // A window that cannot draw takes no results: the search waits for it, and does not run on
    // without limit. Context switches do not count here: the pool checks now and then whether its
    // waiting worker needs a replacement thread.
    display.frozen(|| quiet(&program, Duration::from_secs(1), Used { ticks: 10, switches: u64::MAX }))?;
    bar_longer(subject, &window, bar)?;
    window.click(subject.button.0, subject.button.1)?;
    window.wait_for_title("that it is cancelled", |title| title.ends_with("cancelled"))?;
    for (width, height) in [(800, 600), (460, 300)] {
        window.resize(width, height)?;
        window.wait_for_picture("the window to be drawn in its new size", |picture| {
            let drawn = (picture.width(), picture.is_drawn());
            if drawn == (width as usize, true) { Ok(()) } else { Err(format!("{drawn:?}")) }
        })?;
        save(subject, &window, &format!("{width}"))?;
    }
    window.close()?;
    keeps_to_its_turns(program.ended()?);
    Ok(())
}

fn ends_while_it_works(subject: &Subject) -> Result<(), String> {
    for by_signal in [false, true] {
        let (_display, program, window) = start(subject, &subject.endless)?;
        bar_longer(subject, &window, 0)?;
        if by_signal {
            program.interrupt()?
        } else {
            window.close()?
        }
        keeps_to_its_turns(program.ended()?);
    }
    Ok(())
}

#[test]
fn egui_shows_a_hundred_thousand_files_and_then_sleeps() -> Result<(), String> {
    shows_all_and_sleeps(&egui())
}

#[test]
fn egui_grows_a_bar_and_cancels() -> Result<(), String> {
    grows_and_is_cancelled(&egui())
}

#[test]
fn egui_ends_while_it_works() -> Result<(), String> {
    ends_while_it_works(&egui())
}

#[test]
fn gtk_shows_a_hundred_thousand_steps_and_then_sleeps() -> Result<(), String> {
    shows_all_and_sleeps(&gtk())
}

#[test]
fn gtk_grows_a_bar_and_cancels() -> Result<(), String> {
    grows_and_is_cancelled(&gtk())
}

#[test]
fn gtk_ends_while_it_works() -> Result<(), String> {
    ends_while_it_works(&gtk())
}
