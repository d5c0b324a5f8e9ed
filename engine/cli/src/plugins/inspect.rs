//! `heddle plugin inspect`: shows the functions, requested permissions and grants of a plugin. `plugin add` and `plugin
//! list` print parts of the same view.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::bail;
use clap::Args;
use heddle_display as display;
use serde_json::Value;

use super::{
    component::{named_path, read_component, stem_of},
    schema_summary::summary,
};
use crate::{
    Usage,
    answer::{list, text, texts},
    client::{self, escape},
    colours::Colours,
    connection::Server,
    output,
};

/// The width of lines without a terminal, in characters.
const WIDTH: usize = 80;
/// The largest width of lines: longer lines are hard to read.
const MAX_WIDTH: usize = 100;
/// The smallest width of lines: a terminal that reports less does not know its width.
const MIN_WIDTH: usize = 40;

/// The largest width of the column of function names in a list.
const NAME_WIDTH: usize = 32;

#[derive(Args)]
pub(crate) struct Inspect {
    /// A .wasm file, which is not registered, or a registered plugin: NAME or NAME@VERSION
    #[arg(value_name = "FILE|NAME[@VERSION]")]
    what: String,
    /// Show the grants of the file under this name instead of its own; grants belong to names
    #[arg(long)]
    name: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Inspect {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let file = Path::new(&self.what);
        let is_file = file.is_file() || self.what.contains('/') || self.what.ends_with(".wasm");
        let (plugin, others) = match is_file {
            true => (self.of_file(file)?, Vec::new()),
            false => self.of_name()?,
        };
        let mut out = output::stdout();
        if self.json {
            drop(out);
            output::print_pretty(&plugin)?;
            return Ok(ExitCode::SUCCESS);
        }
        Screen::new(&mut out).plugin(&plugin, is_file, &others)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The plugin that a file would become if it were registered.
    fn of_file(&self, file: &Path) -> anyhow::Result<Value> {
        let component = read_component(file)?;
        let path = named_path(
            "/v1/plugins:inspect",
            &component,
            self.name.as_deref(),
            stem_of(file),
        );
        client::upload(&self.server, &path, "application/wasm", &component).map(client::Answer::into_value)
    }

    /// A registered plugin, and its other versions.
    fn of_name(&self) -> anyhow::Result<(Value, Vec<String>)> {
        if self.name.is_some() {
            return Err(Usage::error("--name applies to a file only"));
        }
        let (name, version) = match self.what.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (&*self.what, None),
        };
        let mut answer = client::get(&self.server, &format!("/v1/plugins/{}", escape(name)))?;
        let versions = answer["versions"].as_array_mut().map(std::mem::take);
        let mut versions = versions.unwrap_or_default();
        let matches = |plugin: &Value| version.is_none_or(|version| plugin["version"] == version);
        let known = || {
            let versions = versions.iter().map(|plugin| text(plugin, "version"));
            versions.collect::<Vec<_>>().join(", ")
        };
        let Some(at) = versions.iter().position(matches) else {
            bail!(
                "plugin {name} has no version {}; its versions are {}",
                version.unwrap_or_default(),
                known()
            );
        };
        let plugin = versions.remove(at);
        let others = versions
            .iter()
            .map(|plugin| text(plugin, "version").into_owned())
            .collect();
        Ok((plugin, others))
    }
}

/// Prints on stderr the permissions of a plugin, and its exports that are not functions.
pub(super) fn print_permissions(plugin: &Value) {
    let mut out = io::stderr().lock();
    let colours = Colours::for_stderr();
    let mut screen = Screen::painted(&mut out, colours);
    // A closed stderr is not an error here.
    let _ = screen.permissions(plugin).and_then(|()| screen.left_out(plugin));
}

/// The width of the terminal, if stdout is one.
fn columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(width.0.into())
}

/// Writes a plugin and its functions, one line each, cut to the width of the terminal.
pub(super) fn write_summary(out: &mut impl Write, plugin: &Value) -> io::Result<()> {
    let colours = Colours::for_stdout();
    let name = format!("{}@{}", text(plugin, "name"), text(plugin, "version"));
    let digest = text(plugin, "digest");
    let digest = digest.get(..12).unwrap_or(&digest);
    writeln!(
        out,
        "{}  {}",
        colours.paint("1", &name),
        colours.paint("2", digest)
    )?;
    for grant in texts(plugin, "grants") {
        writeln!(out, "  {}  {grant}", colours.paint("33", "granted"))?;
    }
    let functions = || list(plugin, "functions");
    let longest = functions().map(|function| text(function, "name").chars().count());
    let room = longest.max().unwrap_or_default().min(NAME_WIDTH);
    for function in functions() {
        let kind = colours.paint("2", &format!("{:<4}", text(function, "kind")));
        let name = format!("{:<room$}", text(function, "name"));
        let before = 2 + 4 + 2 + name.chars().count() + 2;
        let summary = text(function, "summary");
        let summary = match columns().map(|columns| columns.saturating_sub(before)) {
            Some(room) if summary.chars().count() > room => {
                let cut: String = summary.chars().take(room.saturating_sub(1)).collect();
                format!("{}…", cut.trim_end())
            }
            _ => summary.into_owned(),
        };
        writeln!(out, "  {kind}  {name}  {summary}")?;
    }
    Ok(())
}

/// Writes the view of a plugin, with lines wrapped to the width of the terminal.
struct Screen<'o, W> {
    out: &'o mut W,
    colours: Colours,
    width: usize,
}

impl<'o, W: Write> Screen<'o, W> {
    fn new(out: &'o mut W) -> Self {
        Self::painted(out, Colours::for_stdout())
    }

    fn painted(out: &'o mut W, colours: Colours) -> Self {
        let width = columns().unwrap_or(WIDTH).clamp(MIN_WIDTH, MAX_WIDTH);
        Self { out, colours, width }
    }

    fn plugin(&mut self, plugin: &Value, is_file: bool, others: &[String]) -> io::Result<()> {
        let name = self.colours.paint("1", &text(plugin, "name"));
        let version = self.colours.paint("1", &format!("@{}", text(plugin, "version")));
        let registered = match is_file {
            true => self.colours.paint("2", "  a file, not registered"),
            false => String::new(),
        };
        writeln!(self.out, "{name}{version}{registered}")?;
        self.field("sha256", &text(plugin, "digest"))?;
        self.field("size", &size(plugin["size"].as_u64().unwrap_or_default()))?;
        if !others.is_empty() {
            self.field("versions", &format!("also {}", others.join(", ")))?;
        }
        self.permissions(plugin)?;
        for (position, limit) in texts(plugin, "limits").iter().enumerate() {
            self.field(if position == 0 { "limits" } else { "" }, limit)?;
        }
        self.missing(plugin)?;
        let imports = texts(plugin, "imports");
        let imports: Vec<&str> = imports.iter().map(|import| &**import).collect();
        self.painted_field("imports", &grouped(&imports), "2")?;
        self.left_out(plugin)?;
        for function in list(plugin, "functions") {
            writeln!(self.out)?;
            self.function(function)?;
        }
        Ok(())
    }

    /// The exports that are not functions of the plugin, with the reasons.
    fn left_out(&mut self, plugin: &Value) -> io::Result<()> {
        for (position, reason) in texts(plugin, "left_out").iter().enumerate() {
            self.field(if position == 0 { "left out" } else { "" }, reason)?;
        }
        Ok(())
    }

    /// The requested permissions and the grants.
    fn permissions(&mut self, plugin: &Value) -> io::Result<()> {
        match (plugin["asks"].is_array(), &*texts(plugin, "asks")) {
            (false, _) => {}
            (true, []) => self.field("requests", "nothing")?,
            (true, requested) => self.field("requests", &requested.join(", "))?,
        }
        let grants = texts(plugin, "grants");
        if grants.is_empty() {
            return self.field("granted", "nothing: its results depend on its input alone");
        }
        for (position, grant) in grants.iter().enumerate() {
            self.painted_field(if position == 0 { "granted" } else { "" }, grant, "33")?;
        }
        Ok(())
    }

    /// Permissions that the plugin certainly needs but does not have. Only HTTP counts: most components import other
    /// interfaces without using them.
    fn missing(&mut self, plugin: &Value) -> io::Result<()> {
        let has = |key: &str, start: &str| {
            list(plugin, key).any(|line| line.as_str().is_some_and(|line| line.starts_with(start)))
        };
        if has("asks", "http") && !has("grants", "http") {
            let policy = format!(
                "HTTP requests; grant them in the policy with plugins: {{{:?}: {{http: [\"https://HOST\"]}}}}",
                text(plugin, "name")
            );
            self.painted_field("lacks", &policy, "33")?;
        }
        Ok(())
    }

    fn function(&mut self, function: &Value) -> io::Result<()> {
        let kind = self.colours.paint("2", &format!("{:<4}", text(function, "kind")));
        let name = self.colours.paint("1", &text(function, "name"));
        let mut hints = Vec::new();
        if function["read_only"] == true {
            hints.push("read-only".to_owned());
        }
        if function["idempotent"] == true {
            hints.push("idempotent".to_owned());
        }
        let routes = texts(function, "routes");
        if !routes.is_empty() {
            hints.push(format!("goes to {}", routes.join(" or ")));
        }
        let hints = match hints.is_empty() {
            true => String::new(),
            false => self.colours.paint("2", &format!("  {}", hints.join(", "))),
        };
        writeln!(self.out, "{kind}  {name}{hints}")?;
        for line in wrapped(&text(function, "summary"), self.width - 6) {
            writeln!(self.out, "      {line}")?;
        }
        for (label, key) in [("in", "input"), ("out", "output"), ("config", "config")] {
            if function.get(key).is_some() {
                // A no-break space keeps a key and its type in one line.
                let schema = display::line(&summary(&function[key])).replace(": ", ":\u{a0}");
                self.indented(6, label, 8, &schema, "36")?;
            }
        }
        Ok(())
    }

    fn field(&mut self, label: &str, value: &str) -> io::Result<()> {
        self.painted_field(label, value, "")
    }

    fn painted_field(&mut self, label: &str, value: &str, colour: &str) -> io::Result<()> {
        self.indented(2, label, 10, value, colour)
    }

    /// A label, and beside it a text that is wrapped to several lines.
    fn indented(
        &mut self,
        before: usize,
        label: &str,
        room: usize,
        value: &str,
        colour: &str,
    ) -> io::Result<()> {
        let mut label = self.colours.paint("2", &format!("{label:<room$}"));
        for line in wrapped(value, self.width.saturating_sub(before + room)) {
            let line = match colour {
                "" => line,
                colour => self.colours.paint(colour, &line),
            };
            writeln!(self.out, "{:before$}{label}{line}", "")?;
            label = " ".repeat(room);
        }
        Ok(())
    }
}

/// Imports grouped by package: `wasi:cli@0.2.6 (environment, exit)`.
fn grouped(imports: &[&str]) -> String {
    let mut packages: Vec<(String, Vec<&str>)> = Vec::new();
    for import in imports {
        let (path, version) = import.split_once('@').unwrap_or((import, ""));
        let Some((package, interface)) = path.split_once('/') else {
            packages.push(((*import).to_owned(), Vec::new()));
            continue;
        };
        let package = match version {
            "" => package.to_owned(),
            version => format!("{package}@{version}"),
        };
        match packages.iter_mut().find(|(known, _)| *known == package) {
            Some((_, interfaces)) => interfaces.push(interface),
            None => packages.push((package, vec![interface])),
        }
    }
    let shown = packages.iter().map(|(package, interfaces)| match &**interfaces {
        [] => package.clone(),
        interfaces => format!("{package} ({})", interfaces.join(", ")),
    });
    match packages.is_empty() {
        true => "nothing".to_owned(),
        false => shown.collect::<Vec<_>>().join(", "),
    }
}

/// A size with a suitable unit.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => format!("{} kB", (bytes + 500) / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// A text in lines of at most `width` characters, broken at spaces but not at no-break spaces. A longer word has a line of
/// its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let words = text.split(|at: char| at.is_whitespace() && at != '\u{a0}');
    for word in words.filter(|word| !word.is_empty()) {
        let word = word.replace('\u{a0}', " ");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_grouped_by_package() {
        let imports = [
            "wasi:cli/exit@0.2.6",
            "wasi:io/error@0.2.6",
            "wasi:cli/stdin@0.2.6",
            "clock",
            "a:b/c",
        ];
        assert_eq!(
            grouped(&imports),
            "wasi:cli@0.2.6 (exit, stdin), wasi:io@0.2.6 (error), clock, a:b (c)"
        );
        assert_eq!(grouped(&[]), "nothing");
    }

    #[test]
    fn lines_break_at_blanks() {
        assert_eq!(
            wrapped("one two three-four five", 8),
            ["one two", "three-four", "five"]
        );
        assert_eq!(wrapped("", 8), [""; 0]);
        assert_eq!(wrapped("{a:\u{a0}any, b:\u{a0}any}", 10), ["{a: any,", "b: any}"]);
        assert_eq!(
            [size(9_999), size(108_300), size(18_040_000)],
            ["9999 bytes", "108 kB", "18.0 MB"]
        );
    }
}
