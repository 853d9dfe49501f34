use std::path::{Path, PathBuf};

/// Who asks the store; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    #[error("cannot read the credentials in {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is readable by others than its owner (mode {mode:o}); it must be 0600", path.display())]
    OpenToOthers { path: PathBuf, mode: u32 },
    #[error("{place} names no {key}")]
    Missing { place: String, key: &'static str },
}

impl Credentials {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, where set, `AWS_SESSION_TOKEN`.
    pub fn from_environment() -> Result<Self, CredentialsError> {
        Self::find("the environment", |key| std::env::var(key).ok())
    }

    /// The same names as `NAME=value` lines of a file that only its owner may read.
    pub fn from_file(path: &Path) -> Result<Self, CredentialsError> {
        use std::os::unix::fs::PermissionsExt;

        let read = |source| CredentialsError::Read { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(read)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CredentialsError::OpenToOthers { path: path.to_owned(), mode });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::find(&path.display().to_string(), |key| {
            text.lines().find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name.trim() == key).then(|| value.trim().to_owned())
            })
        })
    }

    fn find(place: &str, get: impl Fn(&str) -> Option<String>) -> Result<Self, CredentialsError> {
        let need = |key: &'static str| {
            let missing = || CredentialsError::Missing { place: place.to_owned(), key };
            get(key).filter(|v| !v.is_empty()).ok_or_else(missing)
        };
        Ok(Self {
            access_key_id: need("AWS_ACCESS_KEY_ID")?,
            secret_access_key: need("AWS_SECRET_ACCESS_KEY")?,
            session_token: get("AWS_SESSION_TOKEN").filter(|v| !v.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_read_if_nobody_else_can_and_nothing_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s3");
        std::fs::write(&path, "AWS_ACCESS_KEY_ID = key\nAWS_SECRET_ACCESS_KEY=s=cret\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let refused = Credentials::from_file(&path).unwrap_err().to_string();
        assert!(refused.contains("0600"), "{refused}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let found = Credentials::from_file(&path).unwrap();
        assert_eq!(found.secret_access_key, "s=cret");
        assert!(!format!("{found:?}").contains("cret"));
        std::fs::write(&path, "AWS_ACCESS_KEY_ID=key\n").unwrap();
        let refused = Credentials::from_file(&path).unwrap_err().to_string();
        assert!(
            refused.contains("AWS_SECRET_ACCESS_KEY") && !refused.contains("key\n"),
            "{refused}"
        );
    }
}
