//! How something is asked over HTTP: credentials, TLS, proxies, headers.

use std::path::PathBuf;

use super::Checker;
use super::discovery::check_url;
use super::forms::{AuthorizationForm, BasicAuthForm, HttpForm, OAuth2Form, TlsForm};

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

/// A checked HTTP client section.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    pub basic_auth: Option<(String, Secret)>,
    /// Type and credentials.
    pub authorization: Option<(String, Secret)>,
    pub oauth2: Option<Box<OAuth2Settings>>,
    pub tls: TlsSettings,
    pub proxy: ProxySettings,
    pub follow_redirects: bool,
    pub http2: bool,
    pub headers: Vec<(String, Secret)>,
}

/// Where a bearer token comes from.
#[derive(Clone, Debug)]
pub struct OAuth2Settings {
    pub client_id: String,
    pub client_secret: Secret,
    pub token_url: String,
    pub scopes: Vec<String>,
    /// Further parameters of the request for a token.
    pub parameters: Vec<(String, String)>,
    /// TLS and proxy towards the token server.
    pub http: HttpSettings,
}

#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// PEM of the authorities that are trusted instead of the system's.
    pub ca: Option<Secret>,
    /// PEM of our certificate and its key.
    pub identity: Option<(Secret, Secret)>,
    /// The name that the other side's certificate must have.
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
    pub version_min: Option<TlsVersion>,
    pub version_max: Option<TlsVersion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

#[derive(Clone, Debug, Default)]
pub struct ProxySettings {
    pub url: Option<String>,
    /// Hosts that are asked without it, separated by commas.
    pub except: Option<String>,
    pub from_environment: bool,
}

/// Headers that HTTP itself, the scrape, or another key sets.
const HEADERS_RESERVED: [&str; 17] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "accept",
    "cookie",
];

/// Refuses a header that may not be set by hand.
pub(super) fn check_header(name: &str) -> Result<(), String> {
    if HEADERS_RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("setting header {name:?} is not allowed"));
    }
    Ok(())
}

impl Checker<'_> {
    pub(super) fn http(&self, form: HttpForm) -> Result<HttpSettings, String> {
        let ways = [
            form.basic_auth.is_some(),
            form.oauth2.is_some(),
            form.authorization.is_some(),
            form.bearer_token.is_some() || form.bearer_token_file.is_some(),
        ];
        if ways.iter().filter(|given| **given).count() > 1 {
            return Err("at most one of basic_auth, oauth2, authorization & bearer_token must be \
                        configured"
                .into());
        }
        if form.proxy_connect_header.is_some_and(|h| !h.is_empty()) {
            return Err("proxy_connect_header is not supported".into());
        }
        let mut headers = Vec::new();
        for (name, header) in form.http_headers.unwrap_or_default() {
            check_header(&name)?;
            let texts = header.values.into_iter().chain(header.secrets).map(Secret::Text);
            let files = header.files.iter().map(|f| Secret::File(self.path(f)));
            headers.extend(texts.chain(files).map(|value| (name.clone(), value)));
        }
        let proxy = ProxySettings {
            url: form.proxy_url.filter(|u| !u.is_empty()),
            except: form.no_proxy.filter(|n| !n.is_empty()),
            from_environment: form.proxy_from_environment.unwrap_or(false),
        };
        if proxy.from_environment && (proxy.url.is_some() || proxy.except.is_some()) {
            return Err("proxy_from_environment goes with neither proxy_url nor no_proxy".into());
        }
        if proxy.url.is_none() && proxy.except.is_some() {
            return Err("no_proxy needs proxy_url".into());
        }
        Ok(HttpSettings {
            basic_auth: form.basic_auth.map(|b| self.basic_auth(b)).transpose()?,
            authorization: self.authorization(
                form.authorization,
                form.bearer_token,
                form.bearer_token_file,
            )?,
            oauth2: form.oauth2.map(|o| self.oauth2(o)).transpose()?.map(Box::new),
            tls: form.tls_config.map(|t| self.tls(t)).transpose()?.unwrap_or_default(),
            proxy,
            follow_redirects: form.follow_redirects.unwrap_or(true),
            http2: form.enable_http2.unwrap_or(true),
            headers,
        })
    }

    fn oauth2(&self, form: OAuth2Form) -> Result<OAuth2Settings, String> {
        check_url("oauth2 token_url", &form.token_url)?;
        if form.client_id.is_empty() {
            return Err("oauth2 client_id must be configured".into());
        }
        let secret =
            self.one_of("oauth2 client_secret", form.client_secret, form.client_secret_file)?;
        let http = HttpForm {
            tls_config: form.tls_config,
            proxy_url: form.proxy_url,
            no_proxy: form.no_proxy,
            proxy_from_environment: form.proxy_from_environment,
            ..HttpForm::default()
        };
        Ok(OAuth2Settings {
            client_id: form.client_id,
            client_secret: secret.ok_or("oauth2 client_secret must be configured")?,
            token_url: form.token_url,
            scopes: form.scopes,
            parameters: form.endpoint_params.into_iter().collect(),
            http: self.http(http)?,
        })
    }

    fn basic_auth(&self, form: BasicAuthForm) -> Result<(String, Secret), String> {
        let username = self.one_of("basic_auth username", form.username, form.username_file)?;
        let username = username
            .map_or(Ok(String::new()), |u| u.read())
            .map_err(|e| format!("username_file: {e}"))?;
        let password = self.one_of("basic_auth password", form.password, form.password_file)?;
        Ok((username, password.unwrap_or_else(|| Secret::Text(String::new()))))
    }

    /// A value given as text or by the name of its file, not both.
    fn one_of(
        &self,
        key: &str,
        text: Option<String>,
        file: Option<String>,
    ) -> Result<Option<Secret>, String> {
        match (text.filter(|t| !t.is_empty()), file.filter(|f| !f.is_empty())) {
            (Some(_), Some(_)) => {
                Err(format!("at most one of {key} & its file form must be configured"))
            }
            (Some(text), None) => Ok(Some(Secret::Text(text))),
            (None, Some(file)) => Ok(Some(Secret::File(self.path(&file)))),
            (None, None) => Ok(None),
        }
    }

    fn authorization(
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
        Ok(self.one_of("authorization credentials", text, file)?.map(|secret| (kind, secret)))
    }

    fn tls(&self, form: TlsForm) -> Result<TlsSettings, String> {
        let ca = self.one_of("tls_config ca", form.ca, form.ca_file)?;
        let cert = self.one_of("tls_config cert", form.cert, form.cert_file)?;
        let key = self.one_of("tls_config key", form.key, form.key_file)?;
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                return Err(
                    "a client certificate needs exactly one of key or key_file, and a key \
                            exactly one of cert or cert_file"
                        .into(),
                );
            }
        };
        let version = |text: Option<String>| match text.as_deref() {
            None | Some("") => Ok(None),
            Some("TLS10" | "TLS11" | "TLS12") => Ok(Some(TlsVersion::Tls12)),
            Some("TLS13") => Ok(Some(TlsVersion::Tls13)),
            Some(other) => Err(format!("unknown TLS version: {other}")),
        };
        if matches!(form.max_version.as_deref(), Some("TLS10" | "TLS11")) {
            return Err("max_version below TLS12 is not supported".into());
        }
        let server_name = form.server_name.filter(|n| !n.is_empty());
        if server_name.is_some() && ca.is_none() && !form.insecure_skip_verify {
            return Err("server_name is supported only together with ca or ca_file".into());
        }
        Ok(TlsSettings {
            ca,
            identity,
            server_name,
            insecure_skip_verify: form.insecure_skip_verify,
            version_min: version(form.min_version)?,
            version_max: version(form.max_version)?,
        })
    }
}
