//! `heddle --help`: the commands in groups, so that thirty of them can be overlooked.

use clap::Command;

/// What a group is about, and its commands. One that no group has comes under the last.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Runs", &["run", "runs", "watch", "signal"]),
    (
        "Steering runs",
        &["pause", "resume", "retry", "cancel", "upgrade", "fork"],
    ),
    ("History of runs", &["show", "steps", "diff", "export", "import"]),
    (
        "Graphs, plugins and schedules",
        &["graph", "plugin", "backtest", "schedule"],
    ),
    ("The server", &["serve", "store", "help"]),
];

/// The command with a help that lists its subcommands in groups.
pub(crate) fn in_groups(mut command: Command) -> Command {
    command.build();
    let known = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let last = GROUPS.len() - 1;
    let mut text = String::new();
    for (position, (title, names)) in GROUPS.iter().enumerate() {
        text += &format!("\n\n\x1b[1;4m{title}:\x1b[0m");
        let more = command.get_subcommands().map(Command::get_name);
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
