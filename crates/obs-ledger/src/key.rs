//! The log key: made at the first start, private part in the state folder with mode 0600, public
//! part beside the log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use obs_disk::{Disk, write_durable};
use obs_proof::note::{KeyKind, SignerKey, VerifierKey};

use crate::{LedgerConfig, LedgerError};

/// In the state folder; never beside the log, whose folder is handed to auditors.
const PRIVATE_NAME: &str = "ledger.key";

pub(crate) fn private_path(config: &LedgerConfig) -> PathBuf {
    config.state_dir.join(PRIVATE_NAME)
}

/// Reads the log's private key, `None` if there is none yet.
pub(crate) fn load(config: &LedgerConfig) -> Result<Option<SignerKey>, LedgerError> {
    load_file(&*config.disk, &private_path(config), &config.origin)
}

/// Makes the log's key.
pub(crate) fn create(config: &LedgerConfig) -> Result<SignerKey, LedgerError> {
    create_file(&*config.disk, &private_path(config), &config.origin, KeyKind::Ed25519)
}

/// Reads a private key of that name, `None` if there is no such file.
pub(crate) fn load_file(
    disk: &dyn Disk,
    path: &Path,
    name: &str,
) -> Result<Option<SignerKey>, LedgerError> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    check_mode(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let key = SignerKey::parse(&text)
        .map_err(|source| LedgerError::Key { path: path.to_owned(), source })?;
    match key.name() == name {
        true => Ok(Some(key)),
        false => Err(LedgerError::Origin {
            path: path.to_owned(),
            found: key.name().to_owned(),
            expected: name.to_owned(),
        }),
    }
}

/// Makes a key and stores it durably before anything is signed with it.
pub(crate) fn create_file(
    disk: &dyn Disk,
    path: &Path,
    name: &str,
    kind: KeyKind,
) -> Result<SignerKey, LedgerError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| LedgerError::Random(e.to_string()))?;
    let key = SignerKey::from_seed(name, kind, &seed)
        .map_err(|source| LedgerError::Key { path: path.to_owned(), source })?;
    write_private(disk, path, format!("{}\n", key.to_secret_text()).as_bytes())?;
    Ok(key)
}

/// A key that others may read is no secret. A disk that is not the machine's has no modes.
fn check_mode(path: &Path) -> Result<(), LedgerError> {
    match fs::metadata(path) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => Err(LedgerError::KeyExposed {
            path: path.to_owned(),
            mode: meta.permissions().mode() & 0o777,
        }),
        _ => Ok(()),
    }
}

/// `keys/<id>.vkey`, one line.
pub(crate) fn publish(config: &LedgerConfig, key: &VerifierKey) -> Result<(), LedgerError> {
    let dir = config.dir.join("keys");
    config.disk.create_dir_all(&dir)?;
    let path = dir.join(format!("log-{:08x}.vkey", key.id()));
    let text = format!("{key}\n");
    if config.disk.read(&path).ok().as_deref() != Some(text.as_bytes()) {
        write_durable(&*config.disk, &path, text.as_bytes())?;
        config.disk.sync_dir(&config.dir)?;
    }
    Ok(())
}

/// The public keys beside the log, by file name.
pub(crate) fn published(config: &LedgerConfig) -> Result<Vec<VerifierKey>, LedgerError> {
    let dir = config.dir.join("keys");
    let mut keys = Vec::new();
    for entry in config.disk.list(&dir)? {
        if entry.is_dir || !entry.name.ends_with(".vkey") {
            continue;
        }
        let path = dir.join(&entry.name);
        let bytes = config.disk.read(&path)?;
        keys.push(
            VerifierKey::parse(&String::from_utf8_lossy(&bytes))
                .map_err(|source| LedgerError::Key { path, source })?,
        );
    }
    Ok(keys)
}

/// Like a durable write, with the mode set while the file is still empty, so that the secret is
/// never readable by others, not even for a moment.
fn write_private(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    let temporary = path.with_extension("key.tmp");
    let file = disk.create(&temporary)?;
    // A disk that is not the machine's has no such file and no modes.
    match fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600)) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(obs_disk::DiskError::io("protect", &temporary, e).into()),
    }
    file.append(bytes)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("")))?;
    Ok(())
}
