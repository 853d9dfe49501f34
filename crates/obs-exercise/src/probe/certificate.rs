//! What a TLS session shows of its certificates.

use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::result::ProbeResult;

/// What of a handshake the gauges need.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    /// DER, the server's own first.
    pub(super) chain: Vec<Vec<u8>>,
    /// Whether the chain was verified against known authorities.
    pub(super) verified: bool,
    pub(super) version: &'static str,
    pub(super) cipher: String,
}

impl Session {
    pub(super) fn of(connection: &rustls::ClientConnection, verified: bool) -> Self {
        let chain = connection.peer_certificates().unwrap_or_default();
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "unknown",
        };
        let cipher = connection.negotiated_cipher_suite().map(|s| go_name(s.suite()));
        Self {
            chain: chain.iter().map(|c| c.to_vec()).collect(),
            verified,
            version,
            cipher: cipher.unwrap_or_default(),
        }
    }
}

/// Suites are named as Go names them: without the `13` that rustls puts in.
fn go_name(suite: rustls::CipherSuite) -> String {
    format!("{suite:?}").replace("TLS13_", "TLS_")
}

/// Seconds of an absent time in Go, which the exporter shows where no chain was verified.
const GO_ZERO_TIME: f64 = -62_135_596_800.0;

/// Sets the certificate gauges; `cipher` too where the exporter does.
pub(super) fn gauges(
    session: &Session,
    with_cipher: bool,
    with_chain: bool,
    result: &mut ProbeResult,
) {
    let parsed: Vec<X509Certificate<'_>> = session
        .chain
        .iter()
        .filter_map(|der| X509Certificate::from_der(der).ok().map(|(_, c)| c))
        .collect();
    let earliest = parsed
        .iter()
        .map(|c| c.validity().not_after.timestamp())
        .min()
        .map_or(GO_ZERO_TIME, |t| t as f64);
    result.set(
        "probe_ssl_earliest_cert_expiry",
        "Returns last SSL chain expiry in unixtime",
        earliest,
    );
    if with_chain {
        // The verified chain ends in an authority of ours that the server need not have sent; what
        // it did send is what can expire under its hands.
        let expiry = if session.verified { earliest } else { GO_ZERO_TIME };
        result.set(
            "probe_ssl_last_chain_expiry_timestamp_seconds",
            "Returns last SSL chain expiry in timestamp",
            expiry,
        );
    }
    result.set_with(
        "probe_tls_version_info",
        "Returns the TLS version used or NaN when unknown",
        &[("version", session.version)],
        1.0,
    );
    if with_cipher {
        result.set_with(
            "probe_tls_cipher_info",
            "Returns the TLS cipher negotiated during handshake",
            &[("cipher", &session.cipher)],
            1.0,
        );
    }
    if let (Some(leaf), Some(der)) = (parsed.first(), session.chain.first()) {
        let fingerprint: String = Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect();
        let serial: String =
            leaf.raw_serial().iter().skip_while(|b| **b == 0).map(|b| format!("{b:02x}")).collect();
        result.set_with(
            "probe_ssl_last_chain_info",
            "Contains SSL leaf certificate information",
            &[
                ("fingerprint_sha256", &fingerprint),
                ("subject", &name(leaf.subject())),
                ("issuer", &name(leaf.issuer())),
                ("subjectalternative", &dns_names(leaf)),
                ("serialnumber", &serial),
            ],
            1.0,
        );
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> String {
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::SubjectAlternativeName(all) = extension.parsed_extension() {
            names.extend(all.general_names.iter().filter_map(|n| match n {
                GeneralName::DNSName(name) => Some(*name),
                _ => None,
            }));
        }
    }
    names.join(",")
}

/// RFC 2253: the last part first, joined by commas.
fn name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for set in name.iter() {
        let all: Vec<String> = set
            .iter()
            .map(|attribute| {
                let oid = attribute.attr_type().to_id_string();
                let short = match oid.as_str() {
                    "2.5.4.3" => "CN",
                    "2.5.4.5" => "SERIALNUMBER",
                    "2.5.4.6" => "C",
                    "2.5.4.7" => "L",
                    "2.5.4.8" => "ST",
                    "2.5.4.9" => "STREET",
                    "2.5.4.10" => "O",
                    "2.5.4.11" => "OU",
                    "2.5.4.17" => "POSTALCODE",
                    other => other,
                };
                let value = attribute.as_str().unwrap_or_default();
                format!("{short}={}", escaped(value))
            })
            .collect();
        parts.push(all.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let mut out = String::new();
    let last = value.chars().count().saturating_sub(1);
    for (i, c) in value.chars().enumerate() {
        let edge = (c == ' ' && (i == 0 || i == last)) || (c == '#' && i == 0);
        if edge || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
