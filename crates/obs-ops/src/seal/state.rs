//! What the ledger says of hours and sealed files.

use std::collections::BTreeMap;

use obs_archive::{Hour, Seal, SealName, Signal};
use obs_ledger::{OutsideChain, SealLink, SealRelation};
use obs_types::{ContentHash, TimestampMs};
use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Per stream: the end of the last recorded hour.
    pub(super) recorded_until: BTreeMap<Signal, i64>,
    /// Per stream: where its record begins, and the number of the receipt that says so.
    begins: BTreeMap<Signal, (i64, u64)>,
    /// Per file: its hash, for revisions that refer to it. Deleted files stay in it.
    hashes: BTreeMap<String, ContentHash>,
    /// Declared gaps: stream, start, end, number of the receipt; oldest first.
    gaps: Vec<(Signal, i64, i64, u64)>,
    /// Files that are durable and whose receipt the ledger refused, oldest first.
    pub(super) unrecorded: Vec<Seal>,
    /// Per stream: before this all that the engines hold is on record.
    pub(super) released: BTreeMap<Signal, TimestampMs>,
    /// Hours that could not be sealed when they were last tried, and why.
    pub(super) failing: BTreeMap<(Signal, Hour), String>,
    /// Times that happened.
    pub(super) failures: u64,
    /// Hours of which data was let go because they are deleted on record.
    pub(super) let_go: u64,
}

impl State {
    pub(super) fn learn(&mut self, receipt: &Value) {
        let text = |name: &str| receipt.get(name).and_then(Value::as_str);
        if let (Some(path), Some(hash)) = (text("storage_path"), text("content_hash"))
            && let Ok(hash) = hash.parse()
        {
            self.hashes.insert(path.to_owned(), hash);
        }
        let stream = text("stream")
            .and_then(|s| Signal::ALL.into_iter().find(|signal| signal.as_str() == s));
        let time = |pointer: &str| {
            let text = receipt.pointer(pointer).and_then(Value::as_str);
            text.and_then(|t| t.parse::<jiff::Timestamp>().ok()).map(|t| t.as_millisecond())
        };
        let period = time("/period/start").zip(time("/period/end"));
        let number = receipt.get("seq").and_then(Value::as_u64);
        if let (Some(stream), Some(period), Some(number)) = (stream, period, number) {
            self.cover(stream, period, number);
            if text("type") == Some("obs_gap") {
                self.gaps.push((stream, period.0, period.1, number));
            }
        }
    }

    /// A receipt speaks for a period.
    fn cover(&mut self, stream: Signal, (start, end): (i64, i64), number: u64) {
        self.begins.entry(stream).or_insert((start, number));
        let until = self.recorded_until.entry(stream).or_insert(i64::MIN);
        *until = (*until).max(end);
    }

    pub(super) fn recorded(&mut self, seal: &Seal, number: u64) {
        self.cover(seal.signal(), (seal.hour().start().0, seal.hour().end().0), number);
        self.hashes.insert(seal.storage_path.clone(), seal.content_hash);
        self.failing.remove(&(seal.signal(), seal.hour()));
    }

    pub(super) fn declared(&mut self, stream: Signal, period: (i64, i64), number: u64) {
        self.cover(stream, period, number);
        self.gaps.push((stream, period.0, period.1, number));
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.hashes.keys().map(String::as_str)
    }

    /// Whether the hour has, or once had, a seal on record.
    pub(super) fn on_record(&self, signal: Signal, hour: Hour) -> bool {
        self.hashes.contains_key(&SealName::new(signal, hour, 0).storage_path())
    }

    /// Whether a file of the hour waits for its receipt.
    pub(super) fn waits(&self, signal: Signal, hour: Hour) -> bool {
        self.unrecorded.iter().any(|s| (s.signal(), s.hour()) == (signal, hour))
    }

    pub(super) fn gaps_of(&self, signal: Signal) -> Vec<(i64, i64)> {
        let of_signal = self.gaps.iter().filter(|(s, ..)| *s == signal);
        of_signal.map(|(_, start, end, _)| (*start, *end)).collect()
    }

    /// Where the record of a stream begins.
    pub(super) fn begin(&self, signal: Signal) -> Option<i64> {
        self.begins.get(&signal).map(|(start, _number)| *start)
    }

    /// Whether the hour may have a first seal although the record has gone on: it lies in a
    /// declared gap, or before the record.
    pub(super) fn outside(&self, signal: Signal, hour: Hour) -> Option<OutsideChain> {
        let (start, end) = (hour.start().0, hour.end().0);
        let covers = |g: &&(Signal, i64, i64, u64)| g.0 == signal && g.1 <= start && end <= g.2;
        if let Some((.., number)) = self.gaps.iter().find(covers) {
            return Some(OutsideChain::FillsGap(*number));
        }
        let (begin, number) = *self.begins.get(&signal)?;
        (end <= begin).then_some(OutsideChain::Precedes(number))
    }

    /// What a later revision says of the hour's first seal.
    pub(super) fn link(&self, seal: &Seal) -> Option<SealLink> {
        if seal.revision() == 0 {
            return None;
        }
        let first = SealName::new(seal.signal(), seal.hour(), 0).storage_path();
        self.hashes.get(&first).map(|hash| SealLink {
            relation: SealRelation::Supplements,
            content_hash: *hash,
            reason: "late data".to_owned(),
        })
    }
}
