//! One entry of the cache: compiled code behind an authentication code, so that only code that this store's engines
//! compiled is loaded.
//!
//! An entry is `HDLCODE2`, 32 bytes of HMAC-SHA-256 (RFC 2104), and the code. The authentication code covers the
//! component's digest, the version and configuration of the engine, and the code; the key is the store's. An entry of
//! another component, another configuration or another store is therefore not loaded, whatever its file name.
//!
//! The code is read into the memory of this process, verified there and loaded from there. Later changes of the file
//! have no effect.

use std::{
    fmt,
    fs::File,
    hash::{Hash, Hasher},
    io::{self, Read},
    path::Path,
};

use heddle_kernel::Digest;
use ring::{hmac, rand::SystemRandom};
use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, component::Component};

/// The first bytes of an entry.
const MAGIC: &[u8; 8] = b"HDLCODE2";
/// The length of an HMAC-SHA-256 in bytes.
const TAG_LEN: usize = 32;
const HEAD_LEN: usize = MAGIC.len() + TAG_LEN;
/// The length of the key in bytes: that of the hash, as RFC 2104 recommends.
const KEY_LEN: usize = 32;

/// The key that authenticates compiled code. Its holder can produce machine code that the engine runs, so it is stored
/// with the store's data, and its `Debug` output does not show it.
#[derive(Clone)]
pub struct CacheKey([u8; KEY_LEN]);

impl CacheKey {
    /// Generates a key from the randomness of the operating system.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn random() -> io::Result<Self> {
        let bytes = ring::rand::generate(&SystemRandom::new());
        let bytes = bytes.map_err(|_| io::Error::other("the system gave no random bytes"))?;
        Ok(Self(bytes.expose()))
    }

    /// Reads the form that [`CacheKey::to_text`] writes.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut bytes = [0; KEY_LEN];
        if text.len() != 2 * KEY_LEN || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The key as 64 hexadecimal digits, for storing it.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey(…)")
    }
}

/// The hash of everything of an engine that compiled code depends on.
pub(super) struct EngineFingerprint([u8; 32]);

impl EngineFingerprint {
    pub(super) fn of(engine: &Engine) -> Self {
        struct Sum(Sha256);
        impl Hasher for Sum {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }

            fn finish(&self) -> u64 {
                unreachable!("the whole sum is taken")
            }
        }

        let mut sum = Sum(Sha256::new_with_prefix(MAGIC));
        engine.precompile_compatibility_hash().hash(&mut sum);
        Self(sum.0.finalize().into())
    }

    /// The hash in hexadecimal digits.
    pub(super) fn to_text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The name of the folder with the code for such engines under this key. Servers with other keys can share the
    /// cache's folder, and do not find each other's code.
    pub(super) fn folder_name(&self, key: &CacheKey) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key.0);
        let name = hmac::sign(&key, &[b"heddle folder\0", &self.0[..]].concat());
        name.as_ref()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Why an entry is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The entry does not exist.
    #[error("there is none")]
    Missing,
    /// The file cannot be read.
    #[error("{0}")]
    Io(io::Error),
    /// The file is not an entry, or is incomplete.
    #[error("it is not a compiled component of this version")]
    NoEntry,
    /// The entry was damaged, changed, moved, or compiled for another store.
    #[error("its authentication code is wrong: it was damaged or replaced, or it belongs to another store")]
    Forged,
    /// The entry is larger than the whole cache may be, in bytes.
    #[error("it has {0} bytes, more than the limit of the cache (--cache-size)")]
    TooLarge(u64),
    /// The engine refuses the code.
    #[error("{0:#}")]
    Unusable(wasmtime::Error),
}

/// Code that may be loaded: its authentication code is correct, or this program's compiler has just written it.
pub(super) struct VerifiedCode(Vec<u8>);

/// The bytes before the code of an entry.
pub(super) fn head(key: &CacheKey, fingerprint: &EngineFingerprint, digest: &Digest, code: &[u8]) -> Vec<u8> {
    let tag = hmac::sign(&entry_key(key, fingerprint, digest), code);
    [MAGIC, tag.as_ref()].concat()
}

/// Reads an entry of at most `max_bytes` of code and verifies it.
pub(super) fn read(
    path: &Path,
    key: &CacheKey,
    fingerprint: &EngineFingerprint,
    digest: &Digest,
    max_bytes: u64,
) -> Result<VerifiedCode, ReadError> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Missing,
        _ => ReadError::Io(error),
    };
    // Opening a pipe would block, and a link may lead anywhere.
    let is = path.symlink_metadata().map_err(io)?;
    if !is.is_file() {
        return Err(ReadError::NoEntry);
    }
    let len = is.len();
    if len > max_bytes.saturating_add(HEAD_LEN as u64) {
        return Err(ReadError::TooLarge(len));
    }
    let mut head = [0; HEAD_LEN];
    let mut file = File::open(path).map_err(io)?.take(len);
    file.read_exact(&mut head).map_err(|_| ReadError::NoEntry)?;
    let tag = head.strip_prefix(MAGIC).ok_or(ReadError::NoEntry)?;
    let mut code = Vec::with_capacity(usize::try_from(len).unwrap_or(0).saturating_sub(HEAD_LEN));
    file.read_to_end(&mut code).map_err(ReadError::Io)?;
    match hmac::verify(&entry_key(key, fingerprint, digest), &code, tag) {
        Ok(()) => Ok(VerifiedCode(code)),
        Err(_) => Err(ReadError::Forged),
    }
}

/// The key of one entry, derived from the store's key, so that a signature is valid for this component and this engine
/// only. HMAC serves as the pseudo-random function (NIST SP 800-108).
fn entry_key(key: &CacheKey, fingerprint: &EngineFingerprint, digest: &Digest) -> hmac::Key {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key.0);
    let mut derived = hmac::Context::with_key(&key);
    derived.update(b"heddle compiled component\0");
    // Both have a fixed length.
    derived.update(&fingerprint.0);
    derived.update(digest.0.as_bytes());
    hmac::Key::new(hmac::HMAC_SHA256, derived.sign().as_ref())
}

impl VerifiedCode {
    /// Reads what this program's compiler wrote to a private file.
    pub(super) fn of_compiler(file: &mut File) -> io::Result<Self> {
        let mut code = Vec::new();
        io::Seek::rewind(file)?;
        file.read_to_end(&mut code)?;
        Ok(Self(code))
    }

    /// The machine code, as wasmtime serialized it.
    pub(super) fn code(&self) -> &[u8] {
        &self.0
    }

    /// Loads the component.
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: `deserialize` trusts that the bytes came from `Component::serialize` or
        // `Engine::precompile_component` and were not changed since, as it runs them as machine code.
        // - Only `EngineCache::put` signs code, namely the output of those functions for this digest and this
        //   configuration, and only a holder of the store's key can sign. `read` verified exactly the bytes in this
        //   vector, which did not change since; they are copied from here, and the file is not used any more.
        // - `of_compiler` reads what this program's compiler wrote to a file with a random name in a folder that only
        //   this user may enter; its bytes are in this vector.
        // - wasmtime itself checks that its version and configuration are those of the code.
        #[allow(unsafe_code)]
        unsafe {
            Component::deserialize(engine, &self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_only_with_its_own_key_engine_and_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entry");
        let (key, other_key) = (CacheKey([1; 32]), CacheKey([2; 32]));
        let (fingerprint, other_context) = (EngineFingerprint([3; 32]), EngineFingerprint([4; 32]));
        let (digest, other_digest) = (Digest::of(b"a"), Digest::of(b"b"));
        let whole = [&head(&key, &fingerprint, &digest, b"code")[..], b"code"].concat();
        let read_as = |key, fingerprint, digest, max_bytes| {
            let read = read(&path, key, fingerprint, digest, max_bytes);
            read.map(|checked| checked.0).map_err(|error| error.to_string())
        };
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(read_as(&key, &fingerprint, &digest, 4), Ok(b"code".to_vec()));
        for read in [
            read_as(&other_key, &fingerprint, &digest, 4),
            read_as(&key, &other_context, &digest, 4),
            read_as(&key, &fingerprint, &other_digest, 4),
        ] {
            assert!(read.unwrap_err().contains("authentication code is wrong"));
        }
        assert!(
            read_as(&key, &fingerprint, &digest, 3)
                .unwrap_err()
                .contains("44 bytes")
        );
        // Each bit counts, and no byte may follow the code.
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            assert!(read_as(&key, &fingerprint, &digest, 4).is_err(), "bit {bit}");
        }
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(read_as(&key, &fingerprint, &digest, 4).is_err(), "{len} bytes");
        }
        std::fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(read_as(&key, &fingerprint, &digest, 99).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn an_entry_is_not_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("entry"), folder.path().join("link"));
        std::fs::write(&path, "x").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let read = read(
            &link,
            &CacheKey([1; 32]),
            &EngineFingerprint([3; 32]),
            &Digest::of(b"a"),
            9,
        );
        assert!(matches!(read, Err(ReadError::NoEntry)));
    }

    #[test]
    fn a_key_is_stored_as_text_and_not_shown_by_debug() {
        let key = CacheKey::random().unwrap();
        let text = key.to_text();
        assert_eq!(CacheKey::from_text(&text).unwrap().0, key.0);
        assert!(!format!("{key:?}").contains(&text[..4]));
        for text in [
            "",
            "00",
            &text[..63],
            &text.replace(&text[..1], "+"),
            &"é".repeat(32),
        ] {
            assert!(CacheKey::from_text(text).is_none(), "{text}");
        }
        assert_ne!(CacheKey::random().unwrap().0, key.0);
    }
}
