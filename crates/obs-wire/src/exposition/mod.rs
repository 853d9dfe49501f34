//! The exposition formats of metrics: Prometheus text 0.0.4 and OpenMetrics 1.0, in and out, and
//! Prometheus' protobuf, in.
//!
//! Invariants: a parsed sample's labels carry its name as `__name__`; names of labels are unique;
//! `le` and `quantile` values are in canonical form (`1` becomes `1.0`), so that both formats give
//! the same series.
//! Source: Prometheus exposition format documentation, OpenMetrics specification 1.0.

mod known;
mod line;
mod protobuf;
mod strict;
mod write;

use std::collections::HashMap;

use obs_types::{
    Exemplar, LabelSet, METRIC_NAME, MetricKind, MetricMetadata, NativeHistogram, TimestampMs,
};

pub use self::known::KnownMetrics;
use self::line::{Cursor, RawSample, RawValue};
pub use self::protobuf::{ProtobufOptions, parse_protobuf};
use self::strict::StrictCheck;
pub use self::write::{ExpositionWriter, Family, FamilySample};

/// `Content-Type` of Prometheus text 0.0.4.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// `Content-Type` of OpenMetrics 1.0.
pub const OPENMETRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpositionFormat {
    /// Prometheus text 0.0.4, with quoted UTF-8 names.
    Prometheus,
    /// OpenMetrics syntax, without judging the meaning of families: what scraping uses, because
    /// real exporters break the finer rules.
    OpenMetrics,
    /// OpenMetrics with every rule of the specification: ordering, grouping, values and labels
    /// that fit the type.
    OpenMetricsStrict,
}

impl ExpositionFormat {
    /// From a `Content-Type`; everything that is not OpenMetrics is read as Prometheus text.
    pub fn from_content_type(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or("").trim();
        if essence.eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// Limits of one text. Beyond one of them the whole text is refused.
#[derive(Clone, Copy, Debug)]
pub struct ParseCaps {
    pub input_bytes_max: usize,
    pub line_bytes_max: usize,
    pub samples_max: usize,
    /// Labels of one sample, without its name.
    pub labels_max: usize,
}

impl Default for ParseCaps {
    fn default() -> Self {
        Self {
            input_bytes_max: 64 << 20,
            line_bytes_max: 1 << 20,
            samples_max: 1_000_000,
            labels_max: 128,
        }
    }
}

/// One sample line.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpositionSample {
    /// With `__name__`.
    pub labels: LabelSet,
    pub value: f64,
    /// `None` when the line has none: the scrape's time holds.
    pub timestamp: Option<TimestampMs>,
    pub exemplar: Option<ExpositionExemplar>,
    /// When what it counts began, where the text says so: OpenMetrics' `_created`.
    pub start: Option<TimestampMs>,
}

/// An exemplar as written behind a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpositionExemplar {
    pub labels: LabelSet,
    pub value: f64,
    pub timestamp: Option<TimestampMs>,
}

impl ExpositionExemplar {
    /// With `default` as its time where the line gave none.
    pub fn into_exemplar(self, default: TimestampMs) -> Exemplar {
        crate::exemplar(self.labels, self.value, self.timestamp.unwrap_or(default))
    }
}

/// A native histogram; only the protobuf format has them.
#[derive(Clone, Debug)]
pub struct ExpositionHistogram {
    /// With `__name__`.
    pub labels: LabelSet,
    pub histogram: NativeHistogram,
    pub timestamp: Option<TimestampMs>,
    pub exemplars: Vec<ExpositionExemplar>,
    pub start: Option<TimestampMs>,
}

/// A parsed body: samples in the order of their lines.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    pub series: Vec<ExpositionSample>,
    pub histograms: Vec<ExpositionHistogram>,
    /// One entry per family that has a `TYPE`, `HELP` or `UNIT` line, in order of appearance.
    pub metadata: Vec<MetricMetadata>,
}

/// Where and why a text was refused. `line` and `column` count from 1, `column` in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ExpositionError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl ExpositionError {
    pub(crate) fn new(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self { line, column, message: message.into() }
    }
}

/// Parses a whole text; the first mistake refuses it. O(bytes).
pub fn parse(
    text: &[u8],
    format: ExpositionFormat,
    caps: ParseCaps,
) -> Result<Exposition, ExpositionError> {
    parse_text(text, format, caps, None)
}

/// As [`parse`], with the same caps each time, for a source that writes its metrics alike each
/// time: what is known of them is not read again.
pub fn parse_known(
    text: &[u8],
    format: ExpositionFormat,
    caps: ParseCaps,
    known: &mut KnownMetrics,
) -> Result<Exposition, ExpositionError> {
    known.begin(format);
    // The strict form judges every label.
    let used = Some(&mut *known).filter(|_| format != ExpositionFormat::OpenMetricsStrict);
    let parsed = parse_text(text, format, caps, used);
    known.end();
    parsed
}

fn parse_text(
    text: &[u8],
    format: ExpositionFormat,
    caps: ParseCaps,
    known: Option<&mut KnownMetrics>,
) -> Result<Exposition, ExpositionError> {
    if text.len() > caps.input_bytes_max {
        return Err(ExpositionError::new(
            1,
            1,
            format!("{} bytes are more than the limit of {}", text.len(), caps.input_bytes_max),
        ));
    }
    let text = std::str::from_utf8(text).map_err(|e| {
        let before = text.get(..e.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
        ExpositionError::new(line, before.len() - start + 1, "invalid UTF-8")
    })?;
    Parser { known, ..Parser::new(format, caps) }.run(text)
}

/// What tells the metrics of a family apart.
fn own_labels(labels: &LabelSet) -> LabelSet {
    labels.without(&[METRIC_NAME, "le", "quantile"])
}

struct Parser<'a> {
    format: ExpositionFormat,
    caps: ParseCaps,
    out: Exposition,
    families: HashMap<&'a str, usize>,
    /// The family of the last `TYPE` line, for the canonical form of bounds.
    current: (&'a str, MetricKind),
    /// Its first sample, and when its metrics began, by their labels without name and bounds.
    current_first: usize,
    created: HashMap<LabelSet, TimestampMs>,
    strict: Option<StrictCheck<'a>>,
    known: Option<&'a mut KnownMetrics>,
    encoded: Vec<u8>,
}

impl<'a> Parser<'a> {
    fn new(format: ExpositionFormat, caps: ParseCaps) -> Self {
        Self {
            format,
            caps,
            out: Exposition::default(),
            families: HashMap::new(),
            current: ("", MetricKind::Unknown),
            current_first: 0,
            created: HashMap::new(),
            strict: (format == ExpositionFormat::OpenMetricsStrict).then(StrictCheck::default),
            known: None,
            encoded: Vec::with_capacity(256),
        }
    }

    fn openmetrics(&self) -> bool {
        self.format != ExpositionFormat::Prometheus
    }

    fn run(mut self, text: &'a str) -> Result<Exposition, ExpositionError> {
        let mut ended = false;
        let mut line_number = 0;
        let mut lines = text.split('\n').peekable();
        while let Some(line) = lines.next() {
            line_number += 1;
            // The piece behind the last line feed is no line.
            if line.is_empty() && lines.peek().is_none() {
                break;
            }
            if ended {
                return Err(ExpositionError::new(line_number, 1, "text after # EOF"));
            }
            if line.len() > self.caps.line_bytes_max {
                return Err(ExpositionError::new(
                    line_number,
                    self.caps.line_bytes_max,
                    format!("line is longer than the limit of {} bytes", self.caps.line_bytes_max),
                ));
            }
            let mut cursor = Cursor::new(line, line_number);
            if self.openmetrics() {
                if line == "# EOF" {
                    ended = true;
                } else if line.starts_with('#') {
                    self.openmetrics_metadata(&mut cursor)?;
                } else {
                    self.sample(&mut cursor)?;
                }
            } else {
                cursor.skip_blanks();
                match cursor.peek() {
                    None => {}
                    Some(b'#') => self.prometheus_comment(&mut cursor)?,
                    Some(_) => self.sample(&mut cursor)?,
                }
            }
        }
        if self.openmetrics() && !ended {
            return Err(ExpositionError::new(line_number, 1, "text does not end with # EOF"));
        }
        self.end_family();
        if let Some(strict) = &mut self.strict {
            strict.finish().map_err(|m| ExpositionError::new(line_number, 1, m))?;
        }
        Ok(self.out)
    }

    fn metadata(&mut self, family: &'a str) -> &mut MetricMetadata {
        let out = &mut self.out.metadata;
        let at = *self.families.entry(family).or_insert_with(|| {
            out.push(MetricMetadata { family: family.to_owned(), ..Default::default() });
            out.len() - 1
        });
        &mut self.out.metadata[at]
    }

    fn prometheus_comment(&mut self, cursor: &mut Cursor<'a>) -> Result<(), ExpositionError> {
        cursor.bump();
        cursor.skip_blanks();
        let keyword = cursor.token();
        if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
            return Ok(());
        }
        cursor.skip_blanks();
        let family = cursor.family_name()?;
        cursor.skip_blanks();
        match keyword {
            "HELP" => self.metadata(family).help = line::unescape(cursor.rest(), false),
            "UNIT" => self.metadata(family).unit = cursor.rest().trim_end().to_owned(),
            _ => {
                let word = cursor.rest().trim_end();
                let kind = MetricKind::from_text(word)
                    .ok_or_else(|| cursor.error(format!("unknown metric type {word:?}")))?;
                self.metadata(family).kind = kind;
                self.current = (family, kind);
            }
        }
        Ok(())
    }

    /// `# TYPE name type`, `# HELP name text`, `# UNIT name unit`, with single blanks.
    fn openmetrics_metadata(&mut self, cursor: &mut Cursor<'a>) -> Result<(), ExpositionError> {
        cursor.bump();
        cursor.expect(b' ', "blank after #")?;
        let keyword = cursor.token();
        if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
            return Err(cursor.error(format!("expected HELP, TYPE, UNIT or EOF, got {keyword:?}")));
        }
        cursor.expect(b' ', "blank and a name")?;
        let family = cursor.family_name()?;
        cursor.expect(b' ', "blank after the name")?;
        let text = cursor.rest();
        let mut kind = None;
        match keyword {
            "HELP" => self.metadata(family).help = line::unescape(text, true),
            "UNIT" => {
                if !text.is_empty()
                    && !family.strip_suffix(text).is_some_and(|head| head.ends_with('_'))
                {
                    return Err(cursor.error(format!("{family:?} does not end with unit {text:?}")));
                }
                self.metadata(family).unit = text.to_owned();
            }
            _ => {
                let read = MetricKind::from_text(text)
                    .filter(|_| text != "untyped")
                    .ok_or_else(|| cursor.error(format!("unknown metric type {text:?}")))?;
                self.metadata(family).kind = read;
                self.end_family();
                self.current = (family, read);
                kind = Some(read);
            }
        }
        if let Some(strict) = &mut self.strict {
            strict.metadata(family, keyword, kind, text).map_err(|m| cursor.error(m))?;
        }
        Ok(())
    }

    fn sample(&mut self, cursor: &mut Cursor<'a>) -> Result<(), ExpositionError> {
        let (labels, value) = self.labels_and_value(cursor)?;
        if self.out.series.len() >= self.caps.samples_max {
            let max = self.caps.samples_max;
            return Err(cursor.error(format!("more samples than the limit of {max}")));
        }
        let RawValue { value, timestamp, exemplar, .. } = value;
        let exemplar = match exemplar {
            None => None,
            Some(mut e) => Some(ExpositionExemplar {
                labels: line::encode(&mut self.encoded, &mut e.labels, None)
                    .map_err(|m| cursor.error(m))?,
                value: e.value,
                timestamp: e.timestamp_seconds.map(line::ms_from_seconds),
            }),
        };
        if self.is_created(labels.metric_name()) && value.is_finite() {
            self.created.insert(own_labels(&labels), line::ms_from_seconds(value));
        }
        let start = None;
        self.out.series.push(ExpositionSample { labels, value, timestamp, exemplar, start });
        Ok(())
    }

    /// Whether a sample of that name says when a metric of the current family began.
    fn is_created(&self, name: &str) -> bool {
        let (family, kind) = self.current;
        let counts =
            matches!(kind, MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary);
        self.openmetrics() && counts && name.strip_prefix(family) == Some("_created")
    }

    /// Tells the samples of a family when their metrics began; that may stand behind them.
    fn end_family(&mut self) {
        let first = std::mem::replace(&mut self.current_first, self.out.series.len());
        if self.created.is_empty() {
            return;
        }
        let created = std::mem::take(&mut self.created);
        let family = self.current.0;
        for sample in self.out.series.get_mut(first..).into_iter().flatten() {
            let suffix = sample.labels.metric_name().strip_prefix(family);
            if suffix.is_some_and(|s| s != "_created") {
                sample.start = created.get(&own_labels(&sample.labels)).copied();
            }
        }
    }

    /// The metric of a line, known or read, and what stands behind it.
    fn labels_and_value(
        &mut self,
        cursor: &mut Cursor<'a>,
    ) -> Result<(LabelSet, RawValue<'a>), ExpositionError> {
        let line = cursor.rest();
        let text = self.known.is_some().then(|| line::metric_text(line)).flatten();
        if let Some(text) = text
            && let Some((labels, bound)) = self.known.as_mut().and_then(|known| known.get(text))
            && bound == bound_of(self.current, labels.metric_name())
        {
            let labels = labels.clone();
            cursor.skip(text);
            return Ok((labels, self.value(cursor)?));
        }
        let (name, labels) = line::series(cursor, self.caps.labels_max, !self.openmetrics())?;
        let read = line.strip_suffix(cursor.rest()).map(|r| r.trim_end_matches([' ', '\t']));
        let mut raw = RawSample { name, labels, value: self.value(cursor)? };
        if let Some(strict) = &mut self.strict {
            strict.sample(&raw).map_err(|m| cursor.error(m))?;
        }
        let bound = bound_of(self.current, raw.name);
        if let Some(bound) = bound {
            canonical_bound(&mut raw, bound);
        }
        let labels = line::encode(&mut self.encoded, &mut raw.labels, Some(raw.name))
            .map_err(|m| cursor.error(m))?;
        // What looks like the metric need not be what was read as one.
        if let (Some(text), Some(known)) = (text.filter(|t| read == Some(*t)), &mut self.known) {
            known.note(text, &labels, bound);
        }
        Ok((labels, raw.value))
    }

    fn value(&self, cursor: &mut Cursor<'a>) -> Result<RawValue<'a>, ExpositionError> {
        if self.openmetrics() {
            line::openmetrics_value(cursor, self.caps.labels_max)
        } else {
            line::prometheus_value(cursor)
        }
    }
}

/// The label of a sample with that name whose value is a number, by the family it stands in.
fn bound_of((family, kind): (&str, MetricKind), name: &str) -> Option<&'static str> {
    let suffix = name.strip_prefix(family)?;
    match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram if suffix == "_bucket" => Some("le"),
        MetricKind::Summary if suffix.is_empty() => Some("quantile"),
        _ => None,
    }
}

fn canonical_bound(raw: &mut RawSample<'_>, bound: &str) {
    if let Some((_, value)) = raw.labels.iter_mut().find(|(n, _)| *n == bound)
        && let Some(number) = crate::float::parse_go_float(value)
    {
        *value = crate::float::canonical_bound(number).into();
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use self::protobuf::tests::body as example_protobuf;
