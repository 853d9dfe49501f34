//! The configuration a server runs with, on record by its hash.

use obs_ledger::{ConfigChange, Ledger, Receipt};
use obs_types::{ContentHash, TimestampMs};
use serde_json::Value;

use crate::OpsError;
use crate::ids::DayIds;

/// Records the configuration if it is another than the last one on record (or the first). `texts`
/// are names and contents of everything that counts, in a fixed order. Gives the receipt's number.
pub fn record_config(
    ledger: &Ledger,
    operations: &DayIds,
    texts: &[(String, String)],
    summary: &str,
    now: TimestampMs,
) -> Result<Option<u64>, OpsError> {
    let mut bytes = Vec::new();
    for (name, text) in texts {
        for part in [name, text] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    let hash = ContentHash(obs_proof::hash::blake3_of(&bytes));
    let mut last: Option<ContentHash> = None;
    ledger.read(0, &mut |_seq, line| {
        if line.contains("\"type\":\"obs_config_change\"")
            && let Ok(receipt) = serde_json::from_str::<Value>(line)
            && receipt.get("subject").and_then(Value::as_str) == Some("config")
        {
            last = receipt.get("new_hash").and_then(Value::as_str).and_then(|h| h.parse().ok());
        }
        true
    })?;
    if last == Some(hash) {
        return Ok(None);
    }
    let sequence = ledger.append(vec![Receipt::config_change(ConfigChange {
        operation_id: operations.next(now),
        subject: "config".to_owned(),
        initiated_by: "did:vm:service:vm-obs".to_owned(),
        old_hash: last,
        new_hash: Some(hash),
        summary: summary.to_owned(),
    })])?;
    Ok(sequence.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::{FakeDisk, ManualClock};
    use obs_ledger::{LedgerConfig, LedgerMode};
    use std::sync::Arc;

    #[test]
    fn a_change_is_recorded_once_and_names_what_was_before() {
        let disk = Arc::new(FakeDisk::new());
        let clock = Arc::new(ManualClock::new(TimestampMs(1_765_029_600_000)));
        let ledger = Ledger::open(LedgerConfig::in_data_dir(
            "/data",
            disk,
            clock,
            "vm-obs.test/a/observability",
            LedgerMode::ReadWrite,
        ))
        .unwrap();
        let ids = DayIds::from_ledger(&ledger, "obs-op-", "operation_id").unwrap();
        let texts = |t: &str| vec![("vm-obs.yaml".to_owned(), t.to_owned())];
        let now = TimestampMs(1_765_029_600_000);
        let record = |t: &str| record_config(&ledger, &ids, &texts(t), "packs: host", now).unwrap();
        assert_eq!([record("a"), record("a"), record("b")], [Some(0), None, Some(1)]);
        let line: Value = serde_json::from_str(&ledger.line(1).unwrap()).unwrap();
        let first: Value = serde_json::from_str(&ledger.line(0).unwrap()).unwrap();
        assert_eq!(line["old_hash"], first["new_hash"]);
    }
}
