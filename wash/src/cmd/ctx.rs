//! `wash ctx`: named sets of connection settings.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value};

use crate::cli::Outcome;
use crate::context::{Context, Contexts};
use crate::dirs::Dirs;
use crate::error::{Advice, UsageError, WashError};
use crate::output::{Answer, Done, Style, keys};

/// Named sets of connection settings.
#[derive(Debug, clap::Subcommand)]
pub enum CtxCommand {
    /// List the contexts
    List(Directory),
    /// Make a context
    New(NewContext),
    /// Remove a context
    Del(OneContext),
    /// Choose the default context
    Default(OneContext),
    /// Change a context in an editor
    Edit(EditContext),
}

/// Where contexts are.
#[derive(Debug, clap::Args)]
pub struct Directory {
    /// Directory of contexts
    #[arg(long, env = "WASH_CONTEXTS", value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// `wash ctx new`.
#[derive(Debug, clap::Args)]
pub struct NewContext {
    /// Name
    pub name: Option<String>,
    /// NATS host
    #[arg(long)]
    pub ctl_host: Option<String>,
    /// NATS port
    #[arg(long)]
    pub ctl_port: Option<u16>,
    /// NATS credentials file
    #[arg(long)]
    pub ctl_credsfile: Option<PathBuf>,
    /// Lattice
    #[arg(short = 'x', long)]
    pub lattice: Option<String>,
    /// Accepted for upstream's scripts; give the settings as options, or use `wash ctx edit`
    #[arg(short = 'i', long, hide = true)]
    pub interactive: bool,
    #[command(flatten)]
    pub directory: Directory,
}

/// `wash ctx del` and `wash ctx default`.
#[derive(Debug, clap::Args)]
pub struct OneContext {
    /// Name
    pub name: Option<String>,
    #[command(flatten)]
    pub directory: Directory,
}

/// `wash ctx edit`.
#[derive(Debug, clap::Args)]
pub struct EditContext {
    /// Name [default: the default context]
    pub name: Option<String>,
    /// Editor
    #[arg(short = 'e', long, env = "EDITOR")]
    pub editor: Option<String>,
    #[command(flatten)]
    pub directory: Directory,
}

/// The editor did not do its work.
#[derive(Debug, thiserror::Error)]
#[error("the editor `{editor}` failed")]
pub struct EditorError {
    editor: String,
    #[source]
    source: std::io::Error,
}

impl Advice for EditorError {
    fn hint(&self) -> Option<String> {
        Some("name another with --editor".into())
    }
}

/// Contexts.
pub struct ContextList {
    contexts: Vec<String>,
    default: String,
}

impl Answer for ContextList {
    fn text(&self, _: &Style) -> String {
        let line = |name: &String| {
            if *name == self.default {
                format!("{name} (default)")
            } else {
                name.clone()
            }
        };
        self.contexts
            .iter()
            .map(line)
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn json(&self) -> Map<String, Value> {
        keys([
            ("contexts", self.contexts.clone().into()),
            ("default", self.default.clone().into()),
        ])
    }
}

impl Directory {
    fn contexts(&self) -> Result<Contexts, WashError> {
        Ok(Contexts::new(match &self.directory {
            Some(directory) => directory.clone(),
            None => Dirs::from_env()?.contexts(),
        }))
    }
}

fn named(name: Option<String>, command: &str) -> Result<String, UsageError> {
    name.ok_or_else(|| {
        UsageError::new(
            "no context was named",
            format!("name one: `wash ctx {command} NAME`; `wash ctx list` shows them"),
        )
    })
}

impl CtxCommand {
    /// Does it.
    pub fn run(self) -> Result<Outcome, WashError> {
        match self {
            Self::List(directory) => {
                let contexts = directory.contexts()?;
                Ok(ContextList {
                    contexts: contexts.names(),
                    default: contexts.default_name(),
                }
                .into())
            }
            Self::New(new) => new.run(),
            Self::Del(del) => {
                let name = named(del.name, "del")?;
                del.directory.contexts()?.remove(&name)?;
                Ok(Done::new(format!("Removed context `{name}`"))
                    .with("message", "Removed context")
                    .into())
            }
            Self::Default(default) => {
                let name = named(default.name, "default")?;
                default.directory.contexts()?.set_default(&name)?;
                let text = format!("`{name}` is the default context");
                Ok(Done::new(text).with("result", "success").into())
            }
            Self::Edit(edit) => edit.run(),
        }
    }
}

impl NewContext {
    fn run(self) -> Result<Outcome, WashError> {
        let name = named(self.name, "new")?;
        let mut context = Context {
            name: name.clone(),
            ..Context::default()
        };
        if let Some(host) = self.ctl_host {
            context.rpc_host.clone_from(&host);
            context.ctl_host = host;
        }
        if let Some(port) = self.ctl_port {
            context.ctl_port = port;
            context.rpc_port = port;
        }
        if let Some(credentials) = self.ctl_credsfile {
            context.rpc_credsfile = Some(credentials.clone());
            context.ctl_credsfile = Some(credentials);
        }
        if let Some(lattice) = self.lattice {
            context.lattice = lattice;
        }
        self.directory.contexts()?.create(&context)?;
        let text =
            format!("Made context `{name}`; make it the default with `wash ctx default {name}`");
        Ok(Done::new(text)
            .with(
                "result",
                format!("Created context {name} with default values"),
            )
            .into())
    }
}

impl EditContext {
    fn run(self) -> Result<Outcome, WashError> {
        let contexts = self.directory.contexts()?;
        let name = self.name.unwrap_or_else(|| contexts.default_name());
        let file = contexts.materialise(&name)?;
        let Some(editor) = self.editor.filter(|editor| !editor.is_empty()) else {
            return Err(UsageError::new(
                "no editor is known",
                "set EDITOR, or name one with --editor",
            )
            .into());
        };
        let mut words = editor.split_whitespace();
        let program = words.next().unwrap_or("vi");
        let failed = |source| EditorError {
            editor: editor.clone(),
            source,
        };
        let status = Command::new(program)
            .args(words)
            .arg(&file)
            .status()
            .map_err(failed)?;
        if !status.success() {
            return Err(failed(std::io::Error::other(status.to_string())).into());
        }
        // What was typed has to be a context, now rather than at the next command.
        contexts.load(&name)?;
        Ok(Done::new(format!("Changed context `{name}`"))
            .with("result", "success")
            .into())
    }
}
