//! The permissions that a component requests, derived from its imports.
//!
//! An import does not prove use: common toolchains import the environment, clocks and folders for their standard
//! libraries, even if the component's own code never uses them.

use crate::contract::types::PACKAGE;

/// Each permission with the WASI packages and interfaces that need it.
const PERMISSIONS: [(&str, &[&str]); 6] = [
    ("clock", &["wasi:clocks/"]),
    ("environment", &["wasi:cli/environment@"]),
    ("files", &["wasi:filesystem/"]),
    ("http", &["wasi:http/"]),
    ("random", &["wasi:random/"]),
    ("sockets", &["wasi:sockets/"]),
];

/// The permission to call tools of other plugins. A component that only logs imports the same interface.
const TOOLS: &str = "tools";

/// The permissions for these imports, in alphabetical order. Imports that need no grant, such as stdout and exit, are
/// left out.
pub(crate) fn from_imports(imports: &[String]) -> Vec<String> {
    let has = |starts: &[&str]| {
        let begins = |import: &String| starts.iter().any(|start| import.starts_with(start));
        imports.iter().any(begins)
    };
    let permissions = PERMISSIONS.iter().filter(|(_, starts)| has(starts));
    let host = format!("{PACKAGE}host@");
    let tools = has(&[&host]).then_some(TOOLS);
    permissions
        .map(|(permission, _)| *permission)
        .chain(tools)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn imports_are_mapped_to_permissions() {
        let of = |imports: &[&str]| {
            let imports: Vec<_> = imports.iter().map(|&import| import.to_owned()).collect();
            super::from_imports(&imports)
        };
        assert_eq!(of(&["wasi:cli/stdout@0.2.3", "wasi:io/streams@0.2.3"]), [""; 0]);
        assert_eq!(
            of(&[
                "wasi:random/insecure-seed@0.2.4",
                "heddle:plugin/host@0.1.0",
                "wasi:cli/environment@0.2.0",
                "wasi:http/types@0.2.4",
                "wasi:clocks/wall-clock@0.2.0",
                "wasi:filesystem/preopens@0.2.0",
                "wasi:sockets/tcp@0.2.0",
                "wasi:random/random@0.2.4",
            ]),
            [
                "clock",
                "environment",
                "files",
                "http",
                "random",
                "sockets",
                "tools"
            ]
        );
    }
}
