//! Opens stores by their address, for the server and for verbs over a folder.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use obs_archive::{Archive, FolderStore};
use obs_disk::{Disk, RealDisk};
use obs_ledger::Ledger;
use obs_ops::storage::Catalog;
use obs_remote::{Credentials, S3Settings, S3Store};
use obs_types::{BlobStore, ErrorKind};

use crate::config::StoreConfig;

const REGION: &str = "us-east-1";

/// A folder store works at once; an S3 store is asked nothing yet.
pub(crate) fn open_store(config: &StoreConfig) -> anyhow::Result<Arc<dyn BlobStore>> {
    if let Some(folder) = config.address.strip_prefix("file://") {
        if !Path::new(folder).is_absolute() {
            bail!("{}: the folder must be absolute, as in file:///mnt/cold", config.address);
        }
        return Ok(Arc::new(FolderStore::new(folder, Arc::new(RealDisk))));
    }
    let Some((bucket, prefix)) = S3Store::split_address(&config.address) else {
        bail!("{:?} is neither s3://BUCKET/PREFIX nor file:///FOLDER", config.address);
    };
    let credentials = match &config.credentials_file {
        Some(file) => Credentials::from_file(file),
        None => Credentials::from_environment(),
    }
    .with_context(|| format!("no credentials for {}", config.address))?;
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    obs_collect::install_crypto();
    let store = S3Store::new(S3Settings {
        bucket,
        prefix,
        endpoint: config.endpoint.clone().or_else(|| variable("AWS_ENDPOINT_URL")),
        region: config
            .region
            .clone()
            .or_else(|| variable("AWS_REGION"))
            .unwrap_or_else(|| REGION.to_owned()),
        credentials,
    })?;
    Ok(Arc::new(store))
}

/// The store of an address given on a command line: S3's other settings are in the environment.
pub(crate) fn open_address(address: &str) -> anyhow::Result<Arc<dyn BlobStore>> {
    let address = match address.contains("://") {
        true => address.to_owned(),
        false => format!("file://{}", std::path::absolute(address)?.display()),
    };
    open_store(&StoreConfig { address, ..StoreConfig::default() })
}

/// Tells an archive what the ledger says of cold and deleted files, and connects it with the store
/// that the newest receipt names unless it has one.
pub(crate) fn learn(ledger: &Ledger, archive: &Archive) -> anyhow::Result<Catalog> {
    let catalog = Catalog::read(ledger)?;
    catalog.apply(archive)?;
    if let (Some(cold), Some(address)) = (archive.cold(), catalog.stores().last())
        && cold.store().is_none()
    {
        match open_address(address) {
            Ok(store) => cold.connect(store, 0),
            Err(e) => {
                tracing::warn!(address, error = format!("{e:#}"), "cold files cannot be read")
            }
        }
    }
    Ok(catalog)
}

/// Bytes of all files below a folder.
pub(crate) fn folder_bytes(disk: &dyn Disk, folder: &Path) -> u64 {
    let listed = disk.list(folder).unwrap_or_default();
    listed
        .into_iter()
        .map(|entry| match entry.is_dir {
            true => folder_bytes(disk, &folder.join(entry.name)),
            false => entry.len,
        })
        .sum()
}

/// The bytes of a cold file as the store has them, for a verifier that hashes them itself; `None`
/// where no store is connected.
pub(crate) fn cold_bytes(archive: &Archive, path: &str) -> Option<io::Result<Box<dyn Read>>> {
    Some(match archive.cold()?.store()?.get(path) {
        Ok(bytes) => Ok(Box::new(io::Cursor::new(bytes))),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Err(io::Error::new(io::ErrorKind::NotFound, e.to_string()))
        }
        Err(e) => Err(io::Error::other(e.to_string())),
    })
}
