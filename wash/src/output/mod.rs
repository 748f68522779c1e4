//! The only module that prints.
//!
//! A command returns a value; here it becomes text for a person or JSON for a program. Results go
//! to standard output, progress, warnings and errors to standard error.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the module that prints"
)]

mod progress;
mod style;
pub mod table;

use std::io::{IsTerminal, Write};

use serde_json::{Map, Value};

use crate::error::WashError;
use crate::exit::Exit;
pub use progress::{Bytes, Progress};
pub use style::{Paint, Style};

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables and sentences.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// What a command found out or did.
pub trait Answer {
    /// For a person; without a final line end.
    fn text(&self, style: &Style) -> String;

    /// For a program: the keys besides `success`.
    fn json(&self) -> Map<String, Value>;

    /// The exit code; not always 0, because "nothing is placed" can be a valid answer.
    fn exit(&self) -> Exit {
        Exit::Ok
    }

    /// Whether `"success": true` is added (everywhere but in `wash config get`).
    fn marks_success(&self) -> bool {
        true
    }
}

/// A sentence and the keys that say the same.
#[derive(Debug, Clone, Default)]
pub struct Done {
    text: String,
    json: Map<String, Value>,
}

impl Done {
    /// An answer that is this sentence.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            json: Map::new(),
        }
    }

    /// Adds a key to the JSON form.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.json.insert(key.to_owned(), value.into());
        self
    }
}

impl Answer for Done {
    fn text(&self, _: &Style) -> String {
        self.text.clone()
    }

    fn json(&self) -> Map<String, Value> {
        self.json.clone()
    }
}

/// Turns a serialisable value into JSON for an [`Answer`]; what cannot be written becomes `null`.
pub fn value(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).unwrap_or(Value::Null)
}

/// Makes the JSON keys of an [`Answer`].
pub fn keys<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// The printer of this run.
#[derive(Debug, Clone)]
pub struct Printer {
    format: Format,
    out: Style,
    err: Style,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
}

impl Printer {
    /// Looks at the terminal and at NO_COLOR.
    pub fn new(format: Format) -> Self {
        let stdout_is_terminal = std::io::stdout().is_terminal();
        let stderr_is_terminal = std::io::stderr().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format,
            out: Style::new(stdout_is_terminal && !plain),
            err: Style::new(stderr_is_terminal && !plain),
            stdout_is_terminal,
            stderr_is_terminal,
        }
    }

    /// Whether a program reads the output.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a person watches the output.
    pub fn is_interactive(&self) -> bool {
        self.format == Format::Text && self.stdout_is_terminal && self.stderr_is_terminal
    }

    fn render(&self, answer: &dyn Answer, pretty: bool) -> String {
        match self.format {
            Format::Text => answer.text(&self.out),
            Format::Json => {
                let mut object = answer.json();
                if answer.marks_success() {
                    object.insert("success".into(), Value::Bool(true));
                }
                let value = Value::Object(object);
                if pretty {
                    format!("{value:#}")
                } else {
                    value.to_string()
                }
            }
        }
    }

    /// Prints the answer of a command.
    pub fn answer(&self, answer: &dyn Answer) {
        write_out(&self.render(answer, true));
    }

    /// Prints one of several answers: on a terminal it takes the place of the one before, for a
    /// program it is one line of JSON.
    pub fn frame(&self, answer: &dyn Answer) {
        let text = self.render(answer, false);
        if self.is_interactive() {
            write_out(&format!("\x1b[H\x1b[2J{text}"));
        } else {
            write_out(&text);
        }
    }

    /// One line of a stream: a call that was seen, a log line.
    pub fn line(&self, answer: &dyn Answer) {
        write_out(&self.render(answer, false));
    }

    /// A remark beside the result; programs do not get it.
    pub fn note(&self, text: &str) {
        if !self.is_json() {
            eprintln!("{text}");
        }
    }

    /// A warning beside the result.
    pub fn warn(&self, text: &str) {
        if !self.is_json() {
            eprintln!("{} {text}", self.err.paint(Paint::Warning, "warning:"));
        }
    }

    /// Prints an error: causes below it, and what to try next.
    pub fn error(&self, error: &WashError) {
        match self.format {
            Format::Text => eprint!("{}", error_text(error, &self.err)),
            Format::Json => eprintln!("{:#}", error_json(error)),
        }
    }

    /// Shows that something goes on, on standard error.
    pub fn progress(&self, what: impl Into<String>) -> Progress {
        Progress::start(
            what.into(),
            self.format == Format::Text,
            self.stderr_is_terminal,
        )
    }

    /// Shows how many bytes have moved.
    pub fn bytes(&self, what: impl Into<String>, total: Option<u64>) -> Bytes {
        Bytes::start(
            what.into(),
            total,
            self.format == Format::Text && self.stderr_is_terminal,
        )
    }

    /// Prints what clap says about wrong use, or the help that was asked for.
    pub fn usage(&self, error: &clap::Error) -> Exit {
        if !error.use_stderr() {
            let _ = error.print();
            return Exit::Ok;
        }
        if self.is_json() {
            let text = error.render().to_string();
            let message = text
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            let rest: Vec<&str> = text
                .lines()
                .skip(1)
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .collect();
            let usage = crate::error::UsageError::new(message, rest.join("; "));
            eprintln!("{:#}", error_json(&usage.into()));
        } else {
            let _ = error.print();
        }
        Exit::Usage
    }

    /// Prints the help because no command was given.
    pub fn help(&self, command: &mut clap::Command) -> Exit {
        eprintln!("{}", command.render_help());
        Exit::Usage
    }

    /// The style of standard error.
    pub fn style_of_notes(&self) -> &Style {
        &self.err
    }

    /// Asks yes or no on the terminal; without one the answer is no.
    pub fn confirm(&self, question: &str) -> bool {
        if !self.is_interactive() || !std::io::stdin().is_terminal() {
            return false;
        }
        eprint!("{question} [y/N] ");
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        read.is_ok() && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }
}

/// A reader that went away (`wash get hosts | head -1`) is no error.
fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn error_text(error: &WashError, style: &Style) -> String {
    let mut text = format!(
        "{} {}\n",
        style.paint(Paint::Bad, "error:"),
        error.message()
    );
    for cause in error.chain() {
        text.push_str(&format!(
            "  {} {cause}\n",
            style.paint(Paint::Faint, "because:")
        ));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("  {} {hint}\n", style.paint(Paint::Good, "try:")));
    }
    text
}

fn error_json(error: &WashError) -> Value {
    let mut object = keys([("success", false.into()), ("error", error.message().into())]);
    let chain = error.chain();
    if !chain.is_empty() {
        object.insert("error_chain".into(), chain.into());
    }
    if let Some(hint) = error.hint() {
        object.insert("hint".into(), hint.into());
    }
    object.insert("exit_code".into(), error.exit().code().into());
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::UsageError;

    #[test]
    fn an_error_names_cause_and_next_step_in_both_forms() {
        let error = WashError::from(UsageError::new(
            "no host `x`",
            "list hosts with `wash get hosts`",
        ));
        assert_eq!(
            error_text(&error, &Style::new(false)),
            "error: no host `x`\n  try: list hosts with `wash get hosts`\n"
        );
        assert_eq!(
            error_json(&error).to_string(),
            r#"{"success":false,"error":"no host `x`","hint":"list hosts with `wash get hosts`","exit_code":2}"#
        );
    }

    #[test]
    fn json_gets_a_success_mark() {
        let printer = Printer::new(Format::Json);
        let answer = Done::new("put").with("message", "put");
        assert_eq!(
            printer.render(&answer, false),
            r#"{"message":"put","success":true}"#
        );
    }
}
