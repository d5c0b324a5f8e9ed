//! Runs the blocks of a page in order.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    cargo,
    examples::Examples,
    flowchart,
    markdown::{Block, Markdown},
    shell::{Ran, Shell, link},
    shown::Ids,
};
use crate::{Server, ServerConfig, repository, target};

/// The port in the text of pages.
const WRITTEN_PORT: &str = ":8000";
/// The time limit for repetitions of a read-only command, and the delay between them.
const READING_TIME: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
/// Read-only commands, which are repeated until their output is the expected one.
const READING: [&str; 13] = [
    "heddle show",
    "heddle steps",
    "heddle diff",
    "heddle runs",
    "heddle graph list",
    "heddle graph show",
    "heddle plugin list",
    "heddle plugin inspect",
    "heddle schedule list",
    "heddle schedule show",
    "heddle store check",
    "curl localhost",
    "curl -s localhost",
];

/// A page whose code blocks are run and compared, with the terminal and the server that they use.
pub struct Page {
    path: String,
    blocks: Vec<Block>,
    folder: Arc<TempDir>,
    port: u16,
    shell: Shell,
    server: Option<Server>,
    ids: Ids,
    examples: Examples,
}

impl Page {
    /// Takes the text of a page at a path of the repository.
    pub fn open(path: &str, text: &str) -> Self {
        let folder = Arc::new(TempDir::new().expect("a folder for the page"));
        let port = free_port();
        let start = furnish(folder.path(), path);
        let shell = Shell::open(&start, &folder.path().join("plugins"), port);
        shell.share_builds(&start, 0);
        Self {
            path: path.to_owned(),
            blocks: Markdown::read(text).blocks,
            port,
            shell,
            folder,
            server: None,
            ids: Ids::default(),
            examples: Examples::default(),
        }
    }

    /// The initial folder of the terminal.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Continues in another folder with another text.
    pub fn go_to(&mut self, folder: &Path, text: &str) {
        self.shell.go_to(folder);
        self.shell.share_builds(folder, 0);
        self.blocks = Markdown::read(text).blocks;
    }

    /// The server of the page. It is started on first use.
    pub fn server(&mut self) -> &Server {
        // It is independent of the terminal, whose folder does not change.
        let script = "cd \"$HEDDLE_PLUGINS/..\"; exec \"$PAGE/bin/heddle\" serve";
        let command = || self.shell.command(script);
        let config = || self.config();
        if self.server.is_none() {
            self.server = Some(Server::launch(command(), config()));
        }
        self.server.as_ref().expect("it was started")
    }

    /// Runs every block.
    ///
    /// # Panics
    /// If one does not do what the page says, with its line.
    pub fn run(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        let mut rest = blocks.iter().peekable();
        while let Some(block) = rest.next() {
            let shown = rest.next_if(|next| next.tag == "output");
            eprintln!("{}:{}: {} {}", self.path, block.line, block.language, block.tag);
            if let Err(message) = self.block(block, shown) {
                panic!(
                    "{}:{}: {message}\nThe block is\n{}",
                    self.path, block.line, block.text
                );
            }
        }
        if let Err(message) = self.examples.all_ran() {
            panic!("{}: {message}", self.path);
        }
    }

    fn block(&mut self, block: &Block, shown: Option<&Block>) -> Result<(), String> {
        let writes = matches!((&*block.language, &*block.tag), ("bash" | "http", ""));
        if shown.is_some() && !writes {
            return Err(
                "the block after it shows an output, and only `bash` and `http` blocks have one".to_owned(),
            );
        }
        let text = self.real(&block.text);
        match (&*block.language, &*block.tag) {
            ("", _) => Err("a code block needs fences and a language".to_owned()),
            (_, "file") => self.write(&block.value, &text),
            ("bash", "") if serves(&text) => self.serve(&text),
            ("bash", "") => self.bash(&text, shown),
            ("console", "") => self.console(&text),
            ("http", "") => self.request(&text, shown),
            ("mermaid", "") => flowchart::edges(&text).map(drop),
            ("mermaid", "graph") => self.flowchart(&block.value, &text),
            ("text", "paths") => paths(&text),
            ("json" | "yaml", "graph" | "state" | "signal" | "ends" | "group" | "wrong" | "found") => {
                let value = match &*block.language {
                    "yaml" => self.yaml(&text)?,
                    _ => serde_json::from_str(&text).map_err(|error| error.to_string())?,
                };
                self.server();
                let server = self.server.as_ref().expect("it was started");
                self.examples.take(server, &block.tag, &block.value, value)
            }
            (language, tag) => Err(format!(
                "there is no check for a block `{language} {tag}`: tests/src/docs/mod.rs says what a block can be"
            )),
        }
    }

    /// Replaces the port, ids and placeholder folder in a text by the real ones.
    fn real(&self, text: &str) -> String {
        let text = self.ids.put_into(text);
        let text = text.replace(WRITTEN_PORT, &format!(":{}", self.port));
        text.replace("/where/heddle/is", &repository().display().to_string())
    }

    /// Replaces the real port and folder in an output by those of the page.
    fn as_written(&self, text: &str) -> String {
        let text = text.replace(&format!(":{}", self.port), WRITTEN_PORT);
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }

    fn write(&self, path: &str, text: &str) -> Result<(), String> {
        let path = self.shell.folder().join(path);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        fs::write(&path, text).map_err(failed)?;
        self.share_builds();
        Ok(())
    }

    fn share_builds(&self) {
        self.shell.share_builds(self.folder.path(), 2);
    }

    /// Runs a script and processes its effects on the page.
    fn script(&mut self, text: &str) -> Result<Ran, String> {
        if text.contains("heddle ") || text.contains(&format!(":{}", self.port)) {
            self.server();
        }
        let ran = self.shell.run(text);
        self.share_builds();
        self.shell
            .cargo_calls()
            .iter()
            .try_for_each(|call| cargo::check(call))?;
        Ok(ran)
    }

    fn bash(&mut self, text: &str, shown: Option<&Block>) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let ran = self.script(text)?;
            let compared = match shown {
                _ if !ran.succeeded => Err(format!("it fails\n{}{}", ran.stdout, ran.stderr)),
                Some(shown) => self.compare(shown, &ran.stdout),
                None => Ok(()),
            };
            if compared.is_ok() || !only_reads(text) || began.elapsed() > READING_TIME {
                return compared;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn compare(&mut self, shown: &Block, output: &str) -> Result<(), String> {
        let output = self.as_written(output);
        if shown.language == "json" {
            let expected = serde_json::from_str(&shown.text)
                .map_err(|error| format!("the output on line {} is not JSON: {error}", shown.line))?;
            let real: Value = serde_json::from_str(&output)
                .map_err(|error| format!("the output is not JSON: {error}\n{output}"))?;
            self.ids.compare_json(&expected, &real)
        } else {
            self.ids.compare_text(&shown.text, &output)
        }
    }

    /// Runs the commands of a console block.
    fn console(&mut self, text: &str) -> Result<(), String> {
        let mut commands: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            let continued = commands
                .last()
                .is_some_and(|(command, shown)| shown.is_empty() && command.ends_with('\\'));
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), String::new())),
                (None, Some((command, _))) if continued => {
                    command.push('\n');
                    command.push_str(line);
                }
                (None, Some((_, shown))) => {
                    shown.push_str(line);
                    shown.push('\n');
                }
                (None, None) => return Err("the first line of a `console` block begins with `$ `".to_owned()),
            }
        }
        for (command, shown) in commands {
            // The ids of earlier outputs of the block are known only now.
            let command = self.real(&command);
            let began = Instant::now();
            while let Err(message) = self.terminal_command(&command, &shown) {
                if !only_reads(&command) || began.elapsed() > READING_TIME {
                    return Err(format!("`{command}`: {message}"));
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    fn terminal_command(&mut self, command: &str, shown: &str) -> Result<(), String> {
        let ran = self.script(&format!("exec 2>&1\n{command}"))?;
        // A command fails only where the page shows its error.
        if ran.succeeded == shows_error(shown) {
            let verb = if ran.succeeded { "succeeds" } else { "fails" };
            return Err(format!("it {verb}\n{}", ran.stdout));
        }
        if shown.is_empty() {
            return Ok(());
        }
        let output = self.as_written(&ran.stdout);
        let shown = self.as_written(shown);
        self.ids.compare_text(&shown, &output)
    }

    /// Restarts the server with the command of a block.
    fn serve(&mut self, text: &str) -> Result<(), String> {
        if let Some(mut server) = self.server.take() {
            server.stop("TERM");
        }
        self.server = Some(Server::launch(self.shell.command(text), self.config()));
        Ok(())
    }

    fn config(&self) -> ServerConfig {
        ServerConfig {
            folder: self.folder.clone(),
            store: self.folder.path().join("heddle.db"),
            store_url: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Sends a request.
    fn request(&mut self, text: &str, shown: Option<&Block>) -> Result<(), String> {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let line = lines.next().unwrap_or_default();
        let (method, path) = line
            .split_once(' ')
            .ok_or_else(|| format!("`{line}` is not a request line"))?;
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "-X", method.trim()]);
        curl.arg(format!("http://127.0.0.1:{}{}", self.port, path.trim()));
        let mut headers: Vec<&str> = lines.collect();
        if !body.trim().is_empty() {
            headers.push("content-type: application/json");
            curl.args(["--data-binary", body]);
        }
        for header in headers {
            curl.args(["-H", header]);
        }
        self.server();
        let answer = curl.output().map_err(|error| format!("curl: {error}"))?;
        let output = String::from_utf8_lossy(&answer.stdout).into_owned();
        if !answer.status.success() {
            return Err(format!("{output}{}", String::from_utf8_lossy(&answer.stderr)));
        }
        shown.map_or(Ok(()), |shown| self.compare(shown, &output))
    }

    /// Converts a graph from YAML to JSON with the `heddle` command.
    fn yaml(&mut self, text: &str) -> Result<Value, String> {
        let file = self.folder.path().join("graph-of-the-page.yaml");
        fs::write(&file, text).map_err(|error| error.to_string())?;
        let address = &self.server().address;
        let url = format!("http://{address}");
        let created = Command::new(crate::heddle())
            .args(["graph", "create", "--server", &url])
            .arg(&file)
            .output()
            .map_err(|error| error.to_string())?;
        if !created.status.success() {
            return Err(String::from_utf8_lossy(&created.stderr).into_owned());
        }
        let id = String::from_utf8_lossy(&created.stdout).trim().to_owned();
        let graph = self.server().get(&format!("/v1/graphs/{id}")).ok();
        Ok(graph["definition"].clone())
    }

    fn flowchart(&mut self, graph: &str, text: &str) -> Result<(), String> {
        let drawn = flowchart::edges(text)?;
        let definition = match Path::new(graph).extension() {
            Some(_) => {
                let file = self.shell.folder().join(graph);
                let text =
                    fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                serde_json::from_str(&text).map_err(|error| error.to_string())?
            }
            None => self.examples.definition(graph)?,
        };
        let defined = flowchart::edges_of(&definition);
        let left_out: Vec<_> = defined.difference(&drawn).collect();
        let added: Vec<_> = drawn.difference(&defined).collect();
        if left_out.is_empty() && added.is_empty() {
            return Ok(());
        }
        Err(format!(
            "it lacks the edges {left_out:?}, and the graph does not have {added:?}"
        ))
    }
}

/// Whether a script starts a server.
fn serves(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("heddle serve"))
}

/// Whether the shown output is that of a command that fails, or whose run fails.
fn shows_error(shown: &str) -> bool {
    shown
        .lines()
        .any(|line| line.starts_with("error: ") || line.starts_with("The run failed"))
}

/// Whether all commands of a script are read-only.
fn only_reads(text: &str) -> bool {
    let commands = text
        .lines()
        .filter(|line| !line.starts_with([' ', '#']) && !line.is_empty());
    let sends = ["-X", "-d", "--data"]
        .iter()
        .any(|flag| text.split_whitespace().any(|word| word == *flag));
    let mut reads = commands
        .map(|line| READING.iter().any(|reading| line.starts_with(reading)))
        .peekable();
    reads.peek().is_some() && !sends && reads.all(|reads| reads)
}

/// Whether every line starts with a path of the repository.
fn paths(text: &str) -> Result<(), String> {
    for line in text.lines() {
        let path = line.split_whitespace().next().unwrap_or_default();
        if !path.is_empty() && !repository().join(path).exists() {
            return Err(format!("there is no `{path}` in the repository"));
        }
    }
    Ok(())
}

/// Fills the folder of a page with the files of its reader. Returns the initial folder of the terminal.
fn furnish(folder: &Path, path: &str) -> PathBuf {
    let root = repository();
    for name in ["docs", "wit"] {
        link(&root.join(name), &folder.join(name));
    }
    link(&target(), &folder.join("target"));
    let plugins = folder.join("plugins");
    fs::create_dir(&plugins).unwrap();
    let own = path
        .strip_prefix("plugins/")
        .and_then(|path| path.split_once('/'));
    let own = own.map(|(own, _)| own);
    for entry in fs::read_dir(root.join("plugins")).unwrap().flatten() {
        let name = entry.file_name();
        if own.is_none_or(|own| name != *own) {
            link(&entry.path(), &plugins.join(name));
        }
    }
    // Readers do not have the plugin for benchmarks.
    for entry in fs::read_dir(target().join("plugins"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        if entry.path().extension().is_some_and(|ending| ending == "wasm") && name != "bench.wasm" {
            link(&entry.path(), &plugins.join(name));
        }
    }
    let Some(own) = own else {
        return folder.to_owned();
    };
    copy(&root.join("plugins").join(own), &plugins.join(own));
    plugins.join(own)
}

/// Copies a folder without build output and installed packages.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name();
        let generated = ["target", "node_modules", "build", ".tools"]
            .iter()
            .any(|generated| name == *generated);
        if entry.path().is_dir() && !generated {
            copy(&entry.path(), &to.join(name));
        } else if entry.path().is_file() {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// A free port below the ephemeral range, so that it is still free when the server restarts.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 9000).expect("it is below 9000");
    for _ in 0..9000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 9000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_only_read_are_recognized() {
        assert!(only_reads("heddle steps RUN\ncurl -s localhost:8000/v1/runs\n"));
        assert!(!only_reads("heddle steps RUN\nheddle pause RUN\n"));
        assert!(!only_reads("curl -s localhost:8000/v1/runs \\\n  -d '{}'"));
        assert!(!only_reads(""));
    }
}
