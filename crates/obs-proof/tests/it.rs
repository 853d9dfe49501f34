//! Published vectors against this crate. They are read from the folder that `VMOBS_VECTORS` names
//! (default `../shared/vectors` beside the workspace).

use std::path::{Path, PathBuf};

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = std::env::var_os("VMOBS_VECTORS")
        .map_or_else(|| root.join("../shared/vectors"), PathBuf::from)
        .join("ledger");
    dir.is_dir().then_some(dir)
}

#[test]
fn every_published_vector_gives_its_answer() {
    let Some(dir) = vectors() else {
        println!("skipped: no vectors");
        return;
    };
    let report = obs_proof::testing::run_dir(&dir);
    println!("{}", report.score());
    assert!(report.failures.is_empty(), "{}\n{}", report.score(), report.failures.join("\n"));
    assert!(report.total > 1_500, "{} vectors are too few to be all of them", report.total);
}

/// Good texts with bytes changed, cut and doubled: every parser answers, none panics, and what it
/// accepts it writes back as it was.
#[test]
fn parsers_survive_damaged_input() {
    use obs_proof::checkpoint::CheckpointBody;
    use obs_proof::note::{KeyKind, Note, SignerKey, VerifierKey};
    use obs_proof::opentimestamps::OtsProof;
    use obs_proof::policy::Policy;
    use obs_proof::record::{RecordScope, RecordTree, RecordTreeBuilder};
    use obs_proof::tlog_proof::TlogProof;
    use obs_proof::vmproof::VmProof;

    let key = SignerKey::from_seed("log.example/x", KeyKind::Ed25519, &[5; 32]).unwrap();
    let mut note = Note::new("log.example/x\n1\nAAAA\n").unwrap();
    note.sign(&key, 0);
    let mut builder = RecordTreeBuilder::new(RecordScope::new("k", "s", "h"), [1; 32]);
    builder.push(b"record");
    let proof = TlogProof {
        extra: Some(vec![1, 2]),
        index: 3,
        hashes: vec![[4; 32]; 2],
        checkpoint: note.to_string(),
    };
    let seeds: Vec<Vec<u8>> = vec![
        note.to_string().into_bytes(),
        proof.to_string().into_bytes(),
        VmProof { record: None, receipt: "{}".to_owned(), tlog: proof.clone() }
            .to_string()
            .into_bytes(),
        key.verifier().to_string().into_bytes(),
        key.to_secret_text().into_bytes(),
        format!("log {}\nquorum none\n", key.verifier()).into_bytes(),
        br#"{"a":[1,2.5,"\u001f"],"b":{"c":null}}"#.to_vec(),
        obs_proof::tile::write_entries(&[b"one", b"two"]).unwrap(),
        builder.finish().to_sidecar(),
    ];
    let mut x: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = move |below: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x % below.max(1) as u64) as usize
    };
    for round in 0..4_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes.truncate(at),
                1 => bytes.extend_from_within(at..),
                2 => bytes.insert(at, b"\n +\0\xff09A"[next(8)]),
                _ => {
                    if let Some(b) = bytes.get_mut(at) {
                        *b ^= 1 << next(8);
                    }
                }
            }
        }
        if let Ok(note) = Note::parse(&bytes) {
            assert_eq!(note.to_string().as_bytes(), bytes);
        }
        if let Ok(tree) = RecordTree::from_sidecar(&bytes) {
            assert_eq!(tree.to_sidecar(), bytes);
        }
        if let Ok(entries) = obs_proof::tile::read_entries(&bytes) {
            assert_eq!(obs_proof::tile::write_entries(&entries).unwrap(), bytes);
        }
        if let Ok(object) = obs_proof::canonical::check_line(&bytes) {
            let line = obs_proof::canonical::object_to_line(&object).unwrap();
            assert_eq!(line.as_bytes(), bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(proof) = TlogProof::parse(&text) {
            assert_eq!(proof.to_string(), text);
        }
        if let Ok(proof) = VmProof::parse(&text) {
            assert_eq!(proof.to_string(), text);
        }
        if let Ok(key) = VerifierKey::parse(&text) {
            assert_eq!(key.to_string(), text.trim_end_matches(['\n', '\r']));
        }
        if let Ok(key) = SignerKey::parse(&text) {
            assert_eq!(key.to_secret_text(), text.trim_end_matches(['\n', '\r']));
        }
        if let Ok(policy) = Policy::parse(&text) {
            assert!(!policy.logs().is_empty());
        }
        if let Ok(body) = CheckpointBody::parse(&text) {
            assert!(!body.origin.is_empty());
        }
        if let Ok(proof) = OtsProof::parse(&bytes) {
            assert!(!proof.attestations.is_empty());
        }
        obs_proof::time::parse_rfc3339(&text);
    }
}
