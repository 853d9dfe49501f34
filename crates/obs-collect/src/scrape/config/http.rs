//! How targets are asked: credentials and TLS.

use std::path::PathBuf;

use super::Checker;
use super::forms::{AuthorizationForm, BasicAuthForm, TlsForm};

/// A secret, or the file that holds it; never printed.
#[derive(Clone)]
pub enum Secret {
    Text(String),
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl Secret {
    /// The secret; a file is read at each use, so that rotation needs no reload.
    pub fn read(&self) -> std::io::Result<String> {
        match self {
            Self::Text(s) => Ok(s.clone()),
            Self::File(path) => Ok(std::fs::read_to_string(path)?.trim().to_owned()),
        }
    }
}

impl Checker {
    pub(super) fn basic_auth(&self, form: BasicAuthForm) -> Result<(String, Secret), String> {
        let username = match (form.username, form.username_file) {
            (Some(_), Some(_)) => {
                return Err(
                    "at most one of basic_auth username & username_file must be configured".into(),
                );
            }
            (Some(u), None) => u,
            (None, Some(f)) => std::fs::read_to_string(self.path(&f))
                .map_err(|e| format!("username_file {f:?}: {e}"))?
                .trim()
                .to_owned(),
            (None, None) => String::new(),
        };
        let password = match (form.password, form.password_file) {
            (Some(_), Some(_)) => {
                return Err(
                    "at most one of basic_auth password & password_file must be configured".into(),
                );
            }
            (_, Some(f)) => Secret::File(self.path(&f)),
            (p, None) => Secret::Text(p.unwrap_or_default()),
        };
        Ok((username, password))
    }

    pub(super) fn authorization(
        &self,
        form: Option<AuthorizationForm>,
        token: Option<String>,
        token_file: Option<String>,
    ) -> Result<Option<(String, Secret)>, String> {
        let (kind, text, file) = match form {
            Some(f) => (f.kind, f.credentials, f.credentials_file),
            None => (None, token, token_file),
        };
        let kind = kind.unwrap_or_else(|| "Bearer".to_owned());
        if kind.eq_ignore_ascii_case("basic") {
            return Err(
                "authorization type cannot be set to \"basic\", use \"basic_auth\" instead".into(),
            );
        }
        match (text, file) {
            (Some(_), Some(_)) => Err(
                "at most one of authorization credentials & credentials_file must be configured"
                    .into(),
            ),
            (Some(t), None) => Ok(Some((kind, Secret::Text(t)))),
            (None, Some(f)) => Ok(Some((kind, Secret::File(self.path(&f))))),
            (None, None) => Ok(None),
        }
    }
}

pub(super) fn check_tls(form: Option<&TlsForm>) -> Result<(), String> {
    let Some(tls) = form else { return Ok(()) };
    let cert = tls.cert.is_some() || tls.cert_file.is_some();
    let key = tls.key.is_some() || tls.key_file.is_some();
    if cert != key {
        return Err("exactly one of key or key_file must be configured when a client certificate is configured".into());
    }
    if tls.ca.is_some() && tls.ca_file.is_some() {
        return Err("at most one of ca and ca_file must be configured".into());
    }
    for version in [&tls.min_version, &tls.max_version].into_iter().flatten() {
        if !["TLS10", "TLS11", "TLS12", "TLS13"].contains(&version.as_str()) {
            return Err(format!("unknown TLS version: {version}"));
        }
    }
    let _passive = &tls.server_name;
    Ok(())
}
