//! The key that authenticates compiled plugins in the cache: in the store, or in a file that servers share.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, bail};
use heddle_host::CacheKey;
use heddle_runtime::ports::{Journal, SecretText};

/// The key's name in the store.
const NAME: &str = "cache-key";

/// The store's key, which is made where there is none.
pub(crate) async fn in_store(journal: &impl Journal) -> anyhow::Result<CacheKey> {
    let kept = journal.secret(NAME).await;
    let kept = kept.context("cannot read the key of the cache from the store")?;
    if let Some(key) = kept.and_then(|SecretText(text)| CacheKey::from_text(&text)) {
        return Ok(key);
    }
    let key = CacheKey::random().context("no key for the cache can be made")?;
    let put = journal.put_secret(NAME, SecretText(key.to_text().into())).await;
    put.context("cannot keep the key of the cache in the store")?;
    Ok(key)
}

/// The key in a file, which is made where there is none. Of several servers that start at once, one makes it.
pub(crate) fn in_file(path: &Path) -> anyhow::Result<CacheKey> {
    if !path.exists() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        let key = CacheKey::random().context("no key for the cache can be made")?;
        writeln!(file, "{}", key.to_text())?;
        // Another server may have made it meanwhile: that one holds.
        if let Err(error) = file.persist_noclobber(path)
            && !path.exists()
        {
            return Err(error.into());
        }
    }
    let is = fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if is.permissions().mode() & 0o077 != 0 {
            bail!(
                "others may read or change this file, and whoever has the key can have code run: chmod 600 it"
            );
        }
    }
    // A key is short, and a pipe would wait for its writer.
    if !is.is_file() || is.len() > 100 {
        bail!("this is no file with a key");
    }
    let text = fs::read_to_string(path)?;
    CacheKey::from_text(text.trim()).context("this is no key: delete the file, and the next start makes one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_share_a_file_have_one_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let keys = std::thread::scope(|scope| {
            let keys: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| in_file(&path).map(|key| key.to_text())))
                .collect();
            keys.into_iter()
                .map(|key| key.join().expect("no panic").expect("a key"))
                .collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        fs::write(&path, "short").expect("it is written");
        let error = in_file(&path).expect_err("it is no key").to_string();
        assert!(error.contains("no key"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        in_file(&path).expect("it is made");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is changed");
        let error = in_file(&path).expect_err("it is refused").to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
