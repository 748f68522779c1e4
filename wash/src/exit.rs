//! What the exit code of `wash` says.

use std::process::ExitCode;

/// The exit codes of every command. They are part of the interface: a script may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or (for `wash app plan`) nothing would change.
    Ok,
    /// 1: the command failed; standard error says why.
    Failed,
    /// 2: wrong use, or (for `wash app plan`) the deploy would change something.
    Usage,
    /// 3: nobody to talk to: no NATS server, no wadm, no host.
    Unreachable,
    /// 4: accepted, but not there when the time to wait was over.
    NotReached,
    /// 130: ended by Ctrl-C.
    Interrupted,
}

impl Exit {
    /// `wash app plan` found changes: the same number as [`Exit::Usage`], as diff tools do.
    pub const CHANGES: Exit = Exit::Usage;

    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::NotReached => 4,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
