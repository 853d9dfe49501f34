//! X.509 certificates, as far as naming one and taking its public key goes. Chains and dates are
//! not looked at: whoever configures a certificate trusts this one.

use obs_proof::hash::{from_base64, sha256_text, to_base64};

/// Why a file holds no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate: {0}")]
pub struct CertificateError(&'static str);

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    fingerprint: String,
    public_key: Vec<u8>,
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const VERSION: u8 = 0xa0;
/// Serial number, algorithm, issuer, validity, subject.
const BEFORE_KEY: usize = 5;

impl Certificate {
    /// All certificates of a PEM file, at least one.
    pub fn read_pem(text: &str) -> Result<Vec<Self>, CertificateError> {
        let mut out = Vec::new();
        for part in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
            let body = part.split("-----END CERTIFICATE-----").next().unwrap_or_default();
            let body: String = body.split_whitespace().collect();
            let der = from_base64("certificate", &body).map_err(|_e| CertificateError("base64"))?;
            out.push(Self::from_der(der)?);
        }
        if out.is_empty() { Err(CertificateError("no PEM block")) } else { Ok(out) }
    }

    fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        let public_key = key_of(&der).ok_or(CertificateError("not DER of an X.509 certificate"))?;
        let fingerprint = sha256_text(&obs_proof::hash::sha256_of(&der));
        Ok(Self { fingerprint, public_key: public_key.to_vec(), der })
    }

    /// Contents of the key's bit string: a point, 32 bytes of Ed25519, or an RSA key of PKCS #1.
    pub(super) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// By `sha256:<hex>` of its DER, or by the DER in base64.
    pub(super) fn is_named(&self, reference: &str) -> bool {
        reference == self.fingerprint || reference == to_base64(&self.der)
    }
}

fn key_of(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = any(fields)?.2;
    }
    for _ in 0..BEFORE_KEY {
        fields = any(fields)?.2;
    }
    let (key, _) = element(fields, SEQUENCE)?;
    let (_algorithm, bits) = element(key, SEQUENCE)?;
    let (bits, _) = element(bits, BIT_STRING)?;
    // Whole bytes only.
    bits.split_first().filter(|(unused, _)| **unused == 0).map(|(_, key)| key)
}

fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any(bytes).filter(|(found, ..)| *found == tag).map(|(_, body, rest)| (body, rest))
}

/// Tag, contents and what follows of one DER element.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (len.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    let (body, rest) = rest.split_at_checked(len)?;
    Some((*tag, body, rest))
}
