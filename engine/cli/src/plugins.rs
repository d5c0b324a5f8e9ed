//! `heddle plugin`: where plugins come from, and what they ask for, have and do.

use std::{
    fmt,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use heddle_display as display;
use heddle_host::ComponentSummary;
use serde_json::{Value, json};

use crate::{
    Server, Usage,
    client::{self, escape, list, text, texts},
    inspect,
    lock::{Lock, Pin},
    new,
    oci::{self, Pulled, Reference, Registry},
    output, wrap,
};

#[derive(Subcommand)]
pub(crate) enum Plugin {
    /// Make a project for a plugin of your own, with all that it needs to be built
    New(new::New),
    /// Make a component of a core module that was compiled against the contract, as C compilers leave it
    Wrap(wrap::Wrap),
    /// Register components with a running server, which keeps them: files, folders, or from a registry
    Add(Add),
    /// Push a component to a registry, and print the reference by which it is the same for ever
    Push(Push),
    /// Show what a component or a registered plugin is, asks for, is granted and does
    Inspect(inspect::Inspect),
    /// Remove a plugin, or one version of it, that no graph and no run needs
    Remove(Remove),
    /// List the registered plugins, what they are granted, and their functions
    List {
        /// Print the plugins as JSON lines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Args)]
pub(crate) struct Add {
    /// A .wasm file, a folder of them, or oci://REGISTRY/REPOSITORY:TAG (or @sha256:DIGEST)
    #[arg(value_name = "SOURCE", required_unless_present = "locked")]
    sources: Vec<String>,
    /// A name to register it under, instead of its own
    #[arg(long, conflicts_with = "locked")]
    name: Option<String>,
    /// Register it even where it is new under a name that has grants, and let it have them; they are printed first
    #[arg(long)]
    replace_granted: bool,
    /// Add what the lock file names, exactly
    #[arg(long, conflicts_with_all = ["sources", "update"])]
    locked: bool,
    /// Follow tags that were moved in the registry since they were pinned
    #[arg(long)]
    update: bool,
    /// The file that pins what comes from a registry by its digest
    #[arg(long, value_name = "FILE", default_value = "heddle.lock")]
    lock: PathBuf,
    /// Print each plugin as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    transport: Transport,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Push {
    /// The component: a .wasm file
    file: PathBuf,
    /// Where to: oci://REGISTRY/REPOSITORY:TAG
    #[arg(value_name = "REFERENCE")]
    to: String,
    /// Print what was pushed as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    transport: Transport,
}

#[derive(Args)]
pub(crate) struct Remove {
    /// The plugin, as NAME, which is every version of it, or NAME@VERSION
    #[arg(value_name = "NAME[@VERSION]")]
    plugin: String,
    /// Remove it even where graphs or runs need it: they fail when they next call it
    #[arg(long)]
    force: bool,
    /// Remove it even where it has grants
    #[arg(long)]
    replace_granted: bool,
    /// Print each version that was removed as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
struct Transport {
    /// Talk to the registry in plain HTTP, as is done anyway if it is on this machine
    #[arg(long)]
    plain_http: bool,
}

impl Plugin {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::New(new) => new.run(),
            Self::Wrap(wrap) => wrap.run(),
            Self::Add(add) => add.run(),
            Self::Push(push) => push.run(),
            Self::Inspect(inspect) => inspect.run(),
            Self::Remove(remove) => remove.run(),
            Self::List { json, server } => list_plugins(&server, json),
        }
    }
}

/// Where a component is.
enum Source {
    File(PathBuf),
    Registry(Reference),
    Pinned(Pin),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", output::path(file)),
            Self::Registry(reference) => write!(f, "{reference}"),
            Self::Pinned(pin) => f.write_str(&pin.reference),
        }
    }
}

impl Add {
    fn run(self) -> anyhow::Result<ExitCode> {
        let mut lock = Lock::read(&self.lock)?;
        let sources = match self.locked {
            true => lock.pins().cloned().map(Source::Pinned).collect(),
            false => self.sources()?,
        };
        match (&*sources, &self.name) {
            ([], _) => bail!(
                "{} pins nothing: `heddle plugin add oci://…` writes it",
                output::path(lock.file())
            ),
            ([source], _) => {
                self.add(source, &mut lock)?;
                Ok(ExitCode::SUCCESS)
            }
            (several, Some(name)) => Err(Usage::error(format!(
                "--name {name} is for one plugin, and {} are to be added",
                several.len()
            ))),
            (several, None) => self.add_all(several, &mut lock),
        }
    }

    /// What the arguments name; of a folder, each component in it.
    fn sources(&self) -> anyhow::Result<Vec<Source>> {
        let mut sources = Vec::new();
        for source in &self.sources {
            if source.starts_with(oci::SCHEME) {
                sources.push(Source::Registry(Reference::parse(source)?));
                continue;
            }
            if source.contains("://") {
                return Err(Usage::error(format!(
                    "{source}: a plugin comes from a file, a folder or oci://…, so download it first"
                )));
            }
            let path = PathBuf::from(source);
            match path.is_dir() {
                true => sources.extend(components_in(&path)?.into_iter().map(Source::File)),
                false => sources.push(Source::File(path)),
            }
        }
        Ok(sources)
    }

    /// Adds one after the other; one that is refused is told, and holds up none.
    fn add_all(&self, sources: &[Source], lock: &mut Lock) -> anyhow::Result<ExitCode> {
        let mut refused = 0;
        for source in sources {
            if let Err(error) = self.add(source, lock) {
                refused += 1;
                output::error(format_args!("{}: {error:#}", display::line(&source.to_string())));
            }
        }
        if refused == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        bail!("{refused} of {} were not added", sources.len())
    }

    fn add(&self, source: &Source, lock: &mut Lock) -> anyhow::Result<()> {
        match source {
            Source::File(file) => {
                let component = read_component(file)?;
                self.upload(&component, self.name.as_deref(), stem_of(file))?;
                Ok(())
            }
            Source::Registry(reference) => {
                let known = lock.pin(&reference.to_string()).cloned();
                match known {
                    Some(pin) if !self.update => {
                        self.add_pinned(&pin, lock)?;
                        self.tell_if_moved(reference, &pin);
                        Ok(())
                    }
                    known => self.add_new(reference, known, lock),
                }
            }
            Source::Pinned(pin) => self.add_pinned(pin, lock),
        }
    }

    /// Adds what a reference stands for at present, and pins it.
    fn add_new(&self, reference: &Reference, known: Option<Pin>, lock: &mut Lock) -> anyhow::Result<()> {
        let pulled = Registry::of(reference, self.transport.plain_http)?.pull()?;
        if let Some(pin) = known.as_ref().filter(|pin| pin.manifest != pulled.manifest) {
            output::message(format_args!(
                "{reference} was moved from {} to {}",
                pin.manifest, pulled.manifest
            ));
        }
        let given = self.name.clone().or(known.and_then(|pin| pin.given));
        let plugin = self.upload_pulled(&pulled, given.as_deref(), reference)?;
        lock.keep(Pin {
            reference: reference.to_string(),
            manifest: pulled.manifest,
            component: pulled.digest,
            plugin: named(&plugin),
            given,
        })
    }

    /// Adds exactly what was pinned.
    fn add_pinned(&self, pin: &Pin, lock: &mut Lock) -> anyhow::Result<()> {
        let in_lock = || format!("in {}", output::path(lock.file()));
        let reference = Reference::parse(&pin.reference).with_context(in_lock)?;
        let at = Reference::parse(&reference.at(&pin.manifest).to_string()).with_context(in_lock)?;
        let pulled = Registry::of(&at, self.transport.plain_http)?.pull()?;
        if pulled.digest != pin.component {
            bail!(
                "{} pins the component {} for {reference}, and its manifest names {}: one of the two was changed by hand",
                output::path(lock.file()),
                pin.component,
                pulled.digest
            );
        }
        let given = self.name.clone().or_else(|| pin.given.clone());
        let plugin = self.upload_pulled(&pulled, given.as_deref(), &reference)?;
        lock.keep(Pin {
            plugin: named(&plugin),
            given,
            ..pin.clone()
        })
    }

    /// Tells of a tag that stands for something else than it was pinned to.
    fn tell_if_moved(&self, reference: &Reference, pin: &Pin) {
        if reference.digest().is_some() {
            return;
        }
        let now = Registry::of(reference, self.transport.plain_http).and_then(|registry| registry.digest());
        match now {
            Ok(now) if now == pin.manifest => {}
            Ok(now) => output::warning(format_args!(
                "{reference} was moved to {now}; {} was added, as {} pins it, and --update follows the tag",
                pin.manifest,
                output::path(&self.lock)
            )),
            Err(error) => {
                output::warning(format_args!(
                    "whether {reference} was moved is not known: {error:#}"
                ));
            }
        }
    }

    fn upload_pulled(
        &self,
        pulled: &Pulled,
        name: Option<&str>,
        from: &Reference,
    ) -> anyhow::Result<client::Answer> {
        let plugin = self.upload(&pulled.component, name, Some(from.last()))?;
        let digest = text(&plugin, "digest");
        if pulled.digest != format!("sha256:{digest}") {
            bail!(
                "the server registered {digest}, and {} was sent to it",
                pulled.digest
            );
        }
        Ok(plugin)
    }

    /// Prints what the component would be granted by its name, before it is registered.
    fn tell_grants(&self, component: &[u8], name: Option<&str>, stem: Option<&str>) {
        // What is no component at all, or has no name, is left to the server, which says so.
        let Ok(outline) = ComponentSummary::of(component, stem) else {
            return;
        };
        let name = name.unwrap_or(&outline.name);
        let Ok(answer) = client::get(&self.server, &format!("/v1/plugins/{}/grants", escape(name))) else {
            return;
        };
        let grants = texts(&answer, "grants");
        if !grants.is_empty() {
            output::message(format_args!("the name `{}` is granted:", display::line(name)));
        }
        for grant in grants {
            output::message(format_args!("  {grant}"));
        }
    }

    /// Has the server register a component. Its own name stands, unless one is given; `stem` is for one that has none.
    fn upload(
        &self,
        component: &[u8],
        name: Option<&str>,
        stem: Option<&str>,
    ) -> anyhow::Result<client::Answer> {
        self.tell_grants(component, name, stem);
        let mut path = named_path("/v1/plugins", component, name, stem);
        if self.replace_granted {
            path += if path.contains('?') { "&" } else { "?" };
            path += "replace_granted=true";
        }
        let plugin = client::upload(&self.server, &path, "application/wasm", component)?;
        if self.json {
            plugin.print()?;
        } else {
            output::print(named(&plugin))?;
            // Where stdout goes elsewhere, stderr has no other word of the plugin that the lines are of.
            if !io::stdout().is_terminal() {
                output::message(named(&plugin));
            }
            inspect::tell_permissions(&plugin);
        }
        Ok(plugin)
    }
}

impl Push {
    fn run(self) -> anyhow::Result<ExitCode> {
        let reference = Reference::parse(&self.to)?;
        if reference.digest().is_some() {
            return Err(Usage::error(format!(
                "{reference}: a digest follows from what is pushed; name a tag, as in oci://REGISTRY/REPOSITORY:TAG"
            )));
        }
        let component = read_component(&self.file)?;
        let outline = ComponentSummary::of(&component, stem_of(&self.file))
            .map_err(|error| anyhow::anyhow!("{}: {error}", output::path(&self.file)))?;
        let digest = Registry::of(&reference, self.transport.plain_http)?.push(component, &outline)?;
        let pinned = reference.at(&digest).to_string();
        if self.json {
            let (name, version) = (&outline.name, &outline.version);
            output::print_json(&json!({"name": name, "version": version, "reference": pinned}))?;
        } else {
            let pushed = format!("pushed {}@{} to {reference}", outline.name, outline.version);
            output::message(format_args!("{}, which is from here on:", display::line(&pushed)));
            output::print(pinned)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Remove {
    fn run(self) -> anyhow::Result<ExitCode> {
        let mut path = match self.plugin.split_once('@') {
            Some((name, version)) => format!("/v1/plugins/{}/{}", escape(name), escape(version)),
            None => format!("/v1/plugins/{}", escape(&self.plugin)),
        };
        let asked = [("force", self.force), ("replace_granted", self.replace_granted)];
        let asked = asked.iter().filter(|(_, is_set)| *is_set);
        for (at, (name, _)) in asked.enumerate() {
            path += &format!("{}{name}=true", if at == 0 { '?' } else { '&' });
        }
        let answer = client::remove(&self.server, &path)?;
        for version in list(&answer, "removed") {
            match self.json {
                true => output::print_json(version)?,
                false => output::print(named(version))?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a component from a file.
pub(crate) fn read_component(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", output::path(file)))
}

/// What a file names a component that carries no name.
pub(crate) fn stem_of(file: &Path) -> Option<&str> {
    file.file_stem().and_then(|stem| stem.to_str())
}

/// A route that takes a component, with the name that is given to it: `name`, or `stem` where it carries none.
pub(crate) fn named_path(route: &str, component: &[u8], name: Option<&str>, stem: Option<&str>) -> String {
    let name = name.map(str::to_owned).or_else(|| {
        // What is no component at all is left to the server, which says so.
        let is_nameless = ComponentSummary::of(component, None).is_err();
        let by_stem = ComponentSummary::of(component, stem).ok();
        by_stem.filter(|_| is_nameless).map(|outline| outline.name)
    });
    match name {
        Some(name) => format!("{route}?name={}", escape(&name)),
        None => route.to_owned(),
    }
}

/// The components in a folder, in the order of their names.
fn components_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", output::path(folder)))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "wasm") && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("there is no .wasm file in {}", output::path(folder));
    }
    files.sort();
    Ok(files)
}

/// A plugin as `name@version`.
fn named(plugin: &Value) -> String {
    format!("{}@{}", text(plugin, "name"), text(plugin, "version"))
}

fn list_plugins(server: &Server, json: bool) -> anyhow::Result<ExitCode> {
    let answer = client::get_text(server, "/v1/plugins")?;
    let mut out = output::stdout();
    if json {
        client::print_items(&mut out, &answer, "plugins")?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Value = serde_json::from_str(&answer)?;
    if list(&answer, "plugins").next().is_none() {
        output::none(json, "plugins");
    }
    for plugin in list(&answer, "plugins") {
        inspect::write_briefly(&mut out, plugin)?;
    }
    Ok(ExitCode::SUCCESS)
}
