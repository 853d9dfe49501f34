//! Reading and proving: receipts, proofs and tiles of what the newest checkpoint signs.

use obs_proof::Hash;
use obs_proof::tile::{TILE_WIDTH, TileName, write_entries};
use obs_proof::tlog_proof::TlogProof;
use obs_proof::vmproof::{ProvenRecord, VmProof};

use super::Ledger;
use crate::log::{self, Lines};
use crate::{LedgerError, tiles};

impl Ledger {
    /// Calls `f` with sequence number and line of every signed receipt from `from_seq` on, until
    /// it returns false. The lock is not held meanwhile.
    pub fn read(
        &self,
        from_seq: u64,
        f: &mut dyn FnMut(u64, &str) -> bool,
    ) -> Result<(), LedgerError> {
        let (start, end) = {
            let core = self.core();
            if from_seq >= core.committed.size {
                return Ok(());
            }
            let at = usize::try_from(from_seq).unwrap_or(usize::MAX);
            let start = core.log.state.offsets.get(at).copied();
            (start.unwrap_or(core.committed.end), core.committed.end)
        };
        let path = log::log_path(&self.config);
        let mut lines = Lines::range(&*self.config.disk, &path, start, end);
        let mut seq = from_seq;
        while let Some(line) = lines.next()? {
            if !f(seq, &String::from_utf8_lossy(&line)) {
                break;
            }
            seq += 1;
        }
        Ok(())
    }

    /// One receipt's line.
    pub fn line(&self, seq: u64) -> Result<String, LedgerError> {
        let mut found = None;
        self.read(seq, &mut |_seq, line| {
            found = Some(line.to_owned());
            false
        })?;
        let size = self.head().size;
        found.ok_or(LedgerError::NoSuchReceipt { seq, size })
    }

    /// Hashes from receipt `seq` up to the root of the newest checkpoint.
    pub fn inclusion_proof(&self, seq: u64) -> Result<Vec<Hash>, LedgerError> {
        let core = self.core();
        let size = core.committed.size;
        if seq >= size {
            return Err(LedgerError::NoSuchReceipt { seq, size });
        }
        Ok(core.log.state.tree.inclusion_proof(seq, size)?)
    }

    /// Hashes that show that the log of `old_size` receipts is the beginning of the newest one.
    pub fn consistency_proof(&self, old_size: u64) -> Result<Vec<Hash>, LedgerError> {
        let core = self.core();
        Ok(core.log.state.tree.consistency_proof(old_size, core.committed.size)?)
    }

    /// A C2SP tlog-proof file for one receipt: index, hashes, checkpoint. The checkpoint is the
    /// newest that witnesses have cosigned, if it covers the receipt, else the newest.
    pub fn tlog_proof(&self, seq: u64) -> Result<String, LedgerError> {
        let core = self.core();
        let committed = (core.committed.size, &core.committed.note);
        let cosigned = core.log.cosigned.as_ref().map(|c| (c.size, &c.note));
        let (size, note) = cosigned.filter(|(size, _note)| seq < *size).unwrap_or(committed);
        if seq >= size {
            return Err(LedgerError::NoSuchReceipt { seq, size });
        }
        let proof = TlogProof {
            extra: None,
            index: seq,
            hashes: core.log.state.tree.inclusion_proof(seq, size)?,
            checkpoint: note.clone(),
        };
        Ok(proof.to_string())
    }

    /// A proof file for a receipt, or for a record of the hour that it seals
    /// (`docs/format/vmproof.md`). `Err(ProofFile)` if the record is not one of that hour.
    pub fn proof_file(
        &self,
        seq: u64,
        record: Option<ProvenRecord>,
    ) -> Result<VmProof, LedgerError> {
        Ok(VmProof::new(record, &self.line(seq)?, &self.tlog_proof(seq)?)?)
    }

    /// Number of the receipt that speaks for a file: that seals it, or names it as a report or as
    /// the proof of an anchor; the newest, if that was said twice. `None` also while its
    /// checkpoint is not signed.
    pub fn seal_of(&self, storage_path: &str) -> Option<u64> {
        let core = self.core();
        let seq = core.log.state.files.get(storage_path).copied();
        seq.filter(|seq| *seq < core.committed.size)
    }

    /// A C2SP tile of the signed tree, for serving it; `None` if there is none of that name.
    pub fn tile(&self, name: TileName) -> Option<Vec<u8>> {
        let core = self.core();
        tiles::bytes(&core.log.state.tree, core.committed.size, name)
    }

    /// A C2SP entry bundle: 256 lines, or the first `name.width` of them; `None` if the signed log
    /// does not have as many.
    pub fn entries(&self, name: TileName) -> Result<Option<Vec<u8>>, LedgerError> {
        let width = u64::from(name.width);
        let Some(first) = name.index.checked_mul(TILE_WIDTH) else { return Ok(None) };
        let size = self.core().committed.size;
        let end = first.checked_add(width).filter(|end| *end <= size);
        if name.level.is_some() || width == 0 || width > TILE_WIDTH || end.is_none() {
            return Ok(None);
        }
        let mut lines: Vec<String> = Vec::new();
        self.read(first, &mut |_seq, line| {
            lines.push(line.to_owned());
            (lines.len() as u64) < width
        })?;
        let bytes: Vec<&[u8]> = lines.iter().map(|l| l.as_bytes()).collect();
        Ok(Some(write_entries(&bytes)?))
    }
}
