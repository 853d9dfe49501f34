//! `POST /obs/ledger/verify`: the offline verifier over this server's own files.

use std::path::Path;
use std::sync::Arc;

use obs_ledger::Ledger;
use obs_proof::note::VerifierKey;
use obs_proof::verify::{VerifyOptions, verify};
use serde_json::{Value, json};

pub(super) fn verifier(data: &Path, ledger: &Arc<Ledger>) -> Box<dyn Fn() -> Value + Send + Sync> {
    let data = data.to_owned();
    let ledger = Arc::clone(ledger);
    Box::new(move || {
        let mut options = VerifyOptions::new(&data);
        options.log_keys.extend(VerifierKey::parse(&ledger.head().log_vkey).ok());
        match verify(&options) {
            Ok(report) => {
                let code = report.exit_code();
                let mut out = report.to_json();
                if let Some(map) = out.as_object_mut() {
                    let verdict = match code {
                        0 => "ok",
                        1 => "tampered",
                        2 => "incomplete",
                        3 => "policy_unmet",
                        _ => "error",
                    };
                    map.insert("exit_code".to_owned(), json!(code));
                    map.insert("verdict".to_owned(), json!(verdict));
                    map.insert("text".to_owned(), json!(report.to_string()));
                }
                out
            }
            Err(e) => json!({
                "exit_code": 4, "verdict": "error", "text": e.to_string(), "findings": [],
            }),
        }
    })
}
