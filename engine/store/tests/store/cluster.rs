//! A PostgreSQL server of the test process: its own data folder, Unix socket and loopback port, with `fsync` on.
//!
//! The first test that needs the server starts it. A shell that holds the server stops it and removes its folder when the
//! test process ends, however it ends.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// How long the server may take to start.
const START: Duration = Duration::from_secs(60);

/// The password of the user `heddle` over TCP. On the socket, no password is needed.
pub(crate) const PASSWORD: &str = "ge heim@1";

/// A running server.
pub(crate) struct Cluster {
    bin: PathBuf,
    /// The folder of the socket and of the data.
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    /// The ids of the user that the server runs as, if this process is root's.
    user: Option<(u32, u32)>,
    /// The shell that holds the server, and its input: the shell ends when that is closed.
    _shell: Child,
    _input: ChildStdin,
}

/// The server of the test process.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(&[]))
}

impl Cluster {
    /// Starts a server with these further settings, as in `ssl=on`.
    pub(crate) fn start(settings: &[String]) -> Self {
        let bin = binaries();
        let user = user();
        let folder = tempfile::Builder::new()
            .prefix("heddle-pg-")
            .tempdir()
            .unwrap()
            .keep();
        let password = folder.join("password");
        fs::write(&password, PASSWORD).unwrap();
        if let Some((uid, gid)) = user {
            for path in [&folder, &password] {
                chown(path, Some(uid), Some(gid)).unwrap();
            }
        }
        let data = folder.join("data");
        let mut initdb = as_user(user, &bin.join("initdb"));
        initdb
            .arg("-D")
            .arg(&data)
            .arg(format!("--pwfile={}", password.display()));
        initdb.args(["-U", "heddle", "-E", "UTF8", "--locale=C", "--no-sync"]);
        initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
        run(initdb);
        // Another process may take the port before the server does; the start fails then.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut shell = as_user(user, Path::new("/bin/sh"));
        let script = r#"dir=$1; shift; "$@" >"$dir/log" 2>&1 & server=$!
            cat >/dev/null; kill -QUIT $server; wait $server; rm -rf "$dir""#;
        shell
            .args(["-c", script, "sh"])
            .arg(&folder)
            .arg(bin.join("postgres"));
        shell.arg("-D").arg(&data).args(["-k"]).arg(&folder);
        shell.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=on"]);
        shell.args([
            "-c",
            "shared_buffers=32MB",
            "-c",
            "max_connections=300",
            "-c",
            "autovacuum_naptime=5s",
        ]);
        for setting in settings {
            shell.args(["-c", setting]);
        }
        shell.stdin(Stdio::piped()).current_dir("/");
        let mut shell = shell.spawn().unwrap();
        let input = shell.stdin.take().unwrap();
        let cluster = Self {
            bin,
            folder,
            port,
            user,
            _shell: shell,
            _input: input,
        };
        cluster.wait();
        cluster
    }

    fn wait(&self) {
        let started = Instant::now();
        while self.psql("postgres", "SELECT 1").is_err() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(started.elapsed() < START, "PostgreSQL does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Executes SQL in a database, and returns the output without decoration.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "heddle",
            "-d",
            database,
            "-c",
            sql,
        ]);
        psql.arg("-h")
            .arg(&self.folder)
            .args(["-p", &self.port.to_string()]);
        let output = psql.output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Creates an empty database and returns its name.
    pub(crate) fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        name
    }

    /// The URL of a database on the Unix socket.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres://heddle@/{database}?host={}&port={}",
            self.folder.display(),
            self.port
        )
    }

    /// The URL of a database over TCP, with the password.
    pub(crate) fn tcp_url(&self, database: &str) -> String {
        format!(
            "postgres://heddle:ge%20heim%401@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Restarts the server: `fast` ends the connections, `immediate` crashes the server.
    pub(crate) fn restart(&self, mode: &str) {
        let mut stop = as_user(self.user, &self.bin.join("pg_ctl"));
        stop.arg("restart")
            .arg("-D")
            .arg(self.folder.join("data"))
            .args(["-m", mode, "-w", "-s", "-l"]);
        stop.arg(self.folder.join("log")).current_dir("/");
        run(stop);
        self.wait();
    }
}

/// The newest installed version.
fn binaries() -> PathBuf {
    if let Some(named) = std::env::var_os("HEDDLE_TEST_POSTGRES") {
        return named.into();
    }
    let installed = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let versions = installed.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let bin = entry.path().join("bin");
        bin.join("initdb").exists().then_some((version, bin))
    });
    let newest = versions.max().map(|(_, bin)| bin);
    newest.expect(
        "these tests need PostgreSQL: install Debian's package `postgresql`, or name the folder of its programs in \
         HEDDLE_TEST_POSTGRES",
    )
}

/// The user `postgres`, if this process is root's: PostgreSQL refuses to run as root.
pub(crate) fn user() -> Option<(u32, u32)> {
    let id = |args: &[&str]| -> u32 {
        let output = Command::new("id").args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse()
            .unwrap_or_else(|_| panic!("PostgreSQL refuses to run as root, and there is no user `postgres`"))
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

/// A command that runs as this user.
fn as_user(user: Option<(u32, u32)>, program: &Path) -> Command {
    let Some((uid, gid)) = user else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={gid}"))
        .arg("--clear-groups")
        .arg(program);
    command
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
