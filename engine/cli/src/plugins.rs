//! `heddle plugin`: adds, pushes, inspects, removes and lists plugins, and creates projects for new ones.

mod component;
mod inspect;
mod lock;
mod new;
mod schema_summary;
mod wrap;

use std::{
    fmt,
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use heddle_display as display;
use heddle_host::ComponentSummary;
use serde_json::{Value, json};

use self::{
    component::{components_in, named_path, read_component, stem_of},
    lock::{LockFile, Pin},
};
use crate::{
    Usage,
    answer::{list, text, texts},
    client::{self, escape},
    connection::Server,
    oci::{self, Pulled, Reference, Registry},
    output,
};

#[derive(Subcommand)]
pub(crate) enum Plugin {
    /// Create a project for a new plugin, with everything needed to build it
    New(new::New),
    /// Turn a core module into a component; for modules that C compilers make with the SDK
    Wrap(wrap::Wrap),
    /// Register components with a running server: files, folders, or components from a registry
    Add(Add),
    /// Push a component to a registry, and print a reference that never changes
    Push(Push),
    /// Show the functions, requested permissions and grants of a component or a registered plugin
    Inspect(inspect::Inspect),
    /// Remove a plugin, or one version of it, that no graph and no run uses
    Remove(Remove),
    /// List the registered plugins, their grants and their functions
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
    /// A .wasm file, a folder of .wasm files, or oci://REGISTRY/REPOSITORY:TAG (or @sha256:DIGEST)
    #[arg(value_name = "SOURCE", required_unless_present = "locked")]
    sources: Vec<String>,
    /// The name to register the plugin under [default: its own name]
    #[arg(long, conflicts_with = "locked")]
    name: Option<String>,
    /// Register a new component under a name that has grants, which it then gets; prints the grants first
    #[arg(long)]
    replace_granted: bool,
    /// Add exactly the components that the lock file pins
    #[arg(long, conflicts_with_all = ["sources", "update"])]
    locked: bool,
    /// Accept tags that were moved in the registry since they were pinned
    #[arg(long)]
    update: bool,
    /// The file that pins components from registries by digest
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
    /// The destination: oci://REGISTRY/REPOSITORY:TAG
    #[arg(value_name = "REFERENCE")]
    to: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    transport: Transport,
}

#[derive(Args)]
pub(crate) struct Remove {
    /// The plugin: NAME for every version, or NAME@VERSION
    #[arg(value_name = "NAME[@VERSION]")]
    plugin: String,
    /// Remove the plugin even if graphs or runs use it; their next call of it fails
    #[arg(long)]
    force: bool,
    /// Remove the plugin even if its name has grants
    #[arg(long)]
    replace_granted: bool,
    /// Print each removed version as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
struct Transport {
    /// Use plain HTTP for the registry [default: only if the registry is on this machine]
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

/// Where a component comes from.
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
        let mut lock = LockFile::read(&self.lock)?;
        let sources = match self.locked {
            true => lock.pins().cloned().map(Source::Pinned).collect(),
            false => self.sources()?,
        };
        match (&*sources, &self.name) {
            ([], _) => bail!(
                "{} pins no component: `heddle plugin add oci://…` adds one to it",
                output::path(lock.path())
            ),
            ([source], _) => {
                self.add(source, &mut lock)?;
                Ok(ExitCode::SUCCESS)
            }
            (several, Some(name)) => Err(Usage::error(format!(
                "--name {name} applies to one plugin, but {} were given",
                several.len()
            ))),
            (several, None) => self.add_all(several, &mut lock),
        }
    }

    /// The components that the arguments name. A folder stands for every component in it.
    fn sources(&self) -> anyhow::Result<Vec<Source>> {
        let mut sources = Vec::new();
        for source in &self.sources {
            if source.starts_with(oci::SCHEME) {
                sources.push(Source::Registry(Reference::parse(source)?));
                continue;
            }
            if source.contains("://") {
                return Err(Usage::error(format!(
                    "{source}: expected a file, a folder or oci://…; download the component first"
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

    /// Adds several components. Reports one that is refused and continues with the next.
    fn add_all(&self, sources: &[Source], lock: &mut LockFile) -> anyhow::Result<ExitCode> {
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

    fn add(&self, source: &Source, lock: &mut LockFile) -> anyhow::Result<()> {
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
                        self.warn_if_moved(reference, &pin);
                        Ok(())
                    }
                    known => self.add_new(reference, known, lock),
                }
            }
            Source::Pinned(pin) => self.add_pinned(pin, lock),
        }
    }

    /// Adds the component that a reference currently names, and pins it.
    fn add_new(&self, reference: &Reference, known: Option<Pin>, lock: &mut LockFile) -> anyhow::Result<()> {
        let pulled = Registry::of(reference, self.transport.plain_http)?.pull()?;
        if let Some(pin) = known.as_ref().filter(|pin| pin.manifest != pulled.manifest) {
            output::message(format_args!(
                "{reference} has moved from {} to {}",
                pin.manifest, pulled.manifest
            ));
        }
        let name = self.name.clone().or(known.and_then(|pin| pin.name));
        let plugin = self.upload_pulled(&pulled, name.as_deref(), reference)?;
        lock.pin_component(Pin {
            reference: reference.to_string(),
            manifest: pulled.manifest,
            component: pulled.digest,
            plugin: name_and_version(&plugin),
            name,
        })
    }

    /// Adds exactly the component that is pinned.
    fn add_pinned(&self, pin: &Pin, lock: &mut LockFile) -> anyhow::Result<()> {
        let in_lock = || format!("in {}", output::path(lock.path()));
        let reference = Reference::parse(&pin.reference).with_context(in_lock)?;
        let at = Reference::parse(&reference.with_digest(&pin.manifest).to_string()).with_context(in_lock)?;
        let pulled = Registry::of(&at, self.transport.plain_http)?.pull()?;
        if pulled.digest != pin.component {
            bail!(
                "{} pins the component {} for {reference}, but the manifest names {}: one of the digests was edited",
                output::path(lock.path()),
                pin.component,
                pulled.digest
            );
        }
        let name = self.name.clone().or_else(|| pin.name.clone());
        let plugin = self.upload_pulled(&pulled, name.as_deref(), &reference)?;
        lock.pin_component(Pin {
            plugin: name_and_version(&plugin),
            name,
            ..pin.clone()
        })
    }

    /// Warns if a tag in the registry differs from its pin.
    fn warn_if_moved(&self, reference: &Reference, pin: &Pin) {
        if reference.digest().is_some() {
            return;
        }
        let now = Registry::of(reference, self.transport.plain_http).and_then(|registry| registry.digest());
        match now {
            Ok(now) if now == pin.manifest => {}
            Ok(now) => output::warning(format_args!(
                "{reference} has moved to {now}; added {}, which {} pins; --update accepts the new digest",
                pin.manifest,
                output::path(&self.lock)
            )),
            Err(error) => {
                output::warning(format_args!(
                    "cannot check whether {reference} has moved: {error:#}"
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
            bail!("the server registered {digest}, but {} was sent", pulled.digest);
        }
        Ok(plugin)
    }

    /// Prints the grants of the component's name, before the component is registered.
    fn print_grants(&self, component: &[u8], name: Option<&str>, stem: Option<&str>) {
        // If this is not a component, or has no name, the server refuses it with a message.
        let Ok(summary) = ComponentSummary::of(component, stem) else {
            return;
        };
        let name = name.unwrap_or(&summary.name);
        let Ok(answer) = client::get(&self.server, &format!("/v1/plugins/{}/grants", escape(name))) else {
            return;
        };
        let grants = texts(&answer, "grants");
        if !grants.is_empty() {
            output::message(format_args!("grants of the name `{}`:", display::line(name)));
        }
        for grant in grants {
            output::message(format_args!("  {grant}"));
        }
    }

    /// Registers a component under `name` or its own name; under `stem` if it has neither.
    fn upload(
        &self,
        component: &[u8],
        name: Option<&str>,
        stem: Option<&str>,
    ) -> anyhow::Result<client::Answer> {
        self.print_grants(component, name, stem);
        let mut path = named_path("/v1/plugins", component, name, stem);
        if self.replace_granted {
            path += if path.contains('?') { "&" } else { "?" };
            path += "replace_granted=true";
        }
        let plugin = client::upload(&self.server, &path, "application/wasm", component)?;
        if self.json {
            plugin.print()?;
        } else {
            output::print(name_and_version(&plugin))?;
            // If stdout is redirected, the lines below on stderr need the name of the plugin too.
            if !io::stdout().is_terminal() {
                output::message(name_and_version(&plugin));
            }
            inspect::print_permissions(&plugin);
        }
        Ok(plugin)
    }
}

impl Push {
    fn run(self) -> anyhow::Result<ExitCode> {
        let reference = Reference::parse(&self.to)?;
        if reference.digest().is_some() {
            return Err(Usage::error(format!(
                "{reference}: the digest is computed from the component; name a tag, as in oci://REGISTRY/REPOSITORY:TAG"
            )));
        }
        let component = read_component(&self.file)?;
        let summary = ComponentSummary::of(&component, stem_of(&self.file))
            .map_err(|error| anyhow::anyhow!("{}: {error}", output::path(&self.file)))?;
        let digest = Registry::of(&reference, self.transport.plain_http)?.push(component, &summary)?;
        let pinned = reference.with_digest(&digest).to_string();
        if self.json {
            let (name, version) = (&summary.name, &summary.version);
            output::print_json(&json!({"name": name, "version": version, "reference": pinned}))?;
        } else {
            let pushed = format!("pushed {}@{} to {reference}", summary.name, summary.version);
            output::message(format_args!(
                "{}; its reference by digest:",
                display::line(&pushed)
            ));
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
        let options = [("force", self.force), ("replace_granted", self.replace_granted)];
        let options = options.iter().filter(|(_, is_set)| *is_set);
        for (at, (name, _)) in options.enumerate() {
            path += &format!("{}{name}=true", if at == 0 { '?' } else { '&' });
        }
        let answer = client::remove(&self.server, &path)?;
        for version in list(&answer, "removed") {
            match self.json {
                true => output::print_json(version)?,
                false => output::print(name_and_version(version))?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A plugin as `name@version`.
fn name_and_version(plugin: &Value) -> String {
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
        output::empty_list(json, "plugins");
    }
    for plugin in list(&answer, "plugins") {
        inspect::write_summary(&mut out, plugin)?;
    }
    Ok(ExitCode::SUCCESS)
}
