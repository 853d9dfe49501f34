use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::receipts::type_of_line;

/// Receipts by type, counted as the log grows: each line is looked at once.
#[derive(Debug, Default)]
pub struct ReceiptCounts {
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Sequence number of the first line that is not counted yet.
    next: u64,
    by_type: BTreeMap<String, u64>,
}

impl ReceiptCounts {
    /// Counts the lines that came since the last call; `read` hands out lines from a sequence
    /// number on. O(new lines). When `read` fails, what it gave before stays counted.
    pub fn update<E>(
        &self,
        read: impl FnOnce(u64, &mut dyn FnMut(u64, &str) -> bool) -> Result<(), E>,
    ) -> Result<BTreeMap<String, u64>, E> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let from = counted.next;
        read(from, &mut |seq, line| {
            if let Some(kind) = type_of_line(line) {
                *counted.by_type.entry(kind.into_owned()).or_default() += 1;
            }
            counted.next = seq + 1;
            true
        })?;
        Ok(counted.by_type.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn each_line_is_read_once() {
        let counts = ReceiptCounts::default();
        let lines: Vec<String> = (0..5)
            .map(|i| format!(r#"{{"type":"{}"}}"#, if i < 3 { "obs_gap" } else { "obs_silence" }))
            .collect();
        let mut read = 0;
        for end in [2_usize, 5, 5] {
            let found = counts
                .update(|from, take| {
                    for (seq, line) in lines.iter().enumerate().take(end) {
                        if seq as u64 >= from {
                            read += 1;
                            take(seq as u64, line);
                        }
                    }
                    Ok::<(), Infallible>(())
                })
                .unwrap();
            assert_eq!(found.values().sum::<u64>(), end as u64);
        }
        assert_eq!(read, 5);
    }
}
