//! Seals: continuity of the hours of each stream, and which files they speak for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Code, Finding, SealedFile, SealedHours, VerifyOptions, VerifyReport};
use crate::checkpoint::parse_decimal;
use crate::hash::hash_from_text;
use crate::members::Members;
use crate::time::{format_rfc3339, parse_rfc3339};

/// What the receipts say about hours and files, gathered while the log is read.
#[derive(Debug, Default)]
pub(super) struct Seals {
    pub(super) files: Vec<SealedFile>,
    streams: BTreeMap<String, Stream>,
    /// Stream, period and revision of every seal, with its content hash.
    known: BTreeMap<(String, i64, i64, u64), String>,
    /// The place in `files` of what has a record tree, by content hash.
    by_hash: BTreeMap<String, usize>,
    /// Number, stream and period of the declared gaps.
    gaps: BTreeMap<u64, (String, (i64, i64))>,
    /// Path and hash of what retention says it deleted, or a newer seal replaced.
    pub(super) deleted: BTreeSet<(String, String)>,
    pub(super) superseded: BTreeSet<String>,
    /// Path and hash of what was moved to a cold store, with the store's address.
    pub(super) moved: BTreeMap<(String, String), String>,
}

#[derive(Debug)]
struct Stream {
    /// Number of the receipt with which it begins.
    first: u64,
    from: i64,
    until: i64,
    seals: u64,
    holes: Vec<Hole>,
}

#[derive(Debug)]
struct Hole {
    from: i64,
    until: i64,
    seq: u64,
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

fn period_of(object: &Map<String, Value>) -> Option<(i64, i64)> {
    let period = object.get("period")?.as_object()?;
    let start = parse_rfc3339(text(period, "start")?)?;
    let end = parse_rfc3339(text(period, "end")?)?;
    (start < end).then_some((start, end))
}

/// Members by which receipts of other types name a file.
const FILE_MEMBERS: [&str; 2] = ["report_path", "proof_path"];

impl Seals {
    /// Whether [`Seals::receipt`] has anything to take note of.
    pub(super) fn reads(kind: &str, members: &Members<'_>) -> bool {
        matches!(
            kind,
            "obs_metric_snapshot"
                | "obs_log_batch"
                | "obs_trace_batch"
                | "obs_reseal"
                | "obs_gap"
                | "obs_retention"
                | "obs_tier_move"
        ) || FILE_MEMBERS.iter().any(|name| members.has(name))
    }

    /// Takes note of one receipt; `timestamp` is its own, if it has a readable one.
    pub(super) fn receipt(
        &mut self,
        object: &Map<String, Value>,
        seq: u64,
        timestamp: Option<i64>,
        report: &mut VerifyReport,
    ) {
        match text(object, "type").unwrap_or_default() {
            "obs_metric_snapshot" | "obs_log_batch" | "obs_trace_batch" => {
                self.seal(object, seq, timestamp, report);
            }
            "obs_reseal" => self.reseal(object, seq, report),
            "obs_gap" => {
                let stream = text(object, "stream").unwrap_or_default();
                match period_of(object) {
                    Some(period) if !stream.is_empty() => {
                        report.add(
                            Finding::new(
                                Code::DeclaredGap,
                                format!(
                                    "{stream} {} .. {}: {}",
                                    format_rfc3339(period.0),
                                    format_rfc3339(period.1),
                                    text(object, "reason").unwrap_or("no reason given")
                                ),
                            )
                            .seq(seq),
                        );
                        self.cover(stream, period, seq, false, report);
                        self.gaps.insert(seq, (stream.to_owned(), period));
                    }
                    _ => report.add(incomplete(seq, "a gap without stream or period")),
                }
            }
            "obs_retention" => {
                let deleted = object.get("deleted").and_then(Value::as_array);
                for item in deleted.into_iter().flatten().filter_map(Value::as_object) {
                    if let (Some(path), Some(hash)) =
                        (text(item, "path"), text(item, "content_hash"))
                    {
                        self.deleted.insert((path.to_owned(), hash.to_owned()));
                    }
                }
            }
            "obs_tier_move" => {
                let store = text(object, "store").unwrap_or_default();
                let moved = object.get("moved").and_then(Value::as_array);
                for item in moved.into_iter().flatten().filter_map(Value::as_object) {
                    if let (Some(path), Some(hash)) =
                        (text(item, "path"), text(item, "content_hash"))
                    {
                        self.moved.insert((path.to_owned(), hash.to_owned()), store.to_owned());
                    }
                }
            }
            _ => {
                // A report, or the proof of an anchor.
                let path = FILE_MEMBERS.iter().find_map(|name| text(object, name));
                if let (Some(path), Some(hash)) = (path, text(object, "content_hash")) {
                    self.files.push(SealedFile {
                        seq,
                        path: path.to_owned(),
                        content_hash: hash.to_owned(),
                        content_bytes: None,
                        stream: None,
                        hour: None,
                        leaf: None,
                        record_count: None,
                        record_root: None,
                        redacted: 0,
                        period: period_of(object),
                    });
                }
            }
        }
    }

    fn seal(
        &mut self,
        object: &Map<String, Value>,
        seq: u64,
        timestamp: Option<i64>,
        report: &mut VerifyReport,
    ) {
        let (Some(stream), Some(period), Some(path), Some(hash)) = (
            text(object, "stream"),
            period_of(object),
            text(object, "storage_path"),
            text(object, "content_hash"),
        ) else {
            report.add(incomplete(
                seq,
                "a seal without stream, period, storage_path or content_hash",
            ));
            return;
        };
        if timestamp.is_some_and(|t| t < period.1) {
            report.add(
                Finding::new(Code::SealedTooEarly, format!("{stream}: before its period was over"))
                    .seq(seq),
            );
        }
        let rev = object.get("rev").map_or(Some(0), Value::as_u64);
        let Some(rev) = rev else {
            report.add(incomplete(seq, "a seal whose rev is not a number"));
            return;
        };
        let key = (stream.to_owned(), period.0, period.1, rev);
        if let Some(before) = self.known.get(&key) {
            let same_path = self.files.iter().any(|f| f.path == path);
            // After a failed append a writer may have had to say the same thing again.
            let finding = match before == hash && same_path {
                true => Finding::new(Code::RepeatedSeal, format!("{stream}: the same seal again")),
                false => Finding::new(
                    Code::DuplicateSeal,
                    format!("{stream} revision {rev} is sealed twice, with different content"),
                ),
            };
            report.add(finding.seq(seq).path(path));
            return;
        }
        if rev == 0 && object.contains_key("fills_gap") {
            self.check_filled(object, stream, period, seq, report);
        } else if rev == 0 && object.contains_key("precedes") {
            self.check_preceding(object, stream, period, seq, report);
        } else if rev == 0 {
            self.cover(stream, period, seq, true, report);
        } else {
            self.check_link(object, &key, seq, report);
        }
        self.known.insert(key, hash.to_owned());
        self.add(sealed_file(object, seq, stream, period, path, hash));
    }

    fn add(&mut self, file: SealedFile) {
        self.by_hash.insert(file.content_hash.clone(), self.files.len());
        self.files.push(file);
    }

    /// Another file with the record tree of an earlier one: the same records encoded anew, some of
    /// them perhaps without their content. It takes the earlier one's place.
    fn reseal(&mut self, object: &Map<String, Value>, seq: u64, report: &mut VerifyReport) {
        let rev = object.get("rev").and_then(Value::as_u64).filter(|rev| *rev > 0);
        let (Some(stream), Some(period), Some(rev), Some(path), Some(hash), Some(redacted)) = (
            text(object, "stream"),
            period_of(object),
            rev,
            text(object, "storage_path"),
            text(object, "content_hash"),
            text(object, "redacted").and_then(parse_decimal),
        ) else {
            let detail =
                "a reseal without stream, period, rev, storage_path, content_hash or redacted";
            return report.add(incomplete(seq, detail));
        };
        let key = (stream.to_owned(), period.0, period.1, rev);
        if self.known.contains_key(&key) {
            let detail = format!("{stream} revision {rev} is there already");
            return report.add(Finding::new(Code::DuplicateSeal, detail).seq(seq).path(path));
        }
        let file = SealedFile { redacted, ..sealed_file(object, seq, stream, period, path, hash) };
        let replaced = object.get("replaces").and_then(Value::as_object);
        let replaced = replaced.and_then(|r| text(r, "content_hash"));
        let old = replaced.and_then(|h| self.by_hash.get(h)).and_then(|at| self.files.get(*at));
        let old = old.filter(|f| (f.stream.as_deref(), f.period) == (Some(stream), Some(period)));
        let reason = text(object, "reason").filter(|r| !r.is_empty());
        match (old, reason) {
            (Some(old), Some(reason)) => {
                let of = |f: &SealedFile| (f.record_count, f.record_root, f.leaf.clone());
                let count = file.record_count.unwrap_or(0);
                if of(old) != of(&file) || redacted < old.redacted || redacted > count {
                    let detail = "its records are not those of the seal that it replaces";
                    let finding = Finding::new(Code::RecordsMismatch, detail);
                    report.add(finding.seq(seq).path(path));
                } else if redacted > old.redacted {
                    let n = redacted - old.redacted;
                    let finding = Finding::new(Code::Redacted, reason).count(n);
                    report.add(finding.seq(seq).path(path));
                }
                let old = old.content_hash.clone();
                self.superseded.insert(old);
            }
            _ => {
                let detail =
                    format!("{stream} revision {rev} replaces no seal of its hour, or no reason");
                report.add(Finding::new(Code::SealLinkBroken, detail).seq(seq));
            }
        }
        self.known.insert(key, hash.to_owned());
        self.add(file);
    }

    /// The seal of an hour in a declared gap must name that gap, and say why.
    fn check_filled(
        &mut self,
        object: &Map<String, Value>,
        stream: &str,
        (start, end): (i64, i64),
        seq: u64,
        report: &mut VerifyReport,
    ) {
        let named = text(object, "fills_gap").and_then(|n| n.parse().ok());
        let gap = named.and_then(|n: u64| self.gaps.get(&n));
        let within = gap.is_some_and(|(s, (from, to))| s == stream && *from <= start && end <= *to);
        if !within || text(object, "reason").is_none_or(str::is_empty) {
            let detail =
                format!("{stream}: names no declared gap that covers its hour, or no reason");
            report.add(Finding::new(Code::SealLinkBroken, detail).seq(seq));
        } else if let Some(s) = self.streams.get_mut(stream) {
            s.seals += 1;
        }
    }

    /// The seal of an hour before the record of its stream must name the receipt with which that
    /// begins, and say why.
    fn check_preceding(
        &mut self,
        object: &Map<String, Value>,
        stream: &str,
        (_start, end): (i64, i64),
        seq: u64,
        report: &mut VerifyReport,
    ) {
        let named: Option<u64> = text(object, "precedes").and_then(|n| n.parse().ok());
        let reason = text(object, "reason").is_some_and(|r| !r.is_empty());
        match self.streams.get_mut(stream) {
            Some(s) if named == Some(s.first) && end <= s.from && reason => s.seals += 1,
            _ => {
                let detail = format!(
                    "{stream}: does not end before the receipt that it names as the first, or no reason"
                );
                report.add(Finding::new(Code::SealLinkBroken, detail).seq(seq));
            }
        }
    }

    /// A later revision must name an earlier seal of the same hour, and say why.
    fn check_link(
        &mut self,
        object: &Map<String, Value>,
        key: &(String, i64, i64, u64),
        seq: u64,
        report: &mut VerifyReport,
    ) {
        let supersedes = text(object, "supersedes");
        let named = supersedes.or_else(|| text(object, "supplements"));
        let (stream, start, end, rev) = key;
        let earlier = (stream.clone(), *start, *end, 0)..(stream.clone(), *start, *end, *rev);
        let found =
            named.is_some_and(|hash| self.known.range(earlier).any(|(_, known)| known == hash));
        if !found || text(object, "reason").is_none_or(str::is_empty) {
            report.add(
                Finding::new(
                    Code::SealLinkBroken,
                    format!(
                        "{stream} revision {rev} names no earlier seal of its hour, or no reason"
                    ),
                )
                .seq(seq),
            );
        } else if let Some(hash) = supersedes {
            self.superseded.insert(hash.to_owned());
        }
    }

    /// Hours are covered in order: each begins where the one before ended.
    fn cover(
        &mut self,
        stream: &str,
        (from, until): (i64, i64),
        seq: u64,
        sealed: bool,
        report: &mut VerifyReport,
    ) {
        let s = self.streams.entry(stream.to_owned()).or_insert_with(|| Stream {
            first: seq,
            from,
            until: from,
            seals: 0,
            holes: Vec::new(),
        });
        if from > s.until {
            s.holes.push(Hole { from: s.until, until: from, seq });
        } else if from < s.until {
            report.add(
                Finding::new(
                    Code::DuplicateSeal,
                    format!(
                        "{stream} from {} on overlaps what is covered until {}",
                        format_rfc3339(from),
                        format_rfc3339(s.until)
                    ),
                )
                .seq(seq),
            );
        }
        s.until = s.until.max(until);
        s.seals += u64::from(sealed);
    }

    /// Reports hours that nothing speaks for, within what the options ask about.
    pub(super) fn check_hours(&self, options: &VerifyOptions, report: &mut VerifyReport) {
        let (from, to) = (options.from.unwrap_or(i64::MIN), options.to.unwrap_or(i64::MAX));
        let mut gap = |stream: &str, start: i64, end: i64, seq: Option<u64>| {
            let mut finding = Finding::new(
                Code::PeriodGap,
                format!(
                    "{stream} {} .. {} is neither sealed nor a declared gap",
                    format_rfc3339(start),
                    format_rfc3339(end)
                ),
            );
            finding.seq = seq;
            report.add(finding);
        };
        for (name, s) in &self.streams {
            for hole in &s.holes {
                if hole.from < to && hole.until > from {
                    gap(name, hole.from, hole.until, Some(hole.seq));
                }
            }
            if let Some(from) = options.from.filter(|f| *f < s.from) {
                gap(name, from, s.from, None);
            }
            if let Some(until) = options.expect_until.filter(|u| *u > s.until) {
                gap(name, s.until, until, None);
            }
        }
        if self.streams.is_empty() && (options.expect_until.is_some() || options.from.is_some()) {
            let detail = "hours were asked for, and no stream has a seal";
            report.add(Finding::new(Code::PeriodGap, detail));
        }
        report.hours = self
            .streams
            .iter()
            .map(|(stream, s)| SealedHours {
                stream: stream.clone(),
                from: s.from,
                until: s.until,
                seals: s.seals,
            })
            .collect();
    }

    /// Whether any receipt speaks for a file.
    pub(super) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }
}

/// The file of a seal or a reseal, as its receipt describes it.
fn sealed_file(
    object: &Map<String, Value>,
    seq: u64,
    stream: &str,
    period: (i64, i64),
    path: &str,
    hash: &str,
) -> SealedFile {
    let records = object.get("records").and_then(Value::as_object);
    let record_text = |name| records.and_then(|r| text(r, name));
    SealedFile {
        seq,
        path: path.to_owned(),
        content_hash: hash.to_owned(),
        content_bytes: text(object, "content_bytes").and_then(|n| n.parse().ok()),
        stream: Some(stream.to_owned()),
        hour: Some(format_rfc3339(period.1)),
        leaf: record_text("leaf").map(str::to_owned),
        record_count: record_text("count").and_then(|n| n.parse().ok()),
        record_root: record_text("root")
            .and_then(|r| hash_from_text("records root", "sha256:", r).ok()),
        redacted: 0,
        period: Some(period),
    }
}

fn incomplete(seq: u64, detail: &str) -> Finding {
    Finding::new(Code::SealIncomplete, detail).seq(seq)
}
