//! A registry of components for tests: Debian's `docker-registry` on loopback, with its own folder.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{TIMEOUT, stub::tls_file};

/// A password file with the user `heddle` whose password is `secret` (bcrypt).
const USERS: &str = "heddle:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A registry process that is killed on drop.
pub struct Registry {
    child: Child,
    /// The address: `127.0.0.1:PORT`.
    pub address: String,
    folder: TempDir,
}

impl Registry {
    /// Starts a registry without authentication.
    pub fn start() -> Self {
        Self::start_with("", "")
    }

    /// Starts a registry over TLS for the user `heddle` with the password `secret`.
    pub fn start_with_users() -> Self {
        let file = |name| tls_file(name).display().to_string();
        let tls = format!(
            ", tls: {{certificate: {}, key: {}}}",
            file("server.pem"),
            file("server.key")
        );
        Self::start_with(&tls, "auth: {htpasswd: {realm: tests, path: USERS}}\n")
    }

    fn start_with(tls: &str, auth: &str) -> Self {
        let folder = TempDir::new().expect("a folder for the registry");
        let (users, config) = (folder.path().join("users"), folder.path().join("config.yml"));
        std::fs::write(&users, USERS).unwrap();
        let auth = auth.replace("USERS", &users.display().to_string());
        let data = folder.path().join("data").display().to_string();
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {data}}}}}\n\
                 http: {{addr: 127.0.0.1:0{tls}}}\nlog: {{level: info, formatter: json}}\n{auth}"
            ),
        )
        .unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "docker-registry does not start ({error}): run `apt-get install docker-registry` first"
                )
            });
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (address_sender, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut log = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    let _ = address_sender
                        .send(rest.split(['"', ' ', ',']).next().unwrap_or_default().to_owned());
                }
                log += &line;
            }
            // The receiver is dropped unless the registry exited before it listened.
            let _ = address_sender.send(format!("nowhere: {log}"));
        });
        let address = address.recv_timeout(TIMEOUT).unwrap_or_default();
        if !address.starts_with("127.0.0.1:") {
            let _ = child.kill();
            panic!("the registry did not come up: {address}");
        }
        Self {
            child,
            address,
            folder,
        }
    }

    /// A reference to a repository and tag in this registry.
    pub fn reference(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.address)
    }

    /// The file that stores the content with this digest (`sha256:…`).
    pub fn file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a digest is a SHA-256");
        let blobs = Path::new("data/docker/registry/v2/blobs/sha256");
        let of_digest = blobs.join(&hex[..2]).join(hex).join("data");
        self.folder.path().join(of_digest)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
