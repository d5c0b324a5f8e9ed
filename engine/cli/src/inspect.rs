//! `heddle plugin inspect`, and what other commands show of a plugin: what it asks for, has and does.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::bail;
use clap::Args;
use heddle_display as display;
use serde_json::Value;

use crate::{
    Server, Usage,
    client::{self, escape, list, text, texts},
    output,
    paint::Paint,
    plugins::{named_path, read_component, stem_of},
    shape::shape,
};

/// How wide lines are where there is no terminal.
const WIDTH: usize = 80;
/// No wider, since long lines are hard to read.
const MOST_WIDE: usize = 100;
/// How wide a terminal is told to be at least: one that says less does not know.
const LEAST_WIDE: usize = 40;

/// How much room the names of functions get in a list.
const NAME_ROOM: usize = 32;

#[derive(Args)]
pub(crate) struct Inspect {
    /// A .wasm file, which is not registered by this, or the name of a registered plugin, as NAME or NAME@VERSION
    #[arg(value_name = "FILE|NAME[@VERSION]")]
    what: String,
    /// A name that the file is to be registered under, in place of its own: grants belong to names
    #[arg(long)]
    name: Option<String>,
    /// Print what the server tells, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Inspect {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
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

    /// What a file would be if it were registered.
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

    /// A registered plugin, and the other versions that there are of it.
    fn of_name(&self) -> anyhow::Result<(Value, Vec<String>)> {
        if self.name.is_some() {
            return Err(Usage::error("--name is for a file that is to be registered"));
        }
        let (name, version) = match self.what.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (&*self.what, None),
        };
        let mut answer = client::get(&self.server, &format!("/v1/plugins/{}", escape(name)))?;
        let versions = answer["versions"].as_array_mut().map(std::mem::take);
        let mut versions = versions.unwrap_or_default();
        let is_it = |plugin: &Value| version.is_none_or(|version| plugin["version"] == version);
        let there_are = || {
            let versions = versions.iter().map(|plugin| text(plugin, "version"));
            versions.collect::<Vec<_>>().join(", ")
        };
        let Some(at) = versions.iter().position(is_it) else {
            bail!(
                "plugin {name} has no version {}: there is {}",
                version.unwrap_or_default(),
                there_are()
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

/// Tells on stderr what a plugin asks for and has, and what could not be made a function, once it was added.
pub(crate) fn tell_permissions(plugin: &Value) {
    let mut out = io::stderr().lock();
    let paint = Paint::for_stderr();
    let mut screen = Screen::painted(&mut out, paint);
    // Where nobody reads it, nothing is lost.
    let _ = screen.permissions(plugin).and_then(|()| screen.left_out(plugin));
}

/// How wide the terminal is, where stdout is one.
fn columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(width.0.into())
}

/// Writes a plugin and its functions, in a line each, cut to the terminal's width.
pub(crate) fn write_briefly(out: &mut impl Write, plugin: &Value) -> io::Result<()> {
    let paint = Paint::for_stdout();
    let name = format!("{}@{}", text(plugin, "name"), text(plugin, "version"));
    let digest = text(plugin, "digest");
    let digest = digest.get(..12).unwrap_or(&digest);
    writeln!(
        out,
        "{}  {}",
        paint.in_colour("1", &name),
        paint.in_colour("2", digest)
    )?;
    for grant in texts(plugin, "grants") {
        writeln!(out, "  {}  {grant}", paint.in_colour("33", "granted"))?;
    }
    let functions = || list(plugin, "functions");
    let longest = functions().map(|function| text(function, "name").chars().count());
    let room = longest.max().unwrap_or_default().min(NAME_ROOM);
    for function in functions() {
        let kind = paint.in_colour("2", &format!("{:<4}", text(function, "kind")));
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

/// Writes lines that fit the screen.
struct Screen<'o, W> {
    out: &'o mut W,
    paint: Paint,
    width: usize,
}

impl<'o, W: Write> Screen<'o, W> {
    fn new(out: &'o mut W) -> Self {
        Self::painted(out, Paint::for_stdout())
    }

    fn painted(out: &'o mut W, paint: Paint) -> Self {
        let width = columns().unwrap_or(WIDTH).clamp(LEAST_WIDE, MOST_WIDE);
        Self { out, paint, width }
    }

    fn plugin(&mut self, plugin: &Value, is_file: bool, others: &[String]) -> io::Result<()> {
        let name = self.paint.in_colour("1", &text(plugin, "name"));
        let version = self
            .paint
            .in_colour("1", &format!("@{}", text(plugin, "version")));
        let registered = match is_file {
            true => self.paint.in_colour("2", "  a file, not registered by this"),
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

    /// What it exports that is no function of the plugin.
    fn left_out(&mut self, plugin: &Value) -> io::Result<()> {
        for (position, reason) in texts(plugin, "left_out").iter().enumerate() {
            self.field(if position == 0 { "left out" } else { "" }, reason)?;
        }
        Ok(())
    }

    /// What it asks for, and what it has.
    fn permissions(&mut self, plugin: &Value) -> io::Result<()> {
        match (plugin["asks"].is_array(), &*texts(plugin, "asks")) {
            (false, _) => {}
            (true, []) => self.field("asks for", "nothing")?,
            (true, asks) => self.field("asks for", &asks.join(", "))?,
        }
        let grants = texts(plugin, "grants");
        if grants.is_empty() {
            return self.field("granted", "nothing: what it does follows from its input alone");
        }
        for (position, grant) in grants.iter().enumerate() {
            self.painted_field(if position == 0 { "granted" } else { "" }, grant, "33")?;
        }
        Ok(())
    }

    /// What it is sure to miss. Other things than requests are imported by most components, which seldom use them.
    fn missing(&mut self, plugin: &Value) -> io::Result<()> {
        let has = |key: &str, start: &str| {
            list(plugin, key).any(|line| line.as_str().is_some_and(|line| line.starts_with(start)))
        };
        if has("asks", "http") && !has("grants", "http") {
            let policy = format!(
                "requests over HTTP, until the policy has: plugins: {{{:?}: {{http: [\"https://HOST\"]}}}}",
                text(plugin, "name")
            );
            self.painted_field("misses", &policy, "33")?;
        }
        Ok(())
    }

    fn function(&mut self, function: &Value) -> io::Result<()> {
        let kind = self
            .paint
            .in_colour("2", &format!("{:<4}", text(function, "kind")));
        let name = self.paint.in_colour("1", &text(function, "name"));
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
            false => self.paint.in_colour("2", &format!("  {}", hints.join(", "))),
        };
        writeln!(self.out, "{kind}  {name}{hints}")?;
        for line in wrapped(&text(function, "summary"), self.width - 6) {
            writeln!(self.out, "      {line}")?;
        }
        for (label, key) in [("in", "input"), ("out", "output"), ("config", "config")] {
            if function.get(key).is_some() {
                // A key and its type stay together.
                let told = display::line(&shape(&function[key])).replace(": ", ":\u{a0}");
                self.indented(6, label, 8, &told, "36")?;
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

    /// A label, and beside it a text in as many lines as it takes.
    fn indented(
        &mut self,
        before: usize,
        label: &str,
        room: usize,
        value: &str,
        colour: &str,
    ) -> io::Result<()> {
        let mut label = self.paint.in_colour("2", &format!("{label:<room$}"));
        for line in wrapped(value, self.width.saturating_sub(before + room)) {
            let line = match colour {
                "" => line,
                colour => self.paint.in_colour(colour, &line),
            };
            writeln!(self.out, "{:before$}{label}{line}", "")?;
            label = " ".repeat(room);
        }
        Ok(())
    }
}

/// What is imported, packages together: `wasi:cli@0.2.6 (environment, exit)`.
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

/// A size in the unit that people use.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => format!("{} kB", (bytes + 500) / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// A text in lines of at most so many characters, broken at blanks that may be; a longer word has a line of its own.
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
