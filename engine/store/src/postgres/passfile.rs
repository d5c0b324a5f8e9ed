//! Passwords from a passfile: lines `host:port:database:user:password`, as other clients of PostgreSQL read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::settings::Target;

/// The password of the first line that fits, from this file, from `PGPASSFILE` or from `~/.pgpass`.
///
/// A file that other users may read is ignored with a warning.
pub(super) fn password(given: Option<&Path>, target: &Target) -> Option<String> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => default_path()?,
    };
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) => {
            if given.is_some() {
                tracing::warn!(path = %path.display(), %error, "the passfile cannot be read");
            }
            return None;
        }
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "the passfile is ignored, because other users may read it: use chmod 600");
            return None;
        }
    }
    // Reading from a pipe might wait forever.
    let text = metadata
        .is_file()
        .then(|| fs::read_to_string(&path).ok())
        .flatten()?;
    find(&text, target)
}

fn default_path() -> Option<PathBuf> {
    let named = std::env::var_os("PGPASSFILE").filter(|path| !path.is_empty());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".pgpass"));
    named.map(PathBuf::from).or_else(home)
}

fn find(text: &str, target: &Target) -> Option<String> {
    // A Unix socket has the host name `localhost`.
    let host = if target.host.starts_with('/') {
        "localhost"
    } else {
        &target.host
    };
    let port = target.port.to_string();
    let wanted = [host, &port, &target.database, &target.user];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let fields = fields(line);
            let [names @ .., password] = fields.as_slice() else {
                return None;
            };
            let fits = |(name, wanted): (&String, &&str)| name == "*" || name == wanted;
            (names.len() == wanted.len() && names.iter().zip(&wanted).all(fits)).then(|| password.clone())
        })
}

/// The five fields of a line. A backslash makes the next character part of a field.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let last = fields.len() - 1;
        match character {
            '\\' => fields[last].extend(characters.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            other => fields[last].push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str) -> Target {
        Target {
            user: "me".to_owned(),
            host: host.to_owned(),
            port: 5432,
            database: "runs".to_owned(),
        }
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let text = "# a comment\nother:5432:runs:me:no\ndb:*:*:me:a\\:b\\\\c:d\n*:*:*:*:last\nlocalhost:5432:runs:me:late\n";
        assert_eq!(find(text, &target("db")).as_deref(), Some("a:b\\c:d"));
        assert_eq!(find(text, &target("/run")).as_deref(), Some("last"));
        assert_eq!(
            find("localhost:5432:runs:me:socket", &target("/run")).as_deref(),
            Some("socket")
        );
        assert_eq!(find("db:5432:runs:me", &target("db")), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_ignored() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pass");
        fs::write(&path, "*:*:*:*:word").expect("it is written");
        for (mode, expected) in [(0o600, Some("word")), (0o640, None)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is changed");
            assert_eq!(password(Some(&path), &target("db")).as_deref(), expected);
        }
    }
}
