//! Which texts can occur in a chunk's lines: every word once, sorted, one per line.
//!
//! A word is a longest run of letters, digits, `_` and bytes over 127. A needle is cut the same
//! way: its inner words must be words of the chunk, its first and last may be the end and the
//! start of one, so the answer "cannot occur" is always right (no false negatives).

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use memchr::memmem;

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| !is_word(*b)).filter(|w| !w.is_empty())
}

/// Words are short and many; the standard hash costs more than all else here. A flood of words that
/// collide on purpose costs time in proportion to one chunk, which is bounded.
#[derive(Default)]
struct WordHasher(u64);

type WordHash = BuildHasherDefault<WordHasher>;

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((eight, tail)) = rest.split_first_chunk::<8>() {
            self.write_u64(u64::from_le_bytes(*eight));
            rest = tail;
        }
        let mut last = [0u8; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.write_u64(u64::from_le_bytes(last));
    }

    fn write_u64(&mut self, value: u64) {
        let folded = u128::from(self.0 ^ value) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (folded >> 64) as u64 ^ folded as u64;
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The dictionary of all lines: `\n` before, between and after the words.
pub(crate) fn build<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut all: HashSet<&[u8], WordHash> = HashSet::default();
    for line in lines {
        all.extend(words(line.as_bytes()));
    }
    let mut sorted: Vec<&[u8]> = all.into_iter().collect();
    sorted.sort_unstable();
    let mut out = vec![b'\n'];
    for word in sorted {
        out.extend_from_slice(word);
        out.push(b'\n');
    }
    out
}

/// The needle's fragments as they must occur in a dictionary.
#[derive(Clone, Debug)]
pub(crate) struct Needle(Vec<memmem::Finder<'static>>);

impl Needle {
    pub(crate) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut patterns = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            while bytes.get(at).is_some_and(|b| is_word(*b)) {
                at += 1;
            }
            if let Some(word) = bytes.get(start..at).filter(|w| !w.is_empty()) {
                let mut pattern = Vec::with_capacity(word.len() + 2);
                if start > 0 {
                    pattern.push(b'\n');
                }
                pattern.extend_from_slice(word);
                if at < bytes.len() {
                    pattern.push(b'\n');
                }
                patterns.push(memmem::Finder::new(&pattern).into_owned());
            }
            at += 1;
        }
        Self(patterns)
    }

    /// Whether a dictionary is worth reading: a needle of separators alone is in no word.
    pub(crate) fn prunes(&self) -> bool {
        !self.0.is_empty()
    }

    pub(crate) fn may_occur(&self, dictionary: &[u8]) -> bool {
        self.0.iter().all(|f| f.find(dictionary).is_some())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_their_parts() {
        let dictionary = build(["GET /api/users?id=42 é", "err: x_y"].into_iter());
        assert_eq!(dictionary, "\n42\nGET\napi\nerr\nid\nusers\nx_y\né\n".as_bytes());
        for (needle, may) in [
            ("sers?id=4", true),
            ("sers?id=42 ", true),
            ("sers?id=4 ", false),
            ("user/", false),
            ("pi/us", true),
            ("://", true),
            ("nope", false),
        ] {
            assert_eq!(Needle::new(needle).may_occur(&dictionary), may, "{needle}");
        }
    }

    proptest! {
        #[test]
        fn a_text_that_occurs_is_never_ruled_out(
            lines in proptest::collection::vec("[ab_ :é/\n]{0,12}", 1..6),
            pick in any::<prop::sample::Index>(),
            from in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
        ) {
            let dictionary = build(lines.iter().map(String::as_str));
            let line: Vec<char> = pick.get(&lines).chars().collect();
            let (a, b) = (from.index(line.len() + 1), to.index(line.len() + 1));
            let needle: String = line[a.min(b)..a.max(b)].iter().collect();
            prop_assert!(Needle::new(&needle).may_occur(&dictionary), "{needle:?}");
        }
    }
}
