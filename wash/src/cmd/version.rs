//! `wash --version` and `--help-markdown`.

use super::up::fetch;
use crate::output::Done;

/// Our version, and of what we would fetch. Host and wadm are linked in, so they are ours.
pub fn versions() -> Done {
    let own = concat!("v", env!("CARGO_PKG_VERSION"));
    let nats = format!("v{}", fetch::VERSION);
    let text = format!(
        "wash          {own}\nnats-server   {nats} (fetched when there is none)\nwadm          {own}\nhost          {own}"
    );
    Done::new(text)
        .with("wash", own)
        .with("nats-server", nats)
        .with("wadm", own)
        .with("wasmcloud", own)
}

/// The help of every command as one Markdown text.
pub fn help_markdown(mut command: clap::Command) -> Done {
    command.build();
    let mut text = String::from("# wash\n");
    describe(&mut command, "wash", &mut text);
    let text = text.trim_end().to_owned();
    Done::new(text.clone()).with("help", text)
}

fn describe(command: &mut clap::Command, path: &str, into: &mut String) {
    let help = command.render_long_help().to_string();
    into.push_str(&format!("\n## `{path}`\n\n```text\n{}\n```\n", help.trim()));
    for sub in command
        .get_subcommands_mut()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        let path = format!("{path} {}", sub.get_name());
        describe(sub, &path, into);
    }
}
