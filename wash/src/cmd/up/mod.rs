//! `wash up`: a whole lattice on this machine, and nothing left of it afterwards.

mod background;
mod child;
mod error;
pub mod fetch;
mod follow;
pub mod leash;
pub mod nats;
mod options;
mod plan;
mod ready;
pub mod state;
mod summary;
mod supervise;

use std::time::Duration;

pub use error::UpError;
pub use options::{UpCommand, parse_label};
use plan::Plan;
use state::Place;
use summary::Summary;

use crate::dirs::Dirs;
use crate::error::WashError;
use crate::exit::Exit;
use crate::output::Printer;

/// How long hosts may take to finish calls before they are ended.
const HOST_GRACE: Duration = Duration::from_secs(12);
/// How long wadm and NATS may take.
const PART_GRACE: Duration = Duration::from_secs(5);

impl UpCommand {
    /// Runs the lattice until Ctrl-C, or starts a process that does.
    pub async fn run(self, printer: &Printer) -> Result<Exit, WashError> {
        let dirs = Dirs::from_env()?;
        let place = self.place(&dirs);
        if self.detached && !self.in_background {
            let summary = background::start(&self, &place, printer).await?;
            printer.answer(&summary);
            return Ok(Exit::Ok);
        }
        if self.in_background {
            // A terminal that closes must not end what runs in the background.
            let _ = nix::unistd::setsid();
        }
        let _lock = place.lock()?;
        if let Some(left) = place.read() {
            // An `up` that was killed outright on a system without leashes may have left something.
            for process in left.children() {
                process.end(PART_GRACE).await;
            }
            place.clear();
        }
        let plan = Plan::make(&self, &dirs, &place, printer).await?;
        let outcome = supervise::run(&self, plan, &place, printer).await;
        place.clear();
        Ok(outcome?)
    }

    fn place(&self, dirs: &Dirs) -> Place {
        // The supervisor's number is what the waiting foreground process knows it by.
        let beside = self.multi_local.then(std::process::id);
        Place::new(&dirs.up(), self.nats.nats_port, beside)
    }
}

/// What the foreground shows once everything is ready.
fn announce(summary: &Summary, printer: &Printer, in_background: bool) {
    if !in_background {
        printer.answer(summary);
    }
}
