use std::path::PathBuf;

use super::*;

fn vector(name: &str) -> Option<Vec<u8>> {
    let vectors = std::env::var_os("VMOBS_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let file = vectors.join("ledger/rfc3161").join(name);
    let found = std::fs::read(&file).ok();
    if found.is_none() {
        println!("skipped: no {}", file.display());
    }
    found
}

fn roots(name: &str) -> Roots {
    Roots::from_pem(&String::from_utf8(vector(name).unwrap()).unwrap()).unwrap()
}

#[test]
fn the_published_replies() {
    let Some(body) = vector("checkpoint-body.txt") else { return };
    let imprint = imprint_of(std::str::from_utf8(&body).unwrap());
    let trusted = roots("tsa-root.pem");
    let query = vector("checkpoint-body.tsq").unwrap();
    let mut rest = only(&query, SEQUENCE, "query").unwrap().inside();
    rest.expect(INTEGER, "version").unwrap();
    rest.expect(SEQUENCE, "imprint").unwrap();
    let nonce = rest.optional(INTEGER).unwrap().unwrap().body;
    let nonce = nonce.iter().fold(0, |n: u64, b| n << 8 | u64::from(*b));
    assert_eq!(request(&imprint, nonce), query, "our request is byte for byte OpenSSL's");

    let ok = vector("ok.tsr").unwrap();
    let at = verify(&ok, &imprint, Some(nonce), &trusted).unwrap();
    assert_eq!(obs_proof::time::format_rfc3339(at), "2026-11-21T01:59:01Z");
    let unsorted = vector("ok-not-der-two-certs.tsr").unwrap();
    assert!(verify(&unsorted, &imprint, None, &trusted).is_ok());
    for name in ["rejected.tsr", "rejected-badalg.tsr"] {
        let reply = vector(name).unwrap();
        let refused = verify(&reply, &imprint, None, &trusted);
        assert_eq!(refused, Err(StampError::Rejected(2)), "{name}");
    }
    assert_eq!(verify(&ok, &[7; 32], None, &trusted), Err(StampError::OtherHash));
    assert_eq!(verify(&ok, &imprint, Some(nonce ^ 1), &trusted), Err(StampError::OtherNonce));
    // The signer's certificate is no authority, so nothing but itself rests on it.
    assert!(verify(&ok, &imprint, None, &roots("tsa-signer.pem")).is_ok());
    assert!(matches!(
        verify(&ok, &imprint, None, &Roots::default()),
        Err(StampError::Untrusted(_))
    ));
    assert!(Roots::from_pem("no certificate").is_err());
}

#[test]
fn every_flip_in_a_token_is_refused() {
    let Some(body) = vector("checkpoint-body.txt") else { return };
    let imprint = imprint_of(std::str::from_utf8(&body).unwrap());
    let trusted = roots("tsa-root.pem");
    let ok = vector("ok.tsr").unwrap();
    // Bytes that nobody signs: they change what the token says of itself, not what it proves.
    let mut accepted = Vec::new();
    for at in 0..ok.len() {
        let mut bad = ok.clone();
        bad[at] ^= 1 << (at % 8);
        if verify(&bad, &imprint, None, &trusted).is_ok() {
            accepted.push(at);
        }
        assert!(verify(&ok[..at], &imprint, None, &trusted).is_err(), "cut to {at}");
    }
    assert!(accepted.len() <= 32, "{} bytes may change: {accepted:?}", accepted.len());
    let signed = 70..197;
    assert!(!accepted.iter().any(|at| signed.contains(at)), "signed content: {accepted:?}");
}
