//! `wash completions`.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, Outcome};
use crate::error::{FileError, WashError};
use crate::output::Done;

/// `wash completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsCommand {
    /// Directory to write to [default: standard output]
    #[arg(short = 'd', long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Shell
    #[arg(value_enum)]
    pub shell: ShellName,
}

/// A shell.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum ShellName {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    #[value(alias = "powershell")]
    PowerShell,
}

impl CompletionsCommand {
    /// Writes them.
    pub fn run(self) -> Result<Outcome, WashError> {
        let shell = match self.shell {
            ShellName::Bash => Shell::Bash,
            ShellName::Zsh => Shell::Zsh,
            ShellName::Fish => Shell::Fish,
            ShellName::PowerShell => Shell::PowerShell,
        };
        let mut command = Cli::command();
        let Some(dir) = self.dir else {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "wash", &mut script);
            let script = String::from_utf8_lossy(&script).into_owned();
            return Ok(Done::new(script.clone()).with("script", script).into());
        };
        std::fs::create_dir_all(&dir)
            .map_err(|source| FileError::new("create directory", &dir, source))?;
        let path = clap_complete::generate_to(shell, &mut command, "wash", &dir)
            .map_err(|source| FileError::new("write", &dir, source))?;
        let path = path.display().to_string();
        Ok(Done::new(format!("Wrote {path}")).with("path", path).into())
    }
}
