//! RFC 3161 time stamps: an authority signs that a hash existed at an instant.
//!
//! A token is taken only if: 1. the status is granted; 2. it is about our hash and, where asked
//! for, our nonce; 3. its signed attributes name its content and its certificate; 4. the signature
//! verifies with that certificate; 5. the certificate may sign time stamps and nothing else, and
//! leads to a trusted root, all of them valid at the token's time.
//! Sources: RFC 3161, RFC 5652 (CMS), RFC 5816 (certificate ids), RFC 5280 (certificates).

mod certificate;

use std::sync::Arc;

use obs_proof::Hash;
use obs_proof::hash::{from_base64, sha256_of};
use obs_types::TimestampMs;
use ring::digest;

use super::der::{
    BOOLEAN, Element, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE, SET, context, encode,
    only,
};
use super::{Anchor, Anchored, Subject};
use crate::Transport;
use certificate::{Certificate, SHA256, hash, time};

const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
const SIGNING_CERTIFICATE: &[u8] =
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x0c];
const SIGNING_CERTIFICATE_V2: &[u8] =
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f];
/// A reply is a few kB.
const REPLY_BYTES_MAX: usize = 256 << 10;
const CHAIN_MAX: usize = 5;

/// Why a time stamp does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StampError {
    #[error("the authority refused, with status {0}")]
    Rejected(u8),
    #[error("not a time stamp: {0}")]
    Malformed(String),
    #[error("is about another hash")]
    OtherHash,
    #[error("carries another nonce")]
    OtherNonce,
    #[error("does not verify: {0}")]
    Untrusted(String),
}

fn malformed(reason: impl Into<String>) -> StampError {
    StampError::Malformed(reason.into())
}

fn untrusted(reason: impl Into<String>) -> StampError {
    StampError::Untrusted(reason.into())
}

impl From<String> for StampError {
    fn from(reason: String) -> Self {
        Self::Malformed(reason)
    }
}

/// The body of a request, type `application/timestamp-query`: SHA-256 hash, nonce, and the wish for
/// the certificates.
pub fn request(imprint: &Hash, nonce: u64) -> Vec<u8> {
    let algorithm = encode(SEQUENCE, &[encode(OID, SHA256), vec![5, 0]].concat());
    let imprint = encode(SEQUENCE, &[algorithm, encode(OCTET_STRING, imprint)].concat());
    let mut body = encode(INTEGER, &[1]);
    body.extend(imprint);
    body.extend(encode(INTEGER, &integer(nonce)));
    body.extend(encode(BOOLEAN, &[0xff]));
    encode(SEQUENCE, &body)
}

/// Shortest form of a non-negative integer.
fn integer(value: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = value.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
    if bytes.first().is_none_or(|b| *b >= 0x80) {
        bytes.insert(0, 0);
    }
    bytes
}

/// Certificates that are trusted to end a chain, from PEM text.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<Vec<u8>>);

impl Roots {
    /// `Err` names the first certificate that cannot be read; a text without any is one.
    pub fn from_pem(text: &str) -> Result<Self, StampError> {
        let mut out = Vec::new();
        for part in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
            let body = part.split("-----END CERTIFICATE-----").next().unwrap_or_default();
            let base64: String = body.chars().filter(|c| !c.is_whitespace()).collect();
            let der = from_base64("certificate", &base64).map_err(|e| malformed(e.to_string()))?;
            Certificate::parse(&der)?;
            out.push(der);
        }
        if out.is_empty() {
            Err(malformed("no certificate in the PEM text"))
        } else {
            Ok(Self(out))
        }
    }
}

/// Checks a reply (`application/timestamp-reply`). Gives the token's time in milliseconds since
/// the epoch.
pub fn verify(
    reply: &[u8],
    imprint: &Hash,
    nonce: Option<u64>,
    roots: &Roots,
) -> Result<i64, StampError> {
    if reply.len() > REPLY_BYTES_MAX {
        return Err(malformed(format!("{} bytes, the limit is {REPLY_BYTES_MAX}", reply.len())));
    }
    let mut response = only(reply, SEQUENCE, "reply")?.inside();
    let status = response.expect(SEQUENCE, "status")?.inside().expect(INTEGER, "status")?;
    match status.body {
        [0 | 1] => {}
        [other] => return Err(StampError::Rejected(*other)),
        _ => return Err(malformed("the status is no small number")),
    }
    let token = Token::parse(response.expect(SEQUENCE, "token")?)?;
    let info = Info::parse(token.content)?;
    if info.imprint != imprint.as_slice() {
        return Err(StampError::OtherHash);
    }
    if let Some(nonce) = nonce
        && info.nonce != Some(integer(nonce).as_slice())
    {
        return Err(StampError::OtherNonce);
    }
    token.check_signature(info.time_ms, roots)?;
    Ok(info.time_ms)
}

/// What is signed: hash, time, nonce.
struct Info<'a> {
    imprint: &'a [u8],
    nonce: Option<&'a [u8]>,
    time_ms: i64,
}

impl<'a> Info<'a> {
    fn parse(content: &'a [u8]) -> Result<Self, StampError> {
        let mut info = only(content, SEQUENCE, "TSTInfo")?.inside();
        info.expect(INTEGER, "version")?;
        info.expect(OID, "policy")?;
        let mut imprint = info.expect(SEQUENCE, "imprint")?.inside();
        let algorithm =
            imprint.expect(SEQUENCE, "imprint algorithm")?.inside().expect(OID, "hash")?;
        let imprint = imprint.expect(OCTET_STRING, "imprint")?.body;
        info.expect(INTEGER, "serial number")?;
        let time_ms = time(info.expect(GENERALIZED_TIME, "time")?)?;
        info.optional(SEQUENCE)?;
        info.optional(BOOLEAN)?;
        let nonce = info.optional(INTEGER)?.map(|n| n.body);
        // A hash of another kind is about something else, whatever its bytes.
        let imprint = if algorithm.body == SHA256 { imprint } else { &[] };
        Ok(Self { imprint, nonce, time_ms })
    }
}

/// The CMS envelope, taken apart.
struct Token<'a> {
    content: &'a [u8],
    certificates: Vec<Certificate<'a>>,
    signer: Signer<'a>,
}

struct Signer<'a> {
    issuer: &'a [u8],
    serial: &'a [u8],
    digest: &'a [u8],
    attributes: Element<'a>,
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Token<'a> {
    fn parse(token: Element<'a>) -> Result<Self, StampError> {
        let mut outer = token.inside();
        if outer.expect(OID, "token type")?.body != SIGNED_DATA {
            return Err(malformed("the token is no signed data"));
        }
        let wrapped = outer.expect(context(0), "signed data")?;
        let mut data = only(wrapped.body, SEQUENCE, "signed data")?.inside();
        data.expect(INTEGER, "version")?;
        data.expect(SET, "digest algorithms")?;
        let mut content = data.expect(SEQUENCE, "content")?.inside();
        if content.expect(OID, "content type")?.body != TST_INFO {
            return Err(malformed("the token holds no TSTInfo"));
        }
        let content = content.expect(context(0), "content")?;
        let content = only(content.body, OCTET_STRING, "content")?.body;
        let mut certificates = Vec::new();
        if let Some(set) = data.optional(context(0))? {
            let mut set = set.inside();
            while !set.is_empty() {
                certificates.push(Certificate::parse(set.next()?.raw)?);
            }
        }
        data.optional(context(1))?;
        let mut signers = data.expect(SET, "signers")?.inside();
        let signer = Signer::parse(signers.expect(SEQUENCE, "signer")?)?;
        match signers.is_empty() {
            true => Ok(Self { content, certificates, signer }),
            false => Err(malformed("more than one signer")),
        }
    }

    fn check_signature(&self, at_ms: i64, roots: &Roots) -> Result<(), StampError> {
        let roots: Vec<Certificate<'_>> =
            roots.0.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?;
        let signer = &self.signer;
        let own = self
            .certificates
            .iter()
            .chain(&roots)
            .find(|c| c.issuer == signer.issuer && c.serial == signer.serial)
            .ok_or_else(|| untrusted("the signer's certificate is missing"))?;
        signer.check_attributes(self.content, own)?;
        // Signed as the SET that they are, sent under an implicit tag.
        let mut signed = signer.attributes.raw.to_vec();
        if let Some(tag) = signed.first_mut() {
            *tag = SET;
        }
        own.verify(signer.algorithm, signer.digest, &signed, signer.signature)
            .map_err(|e| untrusted(format!("signature: {e}")))?;
        if !own.is_for_time_stamps {
            return Err(untrusted("the certificate is not for time stamps alone"));
        }
        self.check_chain(own, at_ms, &roots)
    }

    /// From the signer to a trusted root; each valid at the time and signed by the next.
    fn check_chain(
        &self,
        own: &Certificate<'_>,
        at_ms: i64,
        roots: &[Certificate<'_>],
    ) -> Result<(), StampError> {
        let mut at = own;
        for _ in 0..CHAIN_MAX {
            if !(at.from_ms..=at.until_ms).contains(&at_ms) {
                return Err(untrusted("a certificate was not valid at that time"));
            }
            if roots.iter().any(|r| r.raw == at.raw) {
                return Ok(());
            }
            let signed_by = |c: &&Certificate<'_>| {
                // One that signs itself leads nowhere.
                c.raw != at.raw
                    && c.subject == at.issuer
                    && c.is_authority
                    && c.verify(at.algorithm, &[], at.signed, at.signature).is_ok()
            };
            at = roots
                .iter()
                .find(signed_by)
                .or_else(|| self.certificates.iter().find(signed_by))
                .ok_or_else(|| untrusted("the certificate does not lead to a trusted root"))?;
        }
        Err(untrusted(format!("more than {CHAIN_MAX} certificates up to a root")))
    }
}

impl<'a> Signer<'a> {
    fn parse(signer: Element<'a>) -> Result<Self, StampError> {
        let mut signer = signer.inside();
        signer.expect(INTEGER, "signer version")?;
        let mut id = signer.expect(SEQUENCE, "signer by issuer and serial number")?.inside();
        let issuer = id.expect(SEQUENCE, "issuer")?.raw;
        let serial = id.expect(INTEGER, "serial number")?.body;
        let digest =
            signer.expect(SEQUENCE, "digest algorithm")?.inside().expect(OID, "hash")?.body;
        let attributes = signer.expect(context(0), "signed attributes")?;
        let algorithm =
            signer.expect(SEQUENCE, "signature algorithm")?.inside().expect(OID, "algorithm")?.body;
        let signature = signer.expect(OCTET_STRING, "signature")?.body;
        Ok(Self { issuer, serial, digest, attributes, algorithm, signature })
    }

    /// The attributes say what was signed, its hash, and with which certificate.
    fn check_attributes(&self, content: &[u8], own: &Certificate<'_>) -> Result<(), StampError> {
        let algorithm = hash(self.digest).ok_or_else(|| untrusted("unknown hash"))?;
        let (mut typed, mut hashed, mut bound) = (false, false, false);
        let mut attributes = self.attributes.inside();
        while !attributes.is_empty() {
            let mut attribute = attributes.expect(SEQUENCE, "attribute")?.inside();
            let name = attribute.expect(OID, "attribute")?.body;
            let mut values = attribute.expect(SET, "attribute values")?.inside();
            let value = values.next()?;
            match name {
                CONTENT_TYPE => typed = value.tag == OID && value.body == TST_INFO,
                MESSAGE_DIGEST => {
                    let found = digest::digest(algorithm, content);
                    hashed = value.tag == OCTET_STRING && value.body == found.as_ref();
                }
                SIGNING_CERTIFICATE => {
                    let own_hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, own.raw);
                    bound |= first_certificate_id(value)? == own_hash.as_ref();
                }
                SIGNING_CERTIFICATE_V2 => {
                    bound |= names_by_sha2(value, own.raw)?;
                }
                _ => {}
            }
        }
        match (typed, hashed, bound) {
            (true, true, true) => Ok(()),
            (false, ..) => Err(untrusted("the attributes name another content type")),
            (_, false, _) => Err(untrusted("the attributes name another content hash")),
            (.., false) => Err(untrusted("the attributes do not name the signer's certificate")),
        }
    }
}

/// `SigningCertificate { SEQ of { hash, … } }`: the first hash is the signer's.
fn first_certificate_id(value: Element<'_>) -> Result<&[u8], StampError> {
    let mut ids = value.inside().expect(SEQUENCE, "certificate ids")?.inside();
    let mut id = ids.expect(SEQUENCE, "certificate id")?.inside();
    Ok(id.expect(OCTET_STRING, "certificate hash")?.body)
}

/// The same with a hash of one's choice, SHA-256 where none is named.
fn names_by_sha2(value: Element<'_>, certificate: &[u8]) -> Result<bool, StampError> {
    let mut ids = value.inside().expect(SEQUENCE, "certificate ids")?.inside();
    let mut id = ids.expect(SEQUENCE, "certificate id")?.inside();
    let algorithm = match id.optional(SEQUENCE)? {
        Some(algorithm) => algorithm.inside().expect(OID, "hash")?.body,
        None => SHA256,
    };
    let named = id.expect(OCTET_STRING, "certificate hash")?.body;
    Ok(hash(algorithm).is_some_and(|h| digest::digest(h, certificate).as_ref() == named))
}

/// The imprint of a checkpoint: SHA-256 of its text, without signatures.
pub fn imprint_of(checkpoint_text: &str) -> Hash {
    sha256_of(checkpoint_text.as_bytes())
}

/// An authority over HTTP. A token counts only if it verifies under the roots given.
#[expect(missing_debug_implementations, reason = "a transport is not printable")]
pub struct TimeStampAnchor {
    url: String,
    roots: Roots,
    transport: Arc<dyn Transport>,
}

impl TimeStampAnchor {
    pub fn new(url: &str, roots: Roots, transport: Arc<dyn Transport>) -> Self {
        Self { url: url.to_owned(), roots, transport }
    }
}

impl Anchor for TimeStampAnchor {
    fn kind(&self) -> &'static str {
        "rfc3161"
    }

    fn target(&self) -> String {
        self.url.clone()
    }

    fn extension(&self) -> &'static str {
        "tsr"
    }

    fn submit(&self, subject: &Subject) -> Result<Anchored, String> {
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|e| e.to_string())?;
        let (nonce, imprint) = (u64::from_be_bytes(nonce), imprint_of(&subject.text));
        let kind = "application/timestamp-query";
        let (status, reply) = self.transport.post(&self.url, kind, request(&imprint, nonce))?;
        if status != 200 {
            return Err(format!("{} answered {status}", self.url));
        }
        let at = verify(&reply, &imprint, Some(nonce), &self.roots).map_err(|e| e.to_string())?;
        Ok(Anchored::Done { proof: reply, at: Some(TimestampMs(at)) })
    }
}

#[cfg(test)]
mod tests;
