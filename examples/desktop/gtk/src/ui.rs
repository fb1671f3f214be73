//! The widgets: made, changed and dropped on the main thread. They are not `Send`, and nothing here
//! is locked.
//!
//! Not for: the work (`search`), or the main loop (`main`).

use gtk4::prelude::*;
use gtk4::{Align, Application, ApplicationWindow, Box, Button, Label, ListBox, Orientation, ProgressBar};
use gtk4::{PolicyType, ScrolledWindow, SelectionMode, SpinButton};
use singletrack_queues::WorkHandle;

const TITLE: &str = "Collatz";
const SPACE: i32 = 12;

pub(crate) struct Ui {
    pub(crate) window: ApplicationWindow,
    pub(crate) button: Button,
    /// The running search.
    pub(crate) search: Option<WorkHandle>,
    limit: SpinButton,
    bar: ProgressBar,
    records: ListBox,
}

impl Ui {
    pub(crate) fn new(app: &Application, limit: u64) -> Self {
        let number = SpinButton::with_range(1e3, 1e12, 1e5);
        number.set_value(limit as f64);
        let button = Button::with_label("Search");
        button.set_hexpand(true);
        button.set_halign(Align::End);
        let top = Box::new(Orientation::Horizontal, SPACE);
        top.append(&Label::new(Some("Longest chains below")));
        top.append(&number);
        top.append(&button);

        let bar = ProgressBar::builder().show_text(true).build();
        let records = ListBox::builder().selection_mode(SelectionMode::None).build();
        let list = ScrolledWindow::builder().hscrollbar_policy(PolicyType::Never).has_frame(true).vexpand(true);

        let all = Box::new(Orientation::Vertical, SPACE);
        all.set_margin_top(SPACE);
        all.set_margin_bottom(SPACE);
        all.set_margin_start(SPACE);
        all.set_margin_end(SPACE);
        all.append(&top);
        all.append(&bar);
        all.append(&list.child(&records).build());
        let window = ApplicationWindow::builder().application(app).title(TITLE).child(&all);
        let window = window.default_width(640).default_height(480).build();
        button.grab_focus();
        Self { window, button, search: None, limit: number, bar, records }
    }

    pub(crate) fn begin(&self) {
        self.button.set_label("Cancel");
        self.limit.set_sensitive(false);
        self.bar.set_fraction(0.0);
        while let Some(row) = self.records.first_child() {
            self.records.remove(&row);
        }
    }
}

/// The calls of the search.
impl Ui {
    pub(crate) fn limit(&self) -> u64 {
        self.limit.value() as u64
    }

    /// GTK draws once per frame, however often this is called.
    pub(crate) fn progress(&self, fraction: f64) {
        self.bar.set_fraction(fraction);
        let title = format!("{TITLE}: {:.0} %", fraction * 100.0);
        if self.window.title().is_none_or(|before| before != title) {
            self.window.set_title(Some(&title));
        }
    }

    /// Puts a chain that is longer than all before on top.
    pub(crate) fn record(&self, number: u64, length: u32) {
        let row = Label::new(Some(&format!("{length} numbers from {number}")));
        row.set_xalign(0.0);
        row.set_margin_start(SPACE / 2);
        self.records.prepend(&row);
    }

    pub(crate) fn end(&mut self, cancelled: bool) {
        self.search = None;
        self.button.set_label("Search");
        self.limit.set_sensitive(true);
        let end = if cancelled { "cancelled" } else { "done" };
        self.window.set_title(Some(&format!("{TITLE}: {end}")));
    }
}
