//! `heddle --help`: lists the commands in groups.

use clap::{Args, Command};

use crate::connection::Server;

/// The groups with their commands. A command that is in no group is listed in the last one.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Runs", &["run", "runs", "watch", "signal"]),
    (
        "Control of runs",
        &["pause", "resume", "retry", "cancel", "upgrade", "fork"],
    ),
    ("History of runs", &["show", "steps", "diff", "export", "import"]),
    (
        "Graphs, plugins and schedules",
        &["graph", "plugin", "backtest", "schedule"],
    ),
    ("The server", &["serve", "store", "help"]),
];

/// Commands that do not connect to a server, with all their subcommands.
const OFFLINE: [&[&str]; 6] = [
    &["serve"],
    &["store"],
    &["plugin", "new"],
    &["plugin", "wrap"],
    &["plugin", "push"],
    &["help"],
];

/// Whether the command with this path does not connect to a server.
pub(crate) fn is_offline(path: &[&str]) -> bool {
    OFFLINE.iter().any(|offline| path.starts_with(offline))
}

/// Makes the help list the subcommands in groups, and show the options of a server only for commands that use them.
pub(crate) fn with_groups(command: Command) -> Command {
    let mut command = without_server(command, &mut Vec::new());
    command.build();
    let known = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let last = GROUPS.len() - 1;
    let mut text = String::new();
    for (position, (title, names)) in GROUPS.iter().enumerate() {
        text += &format!("\n\n\x1b[1;4m{title}:\x1b[0m");
        let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        let more = shown.map(Command::get_name);
        let more: Vec<&str> = more.filter(|name| position == last && !known(name)).collect();
        for name in names.iter().copied().chain(more) {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text += &format!("\n  \x1b[1m{name:<10}\x1b[0m  {about}");
        }
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}{text}\n\n{{options}}{{after-help}}"
    ))
}

/// Hides the options of a server in commands that do not connect to one. As global options they are in every command.
fn without_server(command: Command, path: &mut Vec<String>) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        path.push(name.clone());
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_offline = is_offline(&parts);
        let command = command.mut_subcommand(name, |sub| match is_offline {
            true => {
                let options = Server::augment_args(Command::new(""));
                let hidden = options.get_arguments().map(|option| option.clone().hide(true));
                sub.args(hidden.collect::<Vec<_>>())
            }
            false => without_server(sub, path),
        });
        path.pop();
        command
    })
}
