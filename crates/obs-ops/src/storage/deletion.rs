//! What the policy deletes, and what it keeps of an hour longer.

use obs_archive::{SealName, Signal, Step, Tier};
use obs_ledger::{Collection, DeletedFile, Receipt, Retention, SealLink, SealRelation};
use obs_types::{DurationMs, TimestampMs};

use super::catalog::KEPT_REASON;
use super::service::{Done, STEP_FILES, StorageService};
use crate::OpsError;

/// Files of one receipt: bounds its line, and what is done again after a crash.
pub(super) const BATCH_FILES: usize = 32;

impl StorageService {
    /// Deletions that need no store: of local files, and of what is reduced already.
    pub(super) fn delete_due(
        &self,
        steps: &[Step],
        now: TimestampMs,
        done: &mut Done,
    ) -> Result<(), OpsError> {
        let reduced: Vec<SealName> = {
            let state = self.lock();
            state.catalog.entries().filter(|e| e.reduced).map(|e| e.name).collect()
        };
        self.delete_all(&reduced, "errors are kept longer", KEPT_REASON, now, done)?;
        for signal in Signal::ALL {
            let mut due: Vec<(SealName, DurationMs)> = steps
                .iter()
                .filter_map(|step| match step {
                    Step::Delete { name, age } if name.signal == signal => Some((*name, *age)),
                    _ => None,
                })
                .filter(|(name, _age)| {
                    let entry = self.entry(*name);
                    entry.is_some_and(|e| e.tier == Tier::Warm || self.store().is_some())
                })
                .take(STEP_FILES)
                .collect();
            due.sort_by_key(|(name, age)| (*age, *name));
            for same_rule in due.chunk_by(|a, b| a.1 == b.1) {
                let names: Vec<SealName> = same_rule.iter().map(|(name, _)| *name).collect();
                let age = same_rule.first().map_or(DurationMs(0), |(_, age)| *age);
                let rule = format!("{signal}: {}", age_text(age));
                self.delete_all(&names, &rule, "older than the policy keeps", now, done)?;
            }
        }
        Ok(())
    }

    /// 1. What is kept becomes a sealed file. 2. Its receipt, which supersedes the hour's, and the
    ///    receipt of the deletion. 3. Readers change over. 4. The old files go.
    pub(super) fn reduce(
        &self,
        hour: &[SealName],
        age: DurationMs,
        now: TimestampMs,
        done: &mut Done,
    ) -> Result<(), OpsError> {
        let s = &self.settings;
        let Some(first) = hour.first().and_then(|name| self.entry(*name)) else { return Ok(()) };
        // Whoever seals late data of the hour writes its next revision, too: another time, then.
        let Some(_held) = s.archive.hold(first.name.signal, first.name.hour) else { return Ok(()) };
        if self.waits_for_receipt(first.name) {
            return Ok(());
        }
        let seal = s.archive.extract_errors(hour).map_err(OpsError::Storage)?;
        let link = SealLink {
            relation: SealRelation::Supersedes,
            content_hash: first.content_hash,
            reason: KEPT_REASON.to_owned(),
        };
        let mut receipts = crate::seal::receipts(&seal, Collection::default(), Some(link), None);
        let rule = format!("{}: {}", first.name.signal, age_text(age));
        receipts.push(self.retention(hour, &rule, KEPT_REASON, now));
        if let Err(e) = s.ledger.append(receipts) {
            // Without a receipt it is no seal; the next attempt writes it again.
            for path in [seal.storage_path.clone(), seal.name.tree_path()] {
                s.disk.remove(&s.data_dir.join(path)).ok();
            }
            return Err(e.into());
        }
        s.archive.replace(hour, Some(seal.name));
        done.kept.push(seal.storage_path);
        self.freed(hour, done);
        self.settle()
    }

    /// Whether the hour has a file without a receipt. Such an hour is reduced when that file is on
    /// record: the next start would remove it, and the revisions that follow would miss it.
    pub(super) fn waits_for_receipt(&self, of: SealName) -> bool {
        let mut sealed = self.settings.archive.sealed(of.signal).into_iter();
        sealed.any(|name| name.hour == of.hour && self.entry(name).is_none())
    }

    /// 1. Receipt. 2. Readers forget the files. 3. The files go.
    pub(super) fn delete_all(
        &self,
        names: &[SealName],
        rule: &str,
        reason: &str,
        now: TimestampMs,
        done: &mut Done,
    ) -> Result<(), OpsError> {
        let mut names = names.to_vec();
        names.sort();
        for signal in names.chunk_by(|a, b| a.signal == b.signal) {
            for batch in signal.chunks(BATCH_FILES) {
                self.settings.ledger.append(vec![self.retention(batch, rule, reason, now)])?;
                self.settings.archive.replace(batch, None);
                self.freed(batch, done);
                self.settle()?;
            }
        }
        Ok(())
    }

    fn freed(&self, names: &[SealName], done: &mut Done) {
        for entry in names.iter().filter_map(|name| self.entry(*name)) {
            done.bytes_freed += entry.content_bytes;
            done.deleted.push(entry.name.storage_path());
        }
    }

    fn retention(&self, names: &[SealName], rule: &str, reason: &str, now: TimestampMs) -> Receipt {
        let stream = names.first().map_or("", |name| name.signal.as_str());
        let deleted = names
            .iter()
            .filter_map(|name| self.entry(*name))
            .map(|e| DeletedFile {
                storage_path: e.name.storage_path(),
                content_hash: e.content_hash,
            })
            .collect();
        Receipt::retention(Retention {
            operation_id: self.settings.operations.next(now),
            stream: stream.to_owned(),
            policy: rule.to_owned(),
            reason: reason.to_owned(),
            deleted,
        })
    }
}

/// `30d`, or hours where it is not whole days.
pub(super) fn age_text(age: DurationMs) -> String {
    let hours = age.0 / DurationMs::HOUR.0;
    match hours % 24 {
        0 => format!("{}d", hours / 24),
        _ => format!("{hours}h"),
    }
}
