use obs_types::TraceId;

/// Says for sure that a trace is not in a block; about one percent of other answers are wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bloom {
    words: Vec<u64>,
}

const BITS_PER_TRACE: usize = 10;
const HASHES: u64 = 7;

impl Bloom {
    pub(crate) fn new(count: usize) -> Self {
        Self { words: vec![0; (count * BITS_PER_TRACE).div_ceil(64).max(1)] }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        (rest.is_empty() && !words.is_empty())
            .then(|| Self { words: words.iter().map(|w| u64::from_le_bytes(*w)).collect() })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    pub(crate) fn insert(&mut self, id: TraceId) {
        for bit in bits(id, self.words.len()) {
            if let Some(word) = self.words.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
    }

    pub(crate) fn may_contain(&self, id: TraceId) -> bool {
        bits(id, self.words.len())
            .all(|bit| self.words.get(bit / 64).is_some_and(|w| w >> (bit % 64) & 1 == 1))
    }
}

fn bits(id: TraceId, words: usize) -> impl Iterator<Item = usize> {
    let id = u128::from_be_bytes(id.0);
    // Ids should be random, but counters and padded 64-bit ids exist.
    let a = mix((id >> 64) as u64 ^ mix(id as u64));
    let b = mix(a ^ 0x9e37_79b9_7f4a_7c15) | 1;
    let count = words.max(1) as u64 * 64;
    (0..HASHES).map(move |i| (a.wrapping_add(b.wrapping_mul(i)) % count) as usize)
}

/// The finaliser of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_and_errs_rarely() {
        let id = |n: u128| TraceId(n.to_be_bytes());
        let mut bloom = Bloom::new(10_000);
        (0..10_000).for_each(|n| bloom.insert(id(n)));
        let bloom = Bloom::from_bytes(&bloom.to_bytes()).unwrap();
        assert!((0..10_000).all(|n| bloom.may_contain(id(n))));
        let wrong = (10_000..20_000).filter(|n| bloom.may_contain(id(*n))).count();
        assert!(wrong < 300, "{wrong} of 10000");
    }
}
