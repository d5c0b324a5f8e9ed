//! `heddle plugin new`: creates a project for a plugin, in Rust, Python, JavaScript or C.
//!
//! The SDKs are not in package registries. So a project contains copies of the contract (`wit/`) and the SDK (`sdk/`),
//! which this program embeds. The other files are templates: `{{name}}` becomes the name of the plugin, `{{file}}` the
//! file name that cargo derives from the name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::wrap::CONTRACT;
use crate::{Usage, output};

/// The maximum length of a plugin's name. Rust's tools make file names from it.
const NAME_LEN: usize = 64;

/// Embeds files of the repository, each with its path in a project.
macro_rules! files {
    ($from:literal => $to:literal: $($file:literal),* $(,)?) => {
        &[$((concat!($to, $file), include_str!(concat!("../../../../", $from, $file)))),*]
    };
}

type Files = &'static [(&'static str, &'static str)];

const RUST_SDK: Files = files!("plugins/sdk-rust/" => "sdk/rust/":
    "Cargo.toml", "src/call.rs", "src/decimal.rs", "src/error.rs", "src/function.rs", "src/guest.rs", "src/http/date.rs",
    "src/http/events.rs", "src/http/guest.rs", "src/http/mod.rs", "src/http/native.rs", "src/json.rs", "src/lib.rs",
    "src/native.rs", "src/outcome.rs",
    "macros/Cargo.toml", "macros/src/lib.rs", "macros/src/options.rs", "macros/src/signature.rs",
);
const RUST: Files = files!("engine/cli/templates/rust/" => "":
    "Cargo.toml", "README.md", "build.sh", "src/lib.rs", "gitignore",
);
/// The script that finds or installs Rust's WebAssembly target.
const WASM_TARGET: Files = files!("engine/xtask/" => "sdk/": "ensure-wasm-target.sh");
/// The tested versions of the Rust packages. Cargo removes those that a project does not use.
const RUST_LOCK: &str = include_str!("../../../../plugins/Cargo.lock");

const PYTHON_SDK: Files = files!("plugins/sdk-python/" => "sdk/python/":
    "build.py", "pyproject.toml", "requirements.txt", "README.md", "heddle/__init__.py", "heddle/errors.py",
    "heddle/functions.py", "heddle/guest.py", "heddle/hints.py", "heddle/platform.py", "heddle/testing.py",
);
const PYTHON: Files = files!("engine/cli/templates/python/" => "":
    "pyproject.toml", "README.md", "app.py", "gitignore",
);

const JS_SDK: Files = files!("plugins/sdk-js/" => "sdk/js/":
    "build.mjs", "package.json", "package-lock.json", "README.md", "errors.js", "functions.js", "guest.js", "index.js",
    "index.d.ts", "platform.js", "testing.js", "testing.d.ts",
);
const JS: Files = files!("engine/cli/templates/js/" => "":
    "package.json", "README.md", "index.js", "gitignore",
);

const C_SDK: Files = files!("plugins/sdk-c/" => "sdk/c/":
    "build.py", "requirements.txt", "README.md", "heddle.c", "heddle.h", "json.c", "wasi.c",
    "generated/README.md", "generated/plugin.c", "generated/plugin.h",
);
const C: Files = files!("engine/cli/templates/c/" => "":
    "README.md", "plugin.c", "gitignore",
);

/// The files of every project.
const SHARED: Files = files!("engine/cli/templates/" => "": "graph.json");

#[derive(Args)]
pub(crate) struct New {
    /// The name of the plugin and of the new folder
    name: String,
    /// The programming language
    #[arg(long, value_enum)]
    lang: Language,
    /// The folder in which the new folder is created
    #[arg(long = "in", value_name = "FOLDER", default_value = ".")]
    within: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Language {
    Rust,
    Python,
    Js,
    C,
}

impl Language {
    fn files(self) -> Vec<Files> {
        match self {
            Self::Rust => vec![RUST, WASM_TARGET, RUST_SDK, SHARED],
            Self::Python => vec![PYTHON, PYTHON_SDK, SHARED],
            Self::Js => vec![JS, JS_SDK, SHARED],
            Self::C => vec![C, C_SDK, SHARED],
        }
    }

    /// The command that builds a project, and the component that it makes. `heddle` is the command line of this program,
    /// which the build in C calls.
    fn build(self, name: &str, heddle: &str) -> (String, String) {
        let component = format!("build/{name}.wasm");
        match self {
            Self::Rust => (
                "bash build.sh".to_owned(),
                format!("target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_")),
            ),
            Self::Python => ("python3 sdk/python/build.py".to_owned(), component),
            Self::Js => ("npm run build".to_owned(), component),
            Self::C if heddle == "heddle" => ("python3 sdk/c/build.py".to_owned(), component),
            Self::C => (format!("HEDDLE={heddle} python3 sdk/c/build.py"), component),
        }
    }
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let name = &self.name;
        check(name)?;
        let folder = self.within.join(name);
        if folder.exists() {
            bail!(
                "{} exists: choose another name, or move the folder away",
                output::path(&folder)
            );
        }
        for (to, text) in self.lang.files().into_iter().flatten().copied() {
            write(&folder, to, text, name)?;
        }
        write(&folder, "wit/0.1.0/plugin.wit", CONTRACT, name)?;
        if let Language::Rust = self.lang {
            write(&folder, "Cargo.lock", RUST_LOCK, name)?;
        }
        output::print(folder.display())?;
        output::message(self.next_steps(&folder, &this_command()).trim_end());
        Ok(ExitCode::SUCCESS)
    }

    /// The commands that build, add and run the plugin, for copying into a shell.
    fn next_steps(&self, folder: &Path, heddle: &str) -> String {
        let name = &self.name;
        let (build, component) = self.lang.build(name, heddle);
        let folder = output::shell_word(&folder.to_string_lossy());
        let (built, _) = component.rsplit_once('/').expect("a component is in a folder");
        format!(
            "next steps (a server must be running: `{heddle} serve` in another terminal):\n\
             \x20   cd {folder}\n\
             \x20   {build}\n\
             \x20   {heddle} plugin add {component}\n\
             \x20   {heddle} graph create graph.json\n\
             \x20   {heddle} run {name} --follow --state '{{\"name\": \"Ada\"}}'\n\
             after a change, increase the version, build and add the plugin again; or let the server watch the builds:\n\
             \x20   {heddle} serve --watch --plugins {built}\n"
        )
    }
}

/// The shell command that starts this program from any folder.
fn this_command() -> String {
    let called = std::env::args().next().unwrap_or_default();
    match called.contains(std::path::is_separator) {
        true => std::env::current_exe().map_or(called, |path| output::shell_word(&path.to_string_lossy())),
        // The shell found it in `PATH`.
        false => "heddle".to_owned(),
    }
}

/// Refuses a name that the engine or the tools of a language do not accept.
fn check(name: &str) -> anyhow::Result<()> {
    let fits = name.len() <= NAME_LEN
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
    if !fits {
        return Err(Usage::error(format!(
            "{name:?} is not a valid plugin name: use lower-case letters, digits, `-` and `_`, beginning with a letter, at \
             most {NAME_LEN} characters"
        )));
    }
    // Names that cargo does not accept for a package, and names of packages and folders in a project.
    const RESERVED: [&str; 12] = [
        "alloc",
        "build",
        "core",
        "deps",
        "fn",
        "heddle-plugin",
        "mod",
        "proc-macro",
        "self",
        "std",
        "super",
        "test",
    ];
    if RESERVED.contains(&name) {
        return Err(Usage::error(format!(
            "{name:?} is reserved by compilers or the SDK: choose another name"
        )));
    }
    Ok(())
}

fn write(folder: &Path, to: &str, text: &str, name: &str) -> anyhow::Result<()> {
    // The template is not named `.gitignore`, because git would apply it to the templates.
    let to = folder.join(if to == "gitignore" { ".gitignore" } else { to });
    let parent = to.parent().expect("a file of a project is in a folder");
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", output::path(parent)))?;
    let text = match to.starts_with(folder.join("sdk")) {
        true => text.to_owned(),
        false => text
            .replace("{{name}}", name)
            .replace("{{file}}", &name.replace('-', "_")),
    };
    fs::write(&to, text).with_context(|| format!("cannot write {}", output::path(&to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files below a folder that a project needs.
    fn below(folder: &Path, at: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let skipped = ["tests", "target", "build", "node_modules", "__pycache__"].contains(&&*name)
                || name.contains("test_")
                || name.contains(".test.")
                || name.starts_with('.');
            let path = format!("{at}{name}");
            match entry.file_type().unwrap().is_dir() {
                _ if skipped => {}
                true => below(&entry.path(), &format!("{path}/"), found),
                false => found.push(path),
            }
        }
    }

    #[test]
    fn a_project_has_every_file_of_its_sdk() {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
        let sdks = [
            ("rust", RUST_SDK),
            ("python", PYTHON_SDK),
            ("js", JS_SDK),
            ("c", C_SDK),
        ];
        for (language, files) in sdks {
            let mut there = Vec::new();
            below(
                &plugins.join(format!("sdk-{language}")),
                &format!("sdk/{language}/"),
                &mut there,
            );
            let mut carried: Vec<_> = files.iter().map(|(to, _)| (*to).to_owned()).collect();
            there.sort();
            carried.sort();
            assert_eq!(
                carried, there,
                "{language}: list the files of the SDK in `new.rs`"
            );
        }
    }

    #[test]
    fn the_next_steps_can_be_copied_into_a_shell() {
        let steps = |lang, name: &str, within: &str, heddle: &str| {
            let new = New {
                name: name.to_owned(),
                lang,
                within: within.into(),
            };
            new.next_steps(&new.within.join(name), heddle)
        };
        let shown = steps(Language::Rust, "word-count", "/tmp/my plugins", "heddle");
        let lines: Vec<_> = shown.lines().map(str::trim).collect();
        assert_eq!(
            lines[..6],
            [
                "next steps (a server must be running: `heddle serve` in another terminal):",
                "cd '/tmp/my plugins/word-count'",
                "bash build.sh",
                "heddle plugin add target/wasm32-wasip2/release/word_count.wasm",
                "heddle graph create graph.json",
                r#"heddle run word-count --follow --state '{"name": "Ada"}'"#,
            ]
        );
        for (lang, build) in [
            (Language::Python, "python3 sdk/python/build.py"),
            (Language::Js, "npm run build"),
            (Language::C, "HEDDLE=/opt/heddle python3 sdk/c/build.py"),
        ] {
            let shown = steps(lang, "w", ".", "/opt/heddle");
            let lines: Vec<_> = shown.lines().map(str::trim).collect();
            assert_eq!(lines[2..4], [build, "/opt/heddle plugin add build/w.wasm"]);
        }
    }

    #[test]
    fn names_must_suit_the_engine_and_the_compilers() {
        for good in ["a", "word-count", "w2_x"] {
            check(good).unwrap();
        }
        for bad in [
            "",
            "Words",
            "2words",
            "-a",
            "a b",
            "a/b",
            "..",
            "std",
            &"a".repeat(65),
        ] {
            check(bad).unwrap_err();
        }
    }
}
