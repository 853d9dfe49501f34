//! `POST /obs/ledger/verify`: the offline verifier over this server's own files.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use obs_archive::Archive;
use obs_ledger::Ledger;
use obs_proof::note::VerifierKey;
use obs_proof::verify::{
    RecordReader, RecordSink, RecordsRead, SealedFile, VerifyOptions, verify_with,
};
use serde_json::{Value, json};

/// Reads files that were moved to the cold store; records are not decoded here.
struct Cold(Arc<Archive>);

impl RecordReader for Cold {
    fn read(
        &mut self,
        _path: &Path,
        _file: &SealedFile,
        _sink: &mut dyn RecordSink,
    ) -> Result<RecordsRead, String> {
        Ok(RecordsRead::Unknown)
    }

    fn cold(&mut self, file: &SealedFile) -> Option<io::Result<Box<dyn Read>>> {
        crate::storage::cold_bytes(&self.0, &file.path)
    }
}

pub(super) fn verifier(
    data: &Path,
    ledger: &Arc<Ledger>,
    archive: &Arc<Archive>,
) -> Box<dyn Fn() -> Value + Send + Sync> {
    let data = data.to_owned();
    let archive = Arc::clone(archive);
    let ledger = Arc::clone(ledger);
    Box::new(move || {
        let mut options = VerifyOptions::new(&data);
        options.log_keys.extend(VerifierKey::parse(&ledger.head().log_vkey).ok());
        match verify_with(&options, Some(&mut Cold(Arc::clone(&archive)))) {
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
