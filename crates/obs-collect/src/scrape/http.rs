//! HTTP clients made from checked settings: for scrapes and for discovery.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::tls::Version;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::config::{HttpSettings, ProxySettings, Secret, TlsSettings, TlsVersion};
use super::oauth2::TokenSource;

/// A client with the credentials that its requests carry.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient {
    client: reqwest::Client,
    settings: HttpSettings,
    tokens: Option<Arc<TokenSource>>,
}

impl HttpClient {
    /// `timeout` holds for a whole exchange; `None` is for answers that go on.
    pub(crate) fn new(
        settings: &HttpSettings,
        user_agent: &str,
        timeout: Option<Duration>,
        compression: bool,
    ) -> Result<Self, String> {
        crate::install_crypto();
        let redirect = if settings.follow_redirects {
            reqwest::redirect::Policy::limited(10)
        } else {
            reqwest::redirect::Policy::none()
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(user_agent)
            .connect_timeout(timeout.unwrap_or(Duration::from_secs(10)))
            .redirect(redirect)
            .gzip(compression);
        if let Some(timeout) = timeout {
            builder = builder.timeout(timeout);
        }
        if !settings.http2 {
            builder = builder.http1_only();
        }
        builder = proxy(builder, &settings.proxy)?;
        builder = tls(builder, &settings.tls)?;
        let client = builder.build().map_err(|e| innermost(&e))?;
        let tokens = match &settings.oauth2 {
            Some(oauth2) => Some(Arc::new(TokenSource::new(oauth2, user_agent)?)),
            None => None,
        };
        Ok(Self { client, settings: settings.clone(), tokens })
    }

    /// Without credentials.
    pub(super) fn post(&self, url: &str) -> reqwest::RequestBuilder {
        self.client.post(url)
    }

    /// With credentials; secrets in files are read now.
    pub(crate) async fn get(&self, url: &str) -> Result<reqwest::RequestBuilder, String> {
        let read = |what: &str, secret: &Secret| {
            secret.read().map_err(|e| format!("cannot read the {what}: {e}"))
        };
        let mut request = self.client.get(url);
        if let Some((user, password)) = &self.settings.basic_auth {
            request = request.basic_auth(user, Some(read("password", password)?));
        }
        if let Some((kind, secret)) = &self.settings.authorization {
            let secret = read("credentials", secret)?;
            request = request.header("Authorization", format!("{kind} {secret}"));
        }
        if let Some(tokens) = &self.tokens {
            request = request.bearer_auth(tokens.token().await?);
        }
        for (name, value) in &self.settings.headers {
            request = request.header(name, read("header", value)?);
        }
        Ok(request)
    }
}

/// Without settings of its own a client must not follow the environment's proxy either.
fn proxy(
    builder: reqwest::ClientBuilder,
    settings: &ProxySettings,
) -> Result<reqwest::ClientBuilder, String> {
    if settings.from_environment {
        return Ok(builder);
    }
    let Some(url) = &settings.url else { return Ok(builder.no_proxy()) };
    let proxy = reqwest::Proxy::all(url).map_err(|e| format!("proxy_url: {}", innermost(&e)))?;
    let except = settings.except.as_deref().and_then(reqwest::NoProxy::from_string);
    Ok(builder.proxy(proxy.no_proxy(except)))
}

fn tls(
    mut builder: reqwest::ClientBuilder,
    settings: &TlsSettings,
) -> Result<reqwest::ClientBuilder, String> {
    let read = |what: &str, secret: &Secret| {
        secret.read().map(String::into_bytes).map_err(|e| format!("tls_config {what}: {e}"))
    };
    let ca = settings.ca.as_ref().map(|s| read("ca", s)).transpose()?;
    let identity = match &settings.identity {
        Some((cert, key)) => Some((read("cert", cert)?, read("key", key)?)),
        None => None,
    };
    if let (Some(name), Some(ca), false) =
        (&settings.server_name, &ca, settings.insecure_skip_verify)
    {
        let config =
            named(name, ca, identity.as_ref(), settings).map_err(|e| format!("tls_config: {e}"))?;
        return Ok(builder.tls_backend_preconfigured(config));
    }
    builder = builder.tls_danger_accept_invalid_certs(settings.insecure_skip_verify);
    if let Some(pem) = ca {
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|e| format!("tls_config ca: {}", innermost(&e)))?;
        builder = builder.tls_certs_only(certificates);
    }
    if let Some((cert, key)) = identity {
        let pem = [cert.as_slice(), b"\n", &key].concat();
        let identity = reqwest::Identity::from_pem(&pem)
            .map_err(|e| format!("tls_config cert: {}", innermost(&e)))?;
        builder = builder.identity(identity);
    }
    let version = |v: TlsVersion| match v {
        TlsVersion::Tls12 => Version::TLS_1_2,
        TlsVersion::Tls13 => Version::TLS_1_3,
    };
    if let Some(min) = settings.version_min {
        builder = builder.tls_version_min(version(min));
    }
    if let Some(max) = settings.version_max {
        builder = builder.tls_version_max(version(max));
    }
    Ok(builder)
}

/// A configuration that expects `name` in the certificate, whatever host is asked.
fn named(
    name: &str,
    ca: &[u8],
    identity: Option<&(Vec<u8>, Vec<u8>)>,
    settings: &TlsSettings,
) -> Result<rustls::ClientConfig, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let certificates = |pem: &[u8]| -> Result<Vec<CertificateDer<'static>>, String> {
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| text(&e))
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|e| text(&e))?;
    }
    let inner = WebPkiServerVerifier::builder(Arc::new(roots)).build().map_err(|e| text(&e))?;
    let name = ServerName::try_from(name.to_owned()).map_err(|e| text(&e))?;
    let versions: &[&rustls::SupportedProtocolVersion] =
        match (settings.version_min, settings.version_max) {
            (Some(TlsVersion::Tls13), _) => &[&rustls::version::TLS13],
            (_, Some(TlsVersion::Tls12)) => &[&rustls::version::TLS12],
            _ => rustls::ALL_VERSIONS,
        };
    let config = rustls::ClientConfig::builder_with_protocol_versions(versions)
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Named { inner, name }));
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| text(&e))?;
            config.with_client_auth_cert(certificates(cert)?, key).map_err(|e| text(&e))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Named {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Why a body could not be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FetchError {
    TooLarge(usize),
    Other(String),
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge(max) => write!(f, "body size limit exceeded: more than {max} bytes"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// Sends a request and reads its body and content type; anything but 200 is an error. Compressed
/// bodies are unpacked on the way, and the cap holds for what comes out.
pub(crate) async fn fetch(
    request: reqwest::RequestBuilder,
    bytes_max: usize,
) -> Result<(Vec<u8>, Option<String>), FetchError> {
    let other = |e: reqwest::Error| FetchError::Other(innermost(&e));
    let response = request.send().await.map_err(other)?;
    if response.status() != reqwest::StatusCode::OK {
        let why = format!("server returned HTTP status {}", response.status());
        return Err(FetchError::Other(why));
    }
    let content_type = response.headers().get("content-type");
    let content_type = content_type.and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(other)?;
        if body.len() + chunk.len() > bytes_max {
            return Err(FetchError::TooLarge(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, content_type))
}

/// The innermost cause, without the URL that a status shows anyway.
fn innermost(e: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = e;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if e.is_timeout() { "context deadline exceeded".to_owned() } else { cause.to_string() }
}
