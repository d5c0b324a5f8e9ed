//! The key that authenticates compiled plugins in the cache: in the store, or in a file that servers share.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, bail};
use heddle_host::CacheKey;
use heddle_runtime::ports::{SecretText, Store};

/// The key's name in the store.
const NAME: &str = "cache-key";

/// The key in the store. If there is none, creates it.
pub(super) async fn in_store(store: &dyn Store) -> anyhow::Result<CacheKey> {
    let stored = store.secret(NAME).await;
    let stored = stored.context("cannot read the cache key from the store")?;
    if let Some(key) = stored.and_then(|SecretText(text)| CacheKey::from_text(&text)) {
        return Ok(key);
    }
    let key = CacheKey::random().context("cannot create a cache key")?;
    let put = store.put_secret(NAME, SecretText(key.to_text().into())).await;
    put.context("cannot write the cache key to the store")?;
    Ok(key)
}

/// The key in a file. If the file does not exist, creates it. If several servers start together, one of them creates it.
pub(super) fn in_file(path: &Path) -> anyhow::Result<CacheKey> {
    if !path.exists() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        let key = CacheKey::random().context("cannot create a cache key")?;
        writeln!(file, "{}", key.to_text())?;
        // If another server has created the file meanwhile, that one is used.
        if let Err(error) = file.persist_noclobber(path)
            && !path.exists()
        {
            return Err(error.into());
        }
    }
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o077 != 0 {
            bail!(
                "other users may read or change this file, and the key allows to run code in the server: use chmod 600"
            );
        }
    }
    // A key is short; reading from a pipe might wait forever.
    if !metadata.is_file() || metadata.len() > 100 {
        bail!("this file does not contain a cache key");
    }
    let text = fs::read_to_string(path)?;
    CacheKey::from_text(text.trim())
        .context("this is not a valid key: delete the file, and the next start creates one")
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
        let error = in_file(&path).expect_err("the file is not a key").to_string();
        assert!(error.contains("not a valid key"), "{error}");
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
