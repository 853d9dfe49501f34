//! Label pairs by number: how blocks and head snapshots write label sets.
//!
//! Encoding: number of label names; the names, each with its length; then pairs to the end: number
//! of the name, value with length. Names and pairs are numbered from 0 in the order of first use.

use std::collections::HashMap;

use obs_disk::bytes::{Reader, put_bytes, put_u64};
use obs_types::LabelSet;

/// Gives pairs their numbers.
#[derive(Debug, Default)]
pub(crate) struct PairWriter {
    names: HashMap<Box<str>, usize>,
    /// Per name the pairs by value.
    values: Vec<HashMap<Box<str>, u32>>,
    name_bytes: Vec<u8>,
    pair_bytes: Vec<u8>,
    count: u32,
}

impl PairWriter {
    /// Appends the numbers of a set's pairs.
    pub(crate) fn put(&mut self, labels: &LabelSet, out: &mut Vec<u32>) {
        out.extend(labels.iter().map(|(name, value)| self.number(name, value)));
    }

    /// The number of a pair.
    pub(crate) fn number(&mut self, name: &str, value: &str) -> u32 {
        let name = match self.names.get(name) {
            Some(number) => *number,
            None => {
                let number = self.values.len();
                self.names.insert(name.into(), number);
                self.values.push(HashMap::new());
                put_bytes(&mut self.name_bytes, name.as_bytes());
                number
            }
        };
        let known = self.values.get(name).and_then(|values| values.get(value));
        if let Some(known) = known {
            return *known;
        }
        let number = self.count;
        if let Some(values) = self.values.get_mut(name) {
            values.insert(value.into(), number);
        }
        put_u64(&mut self.pair_bytes, name as u64);
        put_bytes(&mut self.pair_bytes, value.as_bytes());
        self.count += 1;
        number
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.name_bytes.len() + self.pair_bytes.len() + 8);
        put_u64(&mut out, self.values.len() as u64);
        out.extend_from_slice(&self.name_bytes);
        out.extend_from_slice(&self.pair_bytes);
        out
    }
}

/// Pairs read back.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    /// Each as a label set encodes it, end to end.
    encoded: Vec<u8>,
    ends: Vec<usize>,
}

impl Pairs {
    /// `None` if the bytes do not decode. Calls `each` for every pair in the order of numbers.
    pub(crate) fn parse<'a>(raw: &'a [u8], mut each: impl FnMut(&'a str, &'a str)) -> Option<Self> {
        let mut r = Reader::new(raw);
        let count = r.count()?;
        let names: Vec<&str> = (0..count).map(|_| r.str()).collect::<Option<_>>()?;
        let mut out = Self::default();
        while !r.rest.is_empty() {
            let name: &str = names.get(r.usize()?)?;
            let value = r.str()?;
            for text in [name, value] {
                out.encoded.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
                out.encoded.extend_from_slice(text.as_bytes());
            }
            out.ends.push(out.encoded.len());
            each(name, value);
        }
        Some(out)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.encoded.len()
    }

    fn get(&self, pair: u32) -> Option<&[u8]> {
        let at = pair as usize;
        let begin = if at == 0 { 0 } else { *self.ends.get(at - 1)? };
        self.encoded.get(begin..*self.ends.get(at)?)
    }

    /// Hash of the label set of these pairs; `buffer` is scratch.
    pub(crate) fn stable_hash(&self, pairs: &[u32], buffer: &mut Vec<u8>) -> Option<u64> {
        buffer.clear();
        for pair in pairs {
            buffer.extend_from_slice(self.get(*pair)?);
        }
        Some(LabelSet::hash_of_bytes(buffer))
    }

    pub(crate) fn labels(&self, pairs: &[u32]) -> Option<LabelSet> {
        let mut raw = Vec::with_capacity(pairs.len() * 24);
        for pair in pairs {
            raw.extend_from_slice(self.get(*pair)?);
        }
        LabelSet::from_bytes(&raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_come_back() {
        let sets = [
            LabelSet::from_pairs([("a", "1"), ("b", "2")]),
            LabelSet::from_pairs([("a", "1"), ("c", "1")]),
            LabelSet::empty(),
        ];
        let mut writer = PairWriter::default();
        let numbers: Vec<Vec<u32>> = sets
            .iter()
            .map(|labels| {
                let mut out = Vec::new();
                writer.put(labels, &mut out);
                out
            })
            .collect();
        assert_eq!(numbers, [vec![0, 1], vec![0, 2], vec![]]);
        let bytes = writer.encode();
        let mut texts = Vec::new();
        let pairs = Pairs::parse(&bytes, |n, v| texts.push((n, v))).unwrap();
        assert_eq!(texts, [("a", "1"), ("b", "2"), ("c", "1")]);
        for (labels, numbers) in sets.iter().zip(&numbers) {
            assert_eq!(pairs.labels(numbers).as_ref(), Some(labels));
        }
        assert!(pairs.labels(&[3]).is_none());
        for cut in [1, 4, bytes.len() - 1] {
            assert!(Pairs::parse(&bytes[..cut], |_, _| ()).is_none(), "cut at {cut}");
        }
    }
}
