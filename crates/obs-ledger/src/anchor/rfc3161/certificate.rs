//! Certificates as far as a time stamp's chain needs them (RFC 5280).

use obs_proof::time::parse_rfc3339;
use ring::digest;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use super::{StampError, malformed};
use crate::anchor::der::{
    BIT_STRING, BOOLEAN, Der, Element, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE,
    UTC_TIME, context, only,
};

pub(super) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const RSA_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// Signature algorithms with their hash, as certificates and signer infos name them.
const SIGNATURES: [(&[u8], &[u8]); 6] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02], SHA256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03], SHA384),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b], SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c], SHA384),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d], SHA512),
    // Without a hash of its own: the digest algorithm beside it counts.
    (RSA_KEY, &[]),
];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

pub(super) fn hash(oid: &[u8]) -> Option<&'static digest::Algorithm> {
    match oid {
        SHA256 => Some(&digest::SHA256),
        SHA384 => Some(&digest::SHA384),
        SHA512 => Some(&digest::SHA512),
        _ => None,
    }
}

/// As much of a certificate as a chain needs.
#[derive(Clone, Debug)]
pub(super) struct Certificate<'a> {
    pub(super) raw: &'a [u8],
    pub(super) signed: &'a [u8],
    pub(super) serial: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
    pub(super) key_kind: &'a [u8],
    pub(super) curve: &'a [u8],
    pub(super) key: &'a [u8],
    pub(super) is_authority: bool,
    pub(super) is_for_time_stamps: bool,
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(raw: &'a [u8]) -> Result<Self, StampError> {
        let mut outer = only(raw, SEQUENCE, "certificate")?.inside();
        let body = outer.expect(SEQUENCE, "certificate body")?;
        let algorithm = outer
            .expect(SEQUENCE, "certificate algorithm")?
            .inside()
            .expect(OID, "algorithm")?
            .body;
        let signature = bits(outer.expect(BIT_STRING, "certificate signature")?)?;
        let mut inner = body.inside();
        inner.optional(context(0))?;
        let serial = inner.expect(INTEGER, "serial number")?.body;
        inner.expect(SEQUENCE, "algorithm")?;
        let issuer = inner.expect(SEQUENCE, "issuer")?.raw;
        let mut validity = inner.expect(SEQUENCE, "validity")?.inside();
        let (from_ms, until_ms) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = inner.expect(SEQUENCE, "subject")?.raw;
        let mut key_info = inner.expect(SEQUENCE, "public key")?.inside();
        let mut kind = key_info.expect(SEQUENCE, "key algorithm")?.inside();
        let key_kind = kind.expect(OID, "key algorithm")?.body;
        let curve = kind.optional(OID)?.map_or(&[][..], |c| c.body);
        let key = bits(key_info.expect(BIT_STRING, "public key")?)?;
        let mut out = Self {
            raw,
            signed: body.raw,
            serial,
            issuer,
            subject,
            from_ms,
            until_ms,
            key_kind,
            curve,
            key,
            is_authority: false,
            is_for_time_stamps: false,
            algorithm,
            signature,
        };
        inner.optional(0x81)?;
        inner.optional(0x82)?;
        if let Some(extensions) = inner.optional(context(3))? {
            out.read_extensions(only(extensions.body, SEQUENCE, "extensions")?.inside())?;
        }
        Ok(out)
    }

    fn read_extensions(&mut self, mut extensions: Der<'a>) -> Result<(), StampError> {
        while !extensions.is_empty() {
            let mut extension = extensions.expect(SEQUENCE, "extension")?.inside();
            let name = extension.expect(OID, "extension")?.body;
            let critical = extension.optional(BOOLEAN)?.is_some_and(|b| b.body == [0xff]);
            let value = extension.expect(OCTET_STRING, "extension value")?.body;
            match name {
                BASIC_CONSTRAINTS => {
                    let mut constraints = only(value, SEQUENCE, "basic constraints")?.inside();
                    let authority = constraints.optional(BOOLEAN)?;
                    self.is_authority = authority.is_some_and(|b| b.body == [0xff]);
                }
                EXTENDED_KEY_USAGE => {
                    let mut usages = only(value, SEQUENCE, "key usage")?.inside();
                    let first = usages.expect(OID, "key usage")?.body;
                    // RFC 3161, 2.3: this purpose alone, and critical.
                    self.is_for_time_stamps =
                        critical && first == TIME_STAMPING && usages.is_empty();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks a signature by this certificate's key. `digest` counts where the algorithm does not
    /// name a hash itself.
    pub(super) fn verify(
        &self,
        algorithm: &[u8],
        digest: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), &'static str> {
        let named = SIGNATURES.iter().find(|(oid, _)| *oid == algorithm);
        let (_, own_digest) = named.ok_or("unknown signature algorithm")?;
        let digest = if own_digest.is_empty() { digest } else { own_digest };
        let method: &dyn VerificationAlgorithm = match (self.key_kind, self.curve, digest) {
            (EC_KEY, P256, SHA256) => &signature::ECDSA_P256_SHA256_ASN1,
            (EC_KEY, P256, SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
            (EC_KEY, P384, SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
            (EC_KEY, P384, SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
            (RSA_KEY, _, SHA256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (RSA_KEY, _, SHA384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (RSA_KEY, _, SHA512) => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return Err("unknown kind of key or hash"),
        };
        UnparsedPublicKey::new(method, self.key)
            .verify(message, signature)
            .map_err(|_unspecified| "does not verify")
    }
}

/// A BIT STRING of whole bytes.
fn bits(element: Element<'_>) -> Result<&[u8], StampError> {
    match element.body.split_first() {
        Some((0, bytes)) => Ok(bytes),
        _ => Err(malformed("a bit string with loose bits")),
    }
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmss[.fff]Z`.
pub(super) fn time(element: Element<'_>) -> Result<i64, StampError> {
    let text = std::str::from_utf8(element.body).unwrap_or_default();
    let century = match (element.tag, text.get(..2)) {
        // RFC 5280, 4.1.2.5.1.
        (UTC_TIME, Some(year)) if year < "50" => "20",
        (UTC_TIME, Some(_)) => "19",
        (GENERALIZED_TIME, Some(_)) => "",
        _ => return Err(malformed("no time where one belongs")),
    };
    let full = format!("{century}{text}");
    let part = |from: usize, to: usize| full.get(from..to).unwrap_or_default();
    let rfc3339 = format!(
        "{}-{}-{}T{}:{}:{}{}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14),
        full.get(14..).unwrap_or_default()
    );
    parse_rfc3339(&rfc3339)
        .filter(|_| rfc3339.ends_with('Z'))
        .ok_or_else(|| malformed(format!("{text:?} is no time in UTC")))
}
