//! Where the database is and how to connect to it.
//!
//! The password comes from the URL, from `PGPASSWORD` or from a passfile. It is in no `Debug` output, error or log line.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_postgres::{Config, config::SslMode};

use super::{OpenError, passfile, tls::Verification};

/// The time after which an engine that does not renew its lease counts as dead. Default: 3 s.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// How long connecting to one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long sent data may stay unconfirmed before the connection counts as broken. Shorter than the lease.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often an idle connection is probed after that time. Whole seconds: the operating system takes no less.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// The port and database if the URL names none, as in other clients of PostgreSQL.
const DEFAULT_PORT: u16 = 5432;

/// The settings of a store in PostgreSQL.
#[derive(Clone)]
pub struct PostgresSettings {
    pub(super) target: Target,
    pub(super) config: Config,
    pub(super) verification: Verification,
    /// The file with the certificates of the authorities that are trusted; the system's if absent.
    pub(super) root_certificates: Option<PathBuf>,
    /// The name under which other engines list this one. Default: the host name and the process id.
    pub name: String,
    /// Whether other engines can use the store at the same time. Default: no.
    pub is_shared: bool,
    /// How many reads may run at the same time; others wait. Default: 4.
    pub readers: usize,
    /// The longest pause between two attempts to connect. Default: 1 s.
    pub retry: Duration,
}

/// The place of a store, without the password: what messages show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(super) user: String,
    /// The host, or the folder of the Unix socket.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            host,
            port,
            database,
        } = self;
        match self.is_socket() {
            true => write!(f, "postgres://{user}@/{database}?host={host}&port={port}"),
            false => write!(f, "postgres://{user}@{host}:{port}/{database}"),
        }
    }
}

impl Target {
    fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Config` hides the password as well, but its output is another crate's.
        f.debug_struct("PostgresSettings")
            .field("target", &self.target)
            .field("verification", &self.verification)
            .field("root_certificates", &self.root_certificates)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The parameters of the URL.
#[derive(Default)]
struct Parameters {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    sslmode: Option<String>,
    root_certificates: Option<PathBuf>,
    passfile: Option<PathBuf>,
    connect_timeout: Option<Duration>,
    options: String,
}

impl PostgresSettings {
    /// The settings for the database at this URL: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE`.
    ///
    /// Further parameters are `sslrootcert`, `passfile`, `host` (also the folder of a Unix socket), `port`, `user`,
    /// `password`, `dbname`, `connect_timeout` (seconds) and `options`. A missing password is taken from `PGPASSWORD`,
    /// then from the passfile (`passfile`, `PGPASSFILE` or `~/.pgpass`).
    ///
    /// # Errors
    /// If the URL is not valid. The message never contains the URL or the password.
    pub fn parse(url: &str) -> Result<Self, OpenError> {
        let refuse = |message: String| OpenError::Url { message };
        let given = Parameters::of(url).map_err(refuse)?;
        let user = given
            .user
            .or_else(|| environment("PGUSER"))
            .or_else(|| environment("USER"));
        let user =
            user.ok_or_else(|| refuse("it names no user, as in postgres://USER@HOST/DATABASE".to_owned()))?;
        let target = Target {
            host: given.host.unwrap_or_else(|| "localhost".to_owned()),
            port: given.port.unwrap_or(DEFAULT_PORT),
            database: given.database.unwrap_or_else(|| user.clone()),
            user,
        };
        let verification = Verification::parse(
            given.sslmode.as_deref(),
            given.root_certificates.is_some(),
            target.is_socket(),
        )
        .map_err(refuse)?;
        let mut config = Config::new();
        config
            .user(&target.user)
            .dbname(&target.database)
            .port(target.port)
            .application_name("heddle")
            .connect_timeout(given.connect_timeout.unwrap_or(CONNECT_TIMEOUT))
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(TCP_USER_TIMEOUT)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(3)
            .options(given.options)
            .ssl_mode(verification.ssl_mode());
        match target.is_socket() {
            true => config.host_path(&target.host).ssl_mode(SslMode::Disable),
            false => config.host(&target.host),
        };
        let password = given.password.or_else(|| environment("PGPASSWORD"));
        let password = password.or_else(|| passfile::password(given.passfile.as_deref(), &target));
        if let Some(password) = password {
            config.password(password);
        }
        Ok(Self {
            target,
            config,
            verification,
            root_certificates: given.root_certificates,
            name: engine_name(),
            is_shared: false,
            readers: 4,
            retry: Duration::from_secs(1),
        })
    }

    /// The place of the store, without the password.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The configuration of a connection with these session settings, as in `-c statement_timeout=2s`.
    pub(super) fn with_options(&self, session: &str) -> Config {
        let mut config = self.config.clone();
        // The options of the URL come last and win.
        let own = self.config.get_options().unwrap_or_default();
        config.options(format!("-c search_path=heddle -c timezone=UTC {session} {own}"));
        config
    }
}

impl Parameters {
    /// Parses by hand, because the host may be empty.
    fn of(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"));
        let rest = rest.ok_or("it begins with postgres://")?;
        let text = |part: &str| {
            let decoded = percent_decode(part).ok_or("a part of it is not valid UTF-8")?;
            Ok::<_, String>(Some(decoded).filter(|text| !text.is_empty()))
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let mut given = Self {
            user: text(user)?,
            password: text(password)?,
            database: text(database)?,
            ..Self::default()
        };
        let address = place.strip_prefix('[').and_then(|place| place.split_once(']'));
        let (host, port) = match address {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => place.split_once(':').unwrap_or((place, "")),
        };
        given.host = text(host)?;
        if !port.is_empty() {
            given.set("port", port.to_owned())?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            given.set(key, text(value)?.unwrap_or_default())?;
        }
        Ok(given)
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "host" => self.host = Some(value),
            "port" => self.port = Some(value.parse().map_err(|_| "port is not a port number")?),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "sslmode" => self.sslmode = Some(value),
            "sslrootcert" => self.root_certificates = Some(value.into()),
            "passfile" => self.passfile = Some(value.into()),
            "options" => self.options = value,
            "connect_timeout" => {
                let seconds = value
                    .parse()
                    .map_err(|_| "connect_timeout is a number of seconds")?;
                self.connect_timeout = Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero());
            }
            other => {
                let other: String = other
                    .chars()
                    .filter(char::is_ascii_alphanumeric)
                    .take(32)
                    .collect();
                return Err(format!(
                    "the parameter {other} is not known: expected sslmode, sslrootcert, passfile, host, port, user, password, dbname, connect_timeout or options"
                ));
            }
        }
        Ok(())
    }
}

/// Decodes `%XX`. `None` if the result is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The host name and the process id.
fn engine_name() -> String {
    let host = fs::read_to_string(Path::new("/etc/hostname")).unwrap_or_default();
    let host = environment("HOSTNAME").unwrap_or_else(|| host.trim().to_owned());
    let host = if host.is_empty() {
        "heddle".to_owned()
    } else {
        host
    };
    format!("{host}/{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> PostgresSettings {
        PostgresSettings::parse(url).expect("a valid URL")
    }

    #[test]
    fn a_url_names_user_host_port_and_database() {
        let settings = parse("postgres://me:p%40ss@db.example.org:6543/runs?sslmode=verify-full");
        assert_eq!(
            settings.target.to_string(),
            "postgres://me@db.example.org:6543/runs"
        );
        assert_eq!(settings.config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(settings.verification, Verification::Full);
        let socket = parse("postgresql://me@/runs?host=/run/postgresql&port=5433");
        assert_eq!(
            socket.target.to_string(),
            "postgres://me@/runs?host=/run/postgresql&port=5433"
        );
        assert_eq!(socket.config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(parse("postgres://me@[::1]/x").target.host, "::1");
        assert_eq!(parse("postgres://me@host").target.database, "me");
    }

    #[test]
    fn no_output_contains_the_password() {
        let settings = parse("postgres://me:geheim@host/runs");
        assert!(!format!("{settings:?} {}", settings.target()).contains("geheim"));
        for url in [
            "postgres://me:geheim@host:geheim/runs",
            "postgres://me:geheim@host/runs?port=geheim",
            "postgres://me:geheim@host/runs?sslmode=geheim",
            "postgres://me:geheim@host/runs?connect_timeout=geheim",
            "mysql://me:geheim@host/runs",
            "postgres://me:geheim@host/%FF",
            "geheim",
        ] {
            let error = PostgresSettings::parse(url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("geheim"), "{error}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused() {
        assert_eq!(parse("postgres:///x?host=%2Frun&user=me").target.host, "/run");
        let error = PostgresSettings::parse("postgres://me@host/runs?sslmod=require").expect_err("a typo");
        assert!(error.to_string().contains("sslmod is not known"), "{error}");
    }
}
