//! Records of a sealed file whose content was removed: their numbers and leaf hashes.
//!
//! A record has its number in the tree for good; the rows that are still there have a place among
//! themselves. This says which is which.

use obs_proof::Hash;

use crate::ArchiveError;
use crate::records::hex;

/// By record number, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Redactions(Vec<(u64, Hash)>);

impl Redactions {
    /// Numbers must ascend.
    pub(crate) fn push(&mut self, record: u64, leaf: Hash) {
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < record));
        self.0.push((record, leaf));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// The leaf hash of a record that is gone.
    pub(crate) fn leaf(&self, record: u64) -> Option<Hash> {
        let at = self.0.binary_search_by_key(&record, |(number, _)| *number).ok()?;
        self.0.get(at).map(|(_, leaf)| *leaf)
    }

    /// How many rows lie before a record.
    pub(crate) fn rows_before(&self, record: u64) -> u64 {
        record - self.0.partition_point(|(number, _)| *number < record) as u64
    }

    /// The number of the record in a row.
    pub(crate) fn record_in(&self, row: u64) -> u64 {
        let mut record = row;
        for (number, _) in &self.0 {
            if *number > record {
                break;
            }
            record += 1;
        }
        record
    }

    /// `3:<hex>,17:<hex>`
    pub(crate) fn text(&self) -> String {
        let parts: Vec<String> =
            self.0.iter().map(|(record, leaf)| format!("{record}:{}", hex(leaf))).collect();
        parts.join(",")
    }

    /// Reads what [`Redactions::text`] gave.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, ArchiveError> {
        let mut all = Self::default();
        for part in text.split(',') {
            let number = part.split_once(':').and_then(|(n, hash)| Some((n.parse().ok()?, hash)));
            let (record, hash) =
                number.filter(|(n, _)| all.0.last().is_none_or(|(last, _)| last < n)).ok_or_else(
                    || ArchiveError::corrupt(path, "its redacted records are not in order"),
                )?;
            let leaf = obs_proof::hash::hash_from_text("leaf hash", "", hash)
                .map_err(|e| ArchiveError::corrupt(path, e))?;
            all.0.push((record, leaf));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_and_records_find_each_other(
            gone in proptest::collection::btree_set(0_u64..60, 0..40),
            count in 60_u64..80,
        ) {
            let mut redactions = Redactions::default();
            for record in &gone {
                redactions.push(*record, [*record as u8; 32]);
            }
            let there: Vec<u64> = (0..count).filter(|r| !gone.contains(r)).collect();
            for (row, record) in there.iter().enumerate() {
                prop_assert_eq!(redactions.record_in(row as u64), *record);
                prop_assert_eq!(redactions.rows_before(*record), row as u64);
                prop_assert_eq!(redactions.leaf(*record), None);
            }
            prop_assert!(gone.iter().all(|r| redactions.leaf(*r) == Some([*r as u8; 32])));
            if !gone.is_empty() {
                prop_assert_eq!(Redactions::parse("p", &redactions.text()).unwrap(), redactions);
            }
        }
    }

    #[test]
    fn what_is_not_in_order_is_refused() {
        let hash = "00".repeat(32);
        for text in ["", "1", "x:00", &format!("1:{hash},1:{hash}"), &format!("2:{hash},1:{hash}")]
        {
            assert!(Redactions::parse("p", text).is_err(), "{text}");
        }
    }
}
