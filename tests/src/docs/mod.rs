//! Runs the code blocks of a page of Markdown as its reader would: in order, in one terminal, beside one server.
//!
//! A block's info string says what it is. A block without a matching rule is a failure, and so is a block without a language,
//! which an indented one is.
//!
//! | block | what is done |
//! |---|---|
//! | `bash` | run by bash; it must succeed |
//! | `console` | each line after `$ ` is run, and its output must be the lines below; without any it must succeed |
//! | `http` | sent to the server: a request line, headers, an empty line, a body; the answer must be a success |
//! | … `output` | compared with what the `bash` or `http` block before it wrote, see [`shown`] |
//! | … `file=PATH` | written to PATH, from where the terminal is |
//! | `json` and `yaml` `graph=NAME` | created on the server |
//! | `json` `state=NAME`, `signal=NAME`, `ends=NAME` | the graph is run with that state and these signals and must end so |
//! | `json` `group=NAME` | the group that the next run of the graph is in |
//! | `json` `wrong=NAME`, `found=NAME` | the graph is refused, with these errors |
//! | `mermaid`, `mermaid graph=NAME` | must be a flowchart; with the edges of that graph, or of the graph in that file |
//! | `text paths` | a list of files and folders, which must be in the repository |
//!
//! What a page is given:
//!
//! - `heddle` is on the path, and port 8000 is that of the server. The server starts before the first block that needs
//!   one, with the plugins that `cargo xtask demo` builds. A `bash` block with `heddle serve` starts a new one with the block's arguments.
//! - The terminal keeps its folder and its variables from one block to the next. It begins in an empty folder with
//!   links to the repository's `plugins`, `docs`, `wit` and `target`; for a page in a plugin's folder it is a copy of that folder.
//!   `/where/heddle/is` is the repository.
//! - Commands that only read are run again until their output is the one that is shown, for 20 seconds at most.
//! - A project's build uses the tools and the packages that the repository's own plugins were built with.
//! - `cargo xtask`, `cargo test` and the like outside of a project are the repository's own. They are not run, but their
//!   tasks, packages and tests must be there ([`cargo`]).

pub mod cargo;
mod examples;
mod flowchart;
mod links;
pub mod markdown;
mod mentions;
mod named;
mod page;
mod shell;
pub mod shown;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

pub use links::check_links;
pub use mentions::Known;
pub use named::Tests;
pub use page::Page;

use crate::{heddle, repository};

/// The paths of all Markdown pages in the repository.
pub fn pages() -> Vec<String> {
    let mut found = Vec::new();
    walk(repository(), &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() && !path.is_symlink() && !is_made(&path) {
            walk(&path, found);
        } else if path.extension().is_some_and(|end| end == "md") {
            let below = path.strip_prefix(repository()).expect("it is in the repository");
            found.push(below.display().to_string());
        }
    }
}

/// Whether a folder has build output or installed packages.
fn is_made(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || ["target", "node_modules", "build"].contains(&&*name)
}

/// Runs the blocks of a page of the repository.
pub fn run(path: &str) {
    let text = read(&repository().join(path));
    Page::open(path, &text).run();
}

/// Creates a project with `heddle plugin new` in a terminal and runs its README as a page. Returns the page, so that a
/// test can continue with its server.
pub fn run_project(language: &str, name: &str) -> Page {
    let mut page = Page::open(&format!("engine/cli/templates/{language}/README.md"), "");
    let project = page.folder().join(name);
    let mut new = Command::new(heddle());
    new.args(["plugin", "new", "--lang", language, name, "--in"])
        .arg(page.folder());
    let output = new.output().expect("heddle can be started");
    assert!(output.status.success(), "{new:?}: {output:?}");
    page.go_to(&project, &read(&project.join("README.md")));
    page.run();
    page
}

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
