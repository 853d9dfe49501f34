//! S3 by `object_store`: signed requests, `If-None-Match: *` puts, retries of what is worth one.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig,
};
use obs_types::{BlobEntry, BlobError, BlobStore, is_blob_name};
use tokio::runtime::Runtime;

use crate::Credentials;

/// Retries within one call; longer outages are the caller's to wait out.
const RETRIES: usize = 3;
const RETRY_TIME: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of one request, whole: an hour's file of some hundred megabytes over a slow line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// Which bucket of which server.
#[derive(Clone, Debug)]
pub struct S3Settings {
    pub bucket: String,
    /// Put before every name; empty, or parts between slashes.
    pub prefix: String,
    /// Of a server other than AWS, such as `http://127.0.0.1:8333`; plain HTTP is used only where
    /// it is written here.
    pub endpoint: Option<String>,
    pub region: String,
    pub credentials: Credentials,
}

/// A bucket as a [`BlobStore`]. Its requests run on a thread of their own, so that any thread may
/// wait for them.
#[derive(Debug)]
pub struct S3Store {
    client: std::sync::Arc<AmazonS3>,
    bucket: String,
    prefix: String,
    runtime: Option<Runtime>,
}

impl Drop for S3Store {
    fn drop(&mut self) {
        // Dropping it here could block, which a thread of an async runtime must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl S3Store {
    /// Sets up the client; asks the server nothing.
    pub fn new(settings: S3Settings) -> Result<Self, BlobError> {
        let refused = |reason: String| BlobError::Refused { name: settings.bucket.clone(), reason };
        let prefix = settings.prefix.trim_matches('/').to_owned();
        if !prefix.is_empty() && !is_blob_name(&prefix) {
            return Err(BlobError::BadName { name: prefix });
        }
        let plain = settings.endpoint.as_deref().is_some_and(|e| e.starts_with("http://"));
        let options = ClientOptions::new()
            .with_allow_http(plain)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(REQUEST_TIMEOUT);
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: RETRY_TIME,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(&settings.credentials.access_key_id)
            .with_secret_access_key(&settings.credentials.secret_access_key)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_client_options(options)
            .with_retry(retry);
        if let Some(token) = &settings.credentials.session_token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let client = builder.build().map_err(|e| refused(e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("vm-obs-s3")
            .enable_all()
            .build()
            .map_err(|e| refused(e.to_string()))?;
        Ok(Self {
            client: std::sync::Arc::new(client),
            bucket: settings.bucket,
            prefix,
            runtime: Some(runtime),
        })
    }

    /// Splits `s3://bucket/prefix`; the prefix may be empty.
    pub fn split_address(address: &str) -> Option<(String, String)> {
        let rest = address.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        (!bucket.is_empty()).then(|| (bucket.to_owned(), prefix.trim_matches('/').to_owned()))
    }

    fn path(&self, name: &str) -> Result<Path, BlobError> {
        if !is_blob_name(name) {
            return Err(BlobError::BadName { name: name.to_owned() });
        }
        Ok(self.below(name))
    }

    fn below(&self, name: &str) -> Path {
        Path::from_iter(self.prefix.split('/').chain(name.split('/')).filter(|p| !p.is_empty()))
    }

    /// Runs a request to its end. The caller may be any thread, also one of an async runtime,
    /// where it blocks.
    fn wait<T: Send + 'static>(
        &self,
        name: &str,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, BlobError> {
        let ended =
            || BlobError::Unavailable { name: name.to_owned(), reason: "closed".to_owned() };
        let runtime = self.runtime.as_ref().ok_or_else(ended)?;
        let (tell, told) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            // A caller that is gone does not want the answer.
            tell.send(request.await).ok();
        });
        told.recv().map_err(|_gone| ended())?.map_err(|e| failed(name, &e))
    }
}

fn failed(name: &str, e: &object_store::Error) -> BlobError {
    use object_store::Error;

    let name = name.to_owned();
    match e {
        Error::NotFound { .. } => BlobError::NotFound { name },
        Error::AlreadyExists { .. } | Error::Precondition { .. } => BlobError::Exists { name },
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::InvalidPath { .. } => BlobError::Refused { name, reason: text(e) },
        other => BlobError::Unavailable { name, reason: text(other) },
    }
}

/// The first line of the error with its causes; a server's answer can be pages of XML.
fn text(e: &dyn std::error::Error) -> String {
    let mut out = e.to_string();
    let mut cause = e.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !out.contains(&inner_text) {
            out = format!("{out}: {inner_text}");
        }
        cause = inner.source();
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}

impl BlobStore for S3Store {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let (client, path) = (self.client.clone(), self.path(name)?);
        let payload = PutPayload::from(bytes.to_vec());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.wait(name, async move { client.put_opts(&path, payload, options).await })
            .map(|_result| ())
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        let (client, path) = (self.client.clone(), self.path(name)?);
        self.wait(name, async move { client.get(&path).await?.bytes().await })
            .map(|bytes| bytes.to_vec())
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>, BlobError> {
        let refused = |reason: String| BlobError::Refused { name: name.to_owned(), reason };
        if len == 0 {
            return Ok(Vec::new());
        }
        let end = offset
            .checked_add(len as u64)
            .ok_or_else(|| refused(format!("{len} bytes at {offset} wanted")))?;
        let (client, path) = (self.client.clone(), self.path(name)?);
        let bytes = self.wait(name, async move { client.get_range(&path, offset..end).await })?;
        match bytes.len() == len {
            true => Ok(bytes.to_vec()),
            false => Err(refused(format!("{len} bytes at {offset} wanted, {} came", bytes.len()))),
        }
    }

    fn len(&self, name: &str) -> Result<u64, BlobError> {
        let (client, path) = (self.client.clone(), self.path(name)?);
        self.wait(name, async move { client.head(&path).await }).map(|meta| meta.size)
    }

    fn list(&self, folder: &str) -> Result<Vec<BlobEntry>, BlobError> {
        if !folder.is_empty() && !is_blob_name(folder) {
            return Err(BlobError::BadName { name: folder.to_owned() });
        }
        let (client, path) = (self.client.clone(), self.below(folder));
        let found = self.wait(folder, async move {
            let prefix = (!path.as_ref().is_empty()).then_some(path);
            client.list(prefix.as_ref()).try_collect::<Vec<_>>().await
        })?;
        let start =
            if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let mut out: Vec<BlobEntry> = found
            .into_iter()
            .filter_map(|meta| {
                let name = meta.location.as_ref().strip_prefix(&start)?.to_owned();
                Some(BlobEntry { name, bytes: meta.size })
            })
            .collect();
        out.sort();
        Ok(out)
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        let (client, path) = (self.client.clone(), self.path(name)?);
        match self.wait(name, async move { client.delete(&path).await }) {
            Err(BlobError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    fn address(&self) -> String {
        match self.prefix.as_str() {
            "" => format!("s3://{}", self.bucket),
            prefix => format!("s3://{}/{prefix}", self.bucket),
        }
    }
}
