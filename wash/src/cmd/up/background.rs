//! `wash up -d`: a process in the background does the work; this one waits until it is ready.

use std::process::Stdio;
use std::time::Duration;

use super::state::Place;
use super::summary::Summary;
use super::{UpCommand, UpError};
use crate::dirs;
use crate::error::FileError;
use crate::output::Printer;
use crate::process::ProcessId;

/// How often we look whether it is ready.
const LOOK: Duration = Duration::from_millis(50);

/// Starts the process in the background and waits until its lattice is up.
pub async fn start(
    command: &UpCommand,
    place: &Place,
    printer: &Printer,
) -> Result<Summary, UpError> {
    if !command.multi_local {
        // Fails at once, and with the right words, where an `up` runs already.
        drop(place.lock()?);
    }
    dirs::create_private(place.dir())?;
    let log = place.dir().join("wash.log");
    let file =
        std::fs::File::create(&log).map_err(|source| FileError::new("write", &log, source))?;
    let again = file
        .try_clone()
        .map_err(|source| FileError::new("write", &log, source))?;
    let own = std::env::current_exe().map_err(UpError::OwnPath)?;
    let mut child = tokio::process::Command::new(&own)
        .args(std::env::args_os().skip(1))
        // What it says is read here, and said again in the form that was asked for.
        .args(["--in-background", "--output", "text"])
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(again)
        .spawn()
        .map_err(|source| UpError::Start {
            name: "wash".into(),
            path: own,
            source,
        })?;
    let supervisor = ProcessId::of(child.id().unwrap_or_default());
    let place = match command.multi_local {
        true => Place::new(
            place.dir().parent().unwrap_or(place.dir()),
            command.nats.nats_port,
            child.id(),
        ),
        false => place.clone(),
    };
    let _progress = printer.progress("starting NATS, wadm and hosts in the background");
    loop {
        if let Some(state) = place
            .read()
            .filter(|state| state.ready && state.supervisor.pid == supervisor.pid)
        {
            let logs = command
                .host
                .host_log_path
                .clone()
                .unwrap_or_else(|| place.dir().to_owned());
            return Ok(Summary::new(command, &state, &logs));
        }
        tokio::select! {
            _ = child.wait() => {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(UpError::Background(last_error(&said)));
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What the process said when it failed, without the mark that the printer sets again.
fn last_error(said: &str) -> String {
    let start = said.rfind("error: ").map_or(0, |at| at + "error: ".len());
    let text = said[start..].trim();
    if text.is_empty() {
        "the process in the background ended".into()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_the_background_is_shown_as_ours() {
        let said = "starting NATS\nerror: port 4222 is taken\n  try: another\n";
        assert_eq!(last_error(said), "port 4222 is taken\n  try: another");
        assert_eq!(last_error(""), "the process in the background ended");
    }
}
