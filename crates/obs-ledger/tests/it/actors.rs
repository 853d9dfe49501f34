//! Contracts of actors in receipts, before both verifiers.

use std::fs;
use std::sync::Arc;

use obs_disk::{Clock, RealDisk};
use obs_ledger::{AlertAck, Ledger, Receipt};
use obs_proof::actor::Contract;
use obs_proof::note::{KeyKind, SignerKey};
use obs_proof::verify::{Code, VerifyOptions, verify};
use serde_json::{Map, Value, json};

use crate::second_verifier::{first, python, second};
use crate::support::{ORIGIN, alert, clock, config};

const DID: &str = "did:vm:human:alice";
const ACTORS: &str = "receipts/observability/actors.txt";

fn key(seed: u8) -> SignerKey {
    SignerKey::from_seed(DID, KeyKind::Ed25519, &[seed; 32]).unwrap()
}

fn ack(comment: &str) -> Receipt {
    Receipt::alert_ack(AlertAck {
        operation_id: "obs-op-2025-12-06-001".into(),
        alert_id: "alert-2025-12-06-001".into(),
        acknowledged_by: DID.into(),
        acknowledged_at: clock().now(),
        comment: comment.into(),
        escalation_suppressed: false,
        follow_up_required: false,
        follow_up_deadline: None,
    })
}

fn contract(comment: &str, key: &SignerKey) -> Map<String, Value> {
    let subject = json!({
        "alert_id": "alert-2025-12-06-001",
        "comment": comment,
        "escalation_suppressed": false,
        "follow_up_required": false,
        "follow_up_deadline": null,
    });
    let contract = Contract {
        origin: ORIGIN.into(),
        operation_type: "alert_acknowledge".into(),
        initiated_by: DID.into(),
        issued_at: clock().now().0,
        subject: subject.as_object().unwrap().clone(),
    };
    contract.sign(key).unwrap()
}

#[test]
fn contracts_are_checked_by_the_registry() {
    let line = format!("actor {}", key(1).verifier());
    let late = "2025-12-31T00:00:00Z";
    let mut broken = contract("on it", &key(1));
    broken.insert("payloadType".into(), json!("application/json"));
    let mut other_signature = contract("on it", &key(1));
    other_signature.insert("signatures".into(), contract("x", &key(1))["signatures"].clone());
    let good = contract("on it", &key(1));
    for (what, envelope, registry, want) in [
        ("signed", &good, line.clone(), None),
        ("revoked later", &good, format!("{line} revoked {late}"), None),
        (
            "revoked before",
            &good,
            format!("{line} revoked 2025-12-01T00:00:00Z"),
            Some(Code::ActorRevoked),
        ),
        ("no registry", &good, String::new(), Some(Code::ActorUnknown)),
        ("another's key", &contract("on it", &key(2)), line.clone(), Some(Code::ActorUnknown)),
        (
            "another content",
            &contract("off it", &key(1)),
            line.clone(),
            Some(Code::ContractInvalid),
        ),
        ("another type", &broken, line.clone(), Some(Code::ContractInvalid)),
        ("another signature", &other_signature, line.clone(), Some(Code::ContractInvalid)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(config(Arc::new(RealDisk), clock(), dir.path())).unwrap();
        let receipt = ack("on it").with_contract(Some(envelope.clone()));
        ledger.append(vec![alert(1), receipt]).unwrap();
        ledger.shutdown().unwrap();
        fs::write(dir.path().join(ACTORS), registry).unwrap();
        let report = verify(&VerifyOptions::new(dir.path())).unwrap();
        assert_eq!(report.contracts, u64::from(want.is_none()), "{what}: {report}");
        let exit = match want {
            None => 0,
            Some(Code::ActorUnknown) => 2,
            Some(_) => 1,
        };
        assert_eq!(report.exit_code(), exit, "{what}: {report}");
        assert!(want.is_none_or(|code| report.has(code)), "{what}: {report}");
        assert!(report.has(Code::ActorsFromData), "{what}: {report}");
        if !python() {
            println!("skipped: no python3");
            continue;
        }
        assert_eq!(second(dir.path(), &[]), first(dir.path(), &[]), "{what}");
        if want.is_some_and(|code| code != Code::ActorUnknown) {
            continue;
        }
        // Pinned by the reader, whatever the folder says.
        let pinned = dir.path().join("pinned.txt");
        fs::write(&pinned, &line).unwrap();
        fs::write(dir.path().join(ACTORS), "actor nonsense").unwrap();
        let args = ["--actors".to_owned(), pinned.display().to_string()];
        let (theirs, ours) = (second(dir.path(), &args), first(dir.path(), &args));
        assert_eq!(theirs, ours, "{what}");
        assert!(verify(&VerifyOptions::new(dir.path())).is_err(), "{what}");
    }
}
