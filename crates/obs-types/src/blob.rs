use std::fmt::Debug;

use crate::ErrorKind;

/// One object of a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobEntry {
    /// Relative to the store's root, with `/` between its parts.
    pub name: String,
    pub bytes: u64,
}

/// Why a store did not do what it was asked for. Holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    #[error("{name} is in the store already")]
    Exists { name: String },
    #[error("{name} is not in the store")]
    NotFound { name: String },
    #[error("{name:?} is no name of an object: plain parts between slashes are expected")]
    BadName { name: String },
    #[error("the store refuses {name}: {reason}")]
    Refused { name: String, reason: String },
    #[error("the store cannot be reached for {name}: {reason}")]
    Unavailable { name: String, reason: String },
}

impl BlobError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Exists { .. } => ErrorKind::Conflict,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::BadName { .. } => ErrorKind::InvalidInput,
            Self::Refused { .. } | Self::Unavailable { .. } => ErrorKind::Unavailable,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Whole objects under names, written once. Called from threads that may block.
///
/// An object is never changed: [`BlobStore::put_new`] is the only way to write one.
pub trait BlobStore: Send + Sync + Debug {
    /// Stores an object durably; `Err(Exists)` if one has that name, whatever its bytes.
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError>;

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError>;

    /// Exactly `len` bytes from `offset`; `Err(Refused)` if the object is shorter.
    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>, BlobError>;

    /// Bytes of an object.
    fn len(&self, name: &str) -> Result<u64, BlobError>;

    /// Everything below a folder (`""` is all), sorted by name.
    fn list(&self, folder: &str) -> Result<Vec<BlobEntry>, BlobError>;

    /// Removes an object; one that is not there is no error.
    fn delete(&self, name: &str) -> Result<(), BlobError>;

    /// Where it is, for people and receipts: `file:///mnt/cold`, `s3://bucket/prefix`. Never holds
    /// credentials.
    fn address(&self) -> String;
}

/// Whether a name is made of plain parts between slashes.
pub fn is_blob_name(name: &str) -> bool {
    !name.is_empty()
        && name.split('/').all(|part| {
            !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0'])
        })
}
