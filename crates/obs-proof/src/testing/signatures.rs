//! Ed25519 edge cases (Wycheproof, CCTV) and BLAKE3.

use std::path::Path;

use super::{Report, hex, list, number, read_json, text};
use crate::note::verify_ed25519_raw;

/// The CCTV points that strict verification accepts; every laxer rule accepts more.
const CCTV_ACCEPTED: usize = 43;

pub(super) fn run_ed25519(dir: &Path, report: &mut Report) -> Result<(), String> {
    let wycheproof = read_json(&dir.join("wycheproof_ed25519_test.json"))?;
    for group in list(&wycheproof, "testGroups")? {
        let key = hex(text(group.get("publicKey").ok_or("no publicKey")?, "pk")?)?;
        for case in list(group, "tests")? {
            let (message, signature) = (hex(text(case, "msg")?)?, hex(text(case, "sig")?)?);
            report.equal(
                format!("wycheproof {}", number(case, "tcId")?),
                verify_ed25519_raw(&key, &message, &signature),
                text(case, "result")? == "valid",
            );
        }
    }
    let cctv = read_json(&dir.join("cctv_ed25519vectors.json"))?;
    let cases = cctv.as_array().ok_or("cctv: not a list")?;
    let mut accepted = 0;
    for case in cases {
        let (key, signature) = (hex(text(case, "key")?)?, hex(text(case, "sig")?)?);
        let ok = verify_ed25519_raw(&key, text(case, "msg")?.as_bytes(), &signature);
        accepted += usize::from(ok);
        // Strict verification has no say on mixed points in A beyond refusing those of small
        // order and non-canonical ones, so of an accepted case neither may be flagged.
        let flags = super::texts(case, "flags").unwrap_or_default();
        let forbidden = ["low_order_R", "low_order_A", "non_canonical_A", "non_canonical_R"];
        let clean = !flags.iter().any(|f| forbidden.contains(f));
        report.equal(format!("cctv {}", number(case, "number")?), !ok || clean, true);
    }
    report.equal("cctv accepted", accepted, CCTV_ACCEPTED);
    Ok(())
}

pub(super) fn run_blake3(dir: &Path, report: &mut Report) -> Result<(), String> {
    let all = read_json(&dir.join("test_vectors.json"))?;
    let key: [u8; 32] = text(&all, "key")?.as_bytes().try_into().map_err(|_len| "key length")?;
    let context = text(&all, "context_string")?;
    for case in list(&all, "cases")? {
        let len = number(case, "input_len")?;
        let input: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        for (name, mut hasher) in [
            ("hash", blake3::Hasher::new()),
            ("keyed_hash", blake3::Hasher::new_keyed(&key)),
            ("derive_key", blake3::Hasher::new_derive_key(context)),
        ] {
            let want = hex(text(case, name)?)?;
            let mut got = vec![0; want.len()];
            hasher.update(&input).finalize_xof().fill(&mut got);
            report.equal(format!("blake3 {name} of {len} bytes"), got, want);
        }
    }
    Ok(())
}
