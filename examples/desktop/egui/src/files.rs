//! The content of the window: it lives on the main thread, where blocks change it and the window
//! draws it between them, without a lock.
//!
//! Not for: finding files (`walk`), or when to draw (`main`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use eframe::egui::{self, Align, Color32, Label, Layout, ProgressBar, RichText, ScrollArea};

/// The number of largest files that are kept.
const SHOWN: usize = 100;
const ROW: f32 = 20.0;
const BAR: Color32 = Color32::from_rgb(46, 125, 50);

/// The way in which a search ended.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum End {
    Done,
    Cancelled,
}

/// The button that the user pressed.
pub(crate) enum Pressed {
    Cancel,
    Again,
}

/// See the module. `Rc`: it could not be on two threads, and need not be.
#[derive(Default)]
pub(crate) struct Files {
    hidden_too: bool,
    progress: f64,
    count: u64,
    bytes: u64,
    largest: BTreeSet<(u64, Rc<Path>)>,
    end: Option<End>,
}

/// The calls of the search.
impl Files {
    /// Begins a search. Returns whether hidden files are wanted.
    pub(crate) fn begin(&mut self) -> bool {
        *self = Self { hidden_too: self.hidden_too, ..Self::default() };
        self.hidden_too
    }

    pub(crate) fn found(&mut self, path: PathBuf, size: u64) {
        self.count += 1;
        self.bytes += size;
        self.largest.insert((size, path.into()));
        if self.largest.len() > SHOWN {
            self.largest.pop_first();
        }
    }

    pub(crate) fn advance(&mut self, share: f64) {
        self.progress += share;
    }

    pub(crate) fn end(&mut self, end: End) {
        self.end = Some(end);
    }
}

/// The calls of the window.
impl Files {
    /// The text of the title bar.
    pub(crate) fn title(&self) -> String {
        match self.end {
            None => format!("Largest files: {:.0} %", self.progress * 100.0),
            Some(End::Done) => format!("Largest files: {} found", thousands(self.count)),
            Some(End::Cancelled) => "Largest files: cancelled".into(),
        }
    }

    pub(crate) fn show(&mut self, ui: &mut egui::Ui) -> Option<Pressed> {
        let mut pressed = None;
        egui::Panel::top("search").show(ui, |ui| {
            ui.add_space(8.0);
            ui.horizontal(|ui| {
                let (text, means) = match self.end {
                    None => ("Cancel", Pressed::Cancel),
                    Some(_) => ("Search again", Pressed::Again),
                };
                let button = ui.button(text);
                ui.add_enabled_ui(self.end.is_some(), |ui| ui.checkbox(&mut self.hidden_too, "hidden files too"));
                if button.clicked() {
                    pressed = Some(means);
                    self.end = None;
                }
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    ui.label(format!("{} files, {}", thousands(self.count), size(self.bytes)));
                });
            });
            ui.add_space(4.0);
            let progress = if self.end == Some(End::Done) { 1.0 } else { self.progress as f32 };
            ui.add(ProgressBar::new(progress).fill(BAR).show_percentage().corner_radius(3.0));
            ui.add_space(8.0);
        });
        egui::CentralPanel::default().show(ui, |ui| {
            // Only the visible rows are laid out.
            ScrollArea::vertical().auto_shrink(false).show_rows(ui, ROW, self.largest.len(), |ui, rows| {
                for (bytes, path) in self.largest.iter().rev().skip(rows.start).take(rows.len()) {
                    row(ui, *bytes, path);
                }
            });
        });
        pressed
    }
}

fn row(ui: &mut egui::Ui, bytes: u64, path: &Path) {
    ui.horizontal(|ui| {
        ui.set_height(ROW);
        let right = Layout::right_to_left(Align::Center);
        ui.allocate_ui_with_layout(egui::vec2(80.0, ROW), right, |ui| {
            ui.label(RichText::new(size(bytes)).monospace().strong());
        });
        ui.add(Label::new(path.display().to_string()).truncate());
    });
}

fn size(bytes: u64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.*} {}", usize::from(unit > 0), units[unit])
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
