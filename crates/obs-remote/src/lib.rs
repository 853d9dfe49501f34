//! Object stores behind [`BlobStore`]: S3 and what speaks its language.
//!
//! Lives here: the S3 client ([`S3Store`]), its credentials. Not here: local folders
//! (`obs_archive::FolderStore`), what is stored and when (`obs-ops`).
//! Credentials come from the environment or a file, and appear in no address, error or log.

mod credentials;
mod s3;

pub use credentials::{Credentials, CredentialsError};
pub use s3::{S3Settings, S3Store};
