//! The tree of commands, and the way from arguments to an exit code.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cmd;
use crate::error::WashError;
use crate::exit::Exit;
use crate::output::{Answer, Format, Printer};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong use (app plan: changes), \
3 nobody to talk to (NATS, wadm, hosts), 4 not there when the time to wait was over.";

/// Runs applications of WebAssembly components on a lattice of hosts
#[derive(Debug, Parser)]
#[command(name = "wash", disable_version_flag = true, subcommand_required = false, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// Write text for people, or json for programs [default: text]
    #[arg(
        short = 'o',
        long,
        global = true,
        value_enum,
        default_value = "text",
        overrides_with = "output",
        value_name = "FORMAT",
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub output: Format,
    /// Accepted for upstream's scripts; nothing here is hidden behind it
    #[arg(long, global = true, hide = true, env = "WASH_EXPERIMENTAL")]
    pub experimental: bool,
    /// Print the versions
    #[arg(short = 'V', long)]
    pub version: bool,
    /// Print this help as Markdown
    #[arg(long, hide = true)]
    pub help_markdown: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Everything `wash` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a whole lattice on this machine
    Up(Box<cmd::up::UpCommand>),
    /// Stop what `wash up` started
    Down(cmd::down::DownCommand),
    /// Deploy applications and see how they do
    #[command(subcommand)]
    App(cmd::app::AppCommand),
    /// See hosts, what runs on them, links and claims
    #[command(subcommand)]
    Get(cmd::get::GetCommand),
    /// Start a component or a provider
    #[command(subcommand)]
    Start(cmd::start::StartCommand),
    /// Stop a component, a provider or a host
    #[command(subcommand)]
    Stop(cmd::stop::StopCommand),
    /// Change how many instances of a component run
    #[command(subcommand)]
    Scale(cmd::scale::ScaleCommand),
    /// Change the image of a component that runs
    #[command(subcommand)]
    Update(cmd::update::UpdateCommand),
    /// Link components and providers
    #[command(subcommand)]
    Link(cmd::link::LinkCommand),
    /// Named configurations
    #[command(subcommand)]
    Config(cmd::config::ConfigCommand),
    /// References to secrets
    #[command(subcommand, alias = "secret")]
    Secrets(cmd::secrets::SecretsCommand),
    /// Set or remove labels of a host
    #[command(alias = "tag")]
    Label(cmd::label::LabelCommand),
    /// Call a function of a component
    Call(Box<cmd::call::CallCommand>),
    /// Watch the calls of a component
    Spy(cmd::spy::SpyCommand),
    /// Push a component or provider archive to a registry
    Push(cmd::push::PushCommand),
    /// Pull a component or provider archive from a registry
    Pull(cmd::pull::PullCommand),
    /// See what a component or provider archive is, wants and offers
    Inspect(cmd::inspect::InspectCommand),
    /// Sign components and read their claims
    #[command(subcommand)]
    Claims(cmd::claims::ClaimsCommand),
    /// Make and find keys
    #[command(subcommand, alias = "key")]
    Keys(cmd::keys::KeysCommand),
    /// Make and read provider archives
    #[command(subcommand)]
    Par(cmd::par::ParCommand),
    /// Named sets of connection settings
    #[command(subcommand, aliases = ["context", "contexts"])]
    Ctx(cmd::ctx::CtxCommand),
    /// Remove what is kept on disk
    #[command(subcommand)]
    Drain(cmd::drain::DrainCommand),
    /// Write the completions of a shell
    Completions(cmd::completions::CompletionsCommand),
    /// Run the host daemon (see `wash host --help`); cordon or drain a host
    #[command(subcommand)]
    Host(cmd::host::HostCommand),
    /// Run the controller; `wash wadm --help` shows its options
    #[command(disable_help_flag = true)]
    Wadm(Daemon),
}

/// The arguments of a daemon, which reads them itself.
#[derive(Debug, clap::Args)]
pub struct Daemon {
    /// Options of the daemon
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// What a command gives back: an answer, or nothing because it has shown all itself.
pub enum Outcome {
    /// To be printed.
    Answer(Box<dyn Answer>),
    /// Nothing left to print.
    Shown(Exit),
}

impl<A: Answer + 'static> From<A> for Outcome {
    fn from(answer: A) -> Self {
        Self::Answer(Box::new(answer))
    }
}

/// Runs the program and says how it ended.
pub fn run(arguments: Vec<OsString>) -> Exit {
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let printer = Printer::new(cli.output);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(source) => {
            let error = crate::error::FileError::new("start", "the async runtime", source);
            printer.error(&error.into());
            return Exit::Failed;
        }
    };
    let outcome = runtime.block_on(dispatch(cli, &printer));
    let exit = match outcome {
        Ok(Outcome::Answer(answer)) => {
            printer.answer(answer.as_ref());
            answer.exit()
        }
        Ok(Outcome::Shown(exit)) => exit,
        Err(error) => {
            printer.error(&error);
            error.exit()
        }
    };
    // A read of standard input that never ends must not keep us.
    runtime.shutdown_background();
    exit
}

fn parse(arguments: &[OsString]) -> Result<Cli, Exit> {
    let parsed = Cli::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let json = arguments
            .windows(2)
            .any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json")
            || arguments
                .iter()
                .any(|argument| argument == "--output=json" || argument == "-ojson");
        let format = if json { Format::Json } else { Format::Text };
        Printer::new(format).usage(&error)
    })
}

async fn dispatch(cli: Cli, printer: &Printer) -> Result<Outcome, WashError> {
    if cli.version {
        return Ok(cmd::version::versions().into());
    }
    if cli.help_markdown {
        return Ok(cmd::version::help_markdown(Cli::command()).into());
    }
    let Some(command) = cli.command else {
        return Ok(Outcome::Shown(printer.help(&mut Cli::command())));
    };
    match command {
        Command::Up(up) => Ok(Outcome::Shown(up.run(printer).await?)),
        Command::Down(down) => Ok(down.run(printer).await?.into()),
        Command::App(app) => app.run(printer).await,
        Command::Get(get) => get.run(printer).await,
        Command::Start(start) => start.run(printer).await,
        Command::Stop(stop) => stop.run(printer).await,
        Command::Scale(scale) => scale.run(printer).await,
        Command::Update(update) => update.run().await,
        Command::Link(link) => link.run(printer).await,
        Command::Config(config) => config.run().await,
        Command::Secrets(secrets) => secrets.run().await,
        Command::Label(label) => label.run().await,
        Command::Call(call) => call.run(printer).await,
        Command::Spy(spy) => spy.run(printer).await,
        Command::Push(push) => push.run(printer).await,
        Command::Pull(pull) => pull.run(printer).await,
        Command::Inspect(inspect) => inspect.run(printer).await,
        Command::Claims(claims) => claims.run(printer).await,
        Command::Keys(keys) => keys.run(),
        Command::Par(par) => par.run(),
        Command::Ctx(ctx) => ctx.run(),
        Command::Drain(drain) => drain.run(),
        Command::Completions(completions) => completions.run(),
        Command::Host(host) => host.run(printer).await,
        // Taken before the tree is read, unless an option stands before it.
        Command::Wadm(_) => Err(crate::error::UsageError::new(
            "a daemon reads all its options itself",
            "write `wadm` first: wash wadm --help",
        )
        .into()),
    }
}
