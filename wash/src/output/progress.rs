//! Something goes on: a spinner on a terminal, plain lines elsewhere, nothing for programs.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const TICK: Duration = Duration::from_millis(100);

/// A step that takes a while. It disappears when dropped.
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    last: String,
}

impl Progress {
    pub(super) fn start(what: String, for_people: bool, terminal: bool) -> Self {
        let bar = (for_people && terminal).then(|| {
            let bar = ProgressBar::new_spinner().with_message(what.clone());
            bar.enable_steady_tick(TICK);
            bar
        });
        let mut progress = Self {
            bar,
            lines: for_people && !terminal,
            last: String::new(),
        };
        progress.say(what);
        progress
    }

    /// Says where things stand; the same sentence twice is said once.
    pub fn say(&mut self, what: impl Into<String>) {
        let what = what.into();
        if what == self.last {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_message(what.clone());
        } else if self.lines {
            eprintln!("{what}");
        }
        self.last = what;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Bytes on their way.
pub struct Bytes {
    bar: Option<ProgressBar>,
}

impl Bytes {
    pub(super) fn start(what: String, total: Option<u64>, shown: bool) -> Self {
        let bar = shown.then(|| {
            let (bar, template) = match total {
                Some(total) => (
                    ProgressBar::new(total),
                    "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
                ),
                None => (ProgressBar::new_spinner(), "{msg} {bytes} {bytes_per_sec}"),
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(what);
            bar
        });
        Self { bar }
    }

    /// More bytes have moved.
    pub fn add(&self, count: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(count);
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
