//! The ledger beside the sealed files in the cold store, so that they can be verified from there:
//! full entry bundles and tiles, which never change, and the checkpoint that signs them.

use obs_ledger::Ledger;
use obs_proof::tile::{TILE_WIDTH, TileName};
use obs_types::{BlobError, BlobStore};

use crate::OpsError;

const FOLDER: &str = "receipts/observability";

/// How far the store has the ledger.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    /// Entry bundles in the store; `None` before it was asked.
    bundles: Option<u64>,
}

impl Mirror {
    /// Puts what is new; gives how many objects.
    pub(super) fn update(
        &mut self,
        ledger: &Ledger,
        store: &dyn BlobStore,
    ) -> Result<u64, OpsError> {
        let head = ledger.head();
        let full = head.size / TILE_WIDTH;
        let mut have = match self.bundles {
            Some(have) => have,
            None => store.list(&format!("{FOLDER}/tile/entries"))?.len() as u64,
        };
        let mut put = 0;
        while have < full {
            // Entries last: they are what is counted at the next start.
            for level in 0..8_u8 {
                let span = TILE_WIDTH.saturating_pow(u32::from(level));
                let done = have + 1;
                if !done.is_multiple_of(span) {
                    break;
                }
                let name = tile(Some(level), done / span - 1);
                if let Some(bytes) = ledger.tile(name) {
                    put += put_same(store, &format!("{FOLDER}/{}", name.path()), &bytes)?;
                }
            }
            let name = tile(None, have);
            if let Some(bytes) = ledger.entries(name)? {
                put += put_same(store, &format!("{FOLDER}/{}", name.path()), &bytes)?;
            }
            have += 1;
        }
        if put > 0 || self.bundles.is_none() {
            let name = format!("{FOLDER}/checkpoints/{:020}", head.size);
            put += put_same(store, &name, head.checkpoint.as_bytes())?;
        }
        self.bundles = Some(have);
        Ok(put)
    }
}

fn tile(level: Option<u8>, index: u64) -> TileName {
    TileName { level, index, width: u16::try_from(TILE_WIDTH).unwrap_or(u16::MAX) }
}

/// An object that is there must have these bytes; a checkpoint may have been signed anew.
fn put_same(store: &dyn BlobStore, name: &str, bytes: &[u8]) -> Result<u64, OpsError> {
    match store.put_new(name, bytes) {
        Ok(()) => Ok(1),
        Err(BlobError::Exists { .. }) if name.contains("/checkpoints/") => Ok(0),
        Err(BlobError::Exists { .. }) if store.get(name)? == bytes => Ok(0),
        Err(BlobError::Exists { .. }) => {
            Err(OpsError::Conflict(format!("{name} in the store is of another ledger")))
        }
        Err(e) => Err(e.into()),
    }
}
