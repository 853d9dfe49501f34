use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde::Deserialize;

use super::text::StepError;

/// Certificate authorities of the machine, by distribution.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// `tls_config` as Prometheus writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsForm {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
}

/// A client configuration; `alpn` lists protocols such as `h2` in order of preference.
pub fn client_config(
    form: &TlsForm,
    alpn: &[&str],
) -> Result<Arc<rustls::ClientConfig>, StepError> {
    obs_collect::install_crypto();
    let provider = CryptoProvider::get_default()
        .cloned()
        .ok_or_else(|| StepError::new("tls_config", "no TLS provider"))?;
    let versions = versions(form)?;
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|e| StepError::new("tls_config", e.to_string()))?;
    let builder = if form.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny { provider }))
    } else {
        builder.with_root_certificates(roots(form.ca_file.as_deref())?)
    };
    let mut config = match (&form.cert_file, &form.key_file) {
        (Some(cert), Some(key)) => {
            let unreadable = |p: &Path, e: String| {
                StepError::new("tls_config", format!("cannot read {}: {e}", p.display()))
            };
            let chain = CertificateDer::pem_file_iter(cert)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|e| unreadable(cert, e.to_string()))?;
            let key_der =
                PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, e.to_string()))?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|e| StepError::new("tls_config", e.to_string()))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(StepError::new("tls_config", "cert_file and key_file go together")),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    // Each probe shows its own handshake.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn versions(form: &TlsForm) -> Result<Vec<&'static rustls::SupportedProtocolVersion>, StepError> {
    let rank = |text: &Option<String>, fallback: u8| match text.as_deref() {
        None => Ok(fallback),
        Some("TLS10") => Ok(10),
        Some("TLS11") => Ok(11),
        Some("TLS12") => Ok(12),
        Some("TLS13") => Ok(13),
        Some(other) => Err(StepError::new(
            "tls_config",
            format!("{other:?} is not a version; TLS10, TLS11, TLS12 and TLS13 are"),
        )),
    };
    let (min, max) = (rank(&form.min_version, 12)?, rank(&form.max_version, 13)?);
    let all = [(12, &rustls::version::TLS12), (13, &rustls::version::TLS13)];
    let out: Vec<_> =
        all.into_iter().filter(|(v, _)| (min..=max).contains(v)).map(|(_, v)| v).collect();
    if out.is_empty() {
        return Err(StepError::new("tls_config", "versions below TLS 1.2 are not supported"));
    }
    Ok(out)
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, StepError> {
    let mut store = RootCertStore::empty();
    let path = match file {
        Some(path) => path.to_owned(),
        None => match SYSTEM_ROOTS.iter().map(PathBuf::from).find(|p| p.exists()) {
            Some(path) => path,
            // Without any authority every certificate is refused, which says so by itself.
            None => return Ok(store),
        },
    };
    let unreadable =
        |e: String| StepError::new("tls_config", format!("cannot read {}: {e}", path.display()));
    let certificates = CertificateDer::pem_file_iter(&path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable(e.to_string()))?;
    let (added, _ignored) = store.add_parsable_certificates(certificates);
    if added == 0 && file.is_some() {
        return Err(unreadable("it holds no certificate".to_owned()));
    }
    Ok(store)
}

/// `insecure_skip_verify`: the name says it.
#[derive(Debug)]
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
