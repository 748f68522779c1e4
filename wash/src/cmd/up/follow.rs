//! Shows what the parts of an `up` write to their logs, as it is written.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::output::{Paint, Printer};

/// The most that is shown of one log at one look; the rest follows at the next.
const BYTES_MAX: u64 = 64 * 1024;

struct Log {
    name: String,
    path: PathBuf,
    shown: u64,
    rest: Vec<u8>,
}

/// Several logs.
pub struct Follow {
    logs: Vec<Log>,
    width: usize,
}

impl Follow {
    /// Follows these files from where they end now.
    pub fn new(logs: &[(String, PathBuf)]) -> Self {
        let open = |(name, path): &(String, PathBuf)| Log {
            name: name.clone(),
            path: path.clone(),
            shown: path.metadata().map_or(0, |meta| meta.len()),
            rest: Vec::new(),
        };
        Self {
            logs: logs.iter().map(open).collect(),
            width: logs
                .iter()
                .map(|(name, _)| name.len())
                .max()
                .unwrap_or_default(),
        }
    }

    /// Shows what is new.
    pub fn show(&mut self, printer: &Printer) {
        for log in &mut self.logs {
            for line in log.new_lines() {
                let name = format!("{:width$} |", log.name, width = self.width);
                printer.note(&format!(
                    "{} {line}",
                    printer.style_of_notes().paint(Paint::Faint, &name)
                ));
            }
        }
    }
}

impl Log {
    fn new_lines(&mut self) -> Vec<String> {
        let Ok(mut file) = File::open(&self.path) else {
            return Vec::new();
        };
        let length = file.metadata().map_or(0, |meta| meta.len());
        if length < self.shown {
            self.shown = 0; // somebody emptied it
        }
        if length == self.shown || file.seek(SeekFrom::Start(self.shown)).is_err() {
            return Vec::new();
        }
        let read = file
            .take(BYTES_MAX)
            .read_to_end(&mut self.rest)
            .unwrap_or_default();
        self.shown += read as u64;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&whole)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_new_lines_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        std::fs::write(&path, "old\n").unwrap();
        let mut follow = Follow::new(&[("x".into(), path.clone())]);
        let mut append = |text: &str| {
            let old = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, old + text).unwrap();
            follow.logs[0].new_lines()
        };
        assert!(append("ne").is_empty());
        assert_eq!(append("w\nnext"), ["new"]);
        assert_eq!(append("\n"), ["next"]);
    }
}
