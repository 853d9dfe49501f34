//! The log key: made at the first start, private part in the state folder with mode 0600, public
//! part beside the log.
//!
//! `ledger.key` is the current key. While another follows it there is `ledger.key.next`, made
//! before its statement is appended, and from then on, as long as both sign, `ledger.key.old`.
//! Which of them is the current one the log alone says, so a crash between any two steps leaves
//! nothing in doubt.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use obs_disk::{Disk, write_durable};
use obs_proof::keys::KeyChain;
use obs_proof::note::{KeyKind, SignerKey, VerifierKey};

use crate::{LedgerConfig, LedgerError};

/// In the state folder; never beside the log, whose folder is handed to auditors.
const PRIVATE_NAME: &str = "ledger.key";
pub(crate) const NEXT_NAME: &str = "ledger.key.next";
const OLD_NAME: &str = "ledger.key.old";

pub(crate) fn private_path(config: &LedgerConfig) -> PathBuf {
    config.state_dir.join(PRIVATE_NAME)
}

/// One of the log's private keys, `None` if there is no such file.
pub(crate) fn load(config: &LedgerConfig, name: &str) -> Result<Option<SignerKey>, LedgerError> {
    load_file(&*config.disk, &config.state_dir.join(name), &config.origin)
}

/// The private keys that this node holds, `ledger.key` first.
#[derive(Clone, Debug)]
pub(crate) struct Signers {
    held: Vec<SignerKey>,
}

impl Signers {
    /// Empty if there is no key yet.
    pub(crate) fn load(config: &LedgerConfig) -> Result<Self, LedgerError> {
        let mut held = Vec::new();
        for name in [PRIVATE_NAME, NEXT_NAME, OLD_NAME] {
            held.extend(load(config, name)?);
        }
        Ok(Self { held })
    }

    pub(crate) fn of(key: SignerKey) -> Self {
        Self { held: vec![key] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(crate) fn verifiers(&self) -> Vec<VerifierKey> {
        self.held.iter().map(SignerKey::verifier).collect()
    }

    pub(crate) fn hold(&mut self, key: SignerKey) {
        if !self.held.iter().any(|k| k.verifier() == key.verifier()) {
            self.held.push(key);
        }
    }

    fn find(&self, key: &VerifierKey) -> Option<&SignerKey> {
        self.held.iter().find(|k| k.verifier() == *key)
    }

    /// The keys that sign now: the current one, and the one before it while both do. `None` if
    /// the current one is not here.
    pub(crate) fn signing(&self, chain: &KeyChain, now: i64) -> Option<Vec<&SignerKey>> {
        let signing = chain.signing(now);
        let Some((current, before)) = signing.split_first() else {
            return Some(vec![self.held.first()?]);
        };
        let mut out = vec![self.find(current)?];
        out.extend(before.iter().filter_map(|k| self.find(k)));
        Some(out)
    }
}

/// Brings the key files into the order that the log says: `ledger.key` is the current key, and
/// nothing is kept that will never sign again.
pub(crate) fn settle(config: &LedgerConfig, chain: &KeyChain, now: i64) -> Result<(), LedgerError> {
    let disk = &*config.disk;
    let path = |name: &str| config.state_dir.join(name);
    let mut changed = false;
    if let Some(current) = chain.current() {
        let held = |name: &str| Ok::<_, LedgerError>(load(config, name)?.map(|k| k.verifier()));
        let first = held(PRIVATE_NAME)?;
        if first.as_ref() != Some(current) {
            if held(NEXT_NAME)?.as_ref() != Some(current) {
                return Err(match first {
                    None => LedgerError::KeyMissing { path: private_path(config) },
                    Some(held) => LedgerError::KeyStale {
                        path: private_path(config),
                        held: format!("{:08x}", held.id()),
                        current: format!("{:08x}", current.id()),
                    },
                });
            }
            if first.is_some() {
                disk.rename(&path(PRIVATE_NAME), &path(OLD_NAME))?;
            }
            disk.rename(&path(NEXT_NAME), &path(PRIVATE_NAME))?;
            changed = true;
        }
        let old = held(OLD_NAME)?;
        if old.is_some() && old.as_ref() != chain.signing(now).get(1).copied() {
            disk.remove(&path(OLD_NAME))?;
            changed = true;
        }
    }
    // Its statement never reached the log.
    if disk.exists(&path(NEXT_NAME)) {
        disk.remove(&path(NEXT_NAME))?;
        changed = true;
    }
    if changed {
        disk.sync_dir(&config.state_dir)?;
    }
    Ok(())
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
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
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
