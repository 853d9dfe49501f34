//! One line of a text format: the cursor, sample lines, escapes.

use std::borrow::Cow;

use obs_types::{LabelSet, METRIC_NAME, TimestampMs};

use super::ExpositionError;
use crate::float::parse_go_float;

/// Label pairs in the order of the line; quoted names may hold escapes.
pub(super) type RawLabels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

pub(super) struct RawSample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: RawLabels<'a>,
    pub(super) value: RawValue<'a>,
}

pub(super) struct RawExemplar<'a> {
    pub(super) labels: RawLabels<'a>,
    pub(super) value: f64,
    pub(super) timestamp_seconds: Option<f64>,
}

pub(super) struct Cursor<'a> {
    text: &'a str,
    position: usize,
    line: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, line: usize) -> Self {
        Self { text, position: 0, line }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> ExpositionError {
        ExpositionError::new(self.line, self.position + 1, message)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    pub(super) fn bump(&mut self) {
        self.position += 1;
    }

    /// What is left of the line. The position is always on a character's border, because only
    /// ASCII bytes and whole runs are stepped over.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or("")
    }

    /// Steps over a part of the rest that is known to be there.
    pub(super) fn skip(&mut self, part: &str) {
        self.position += part.len();
    }

    pub(super) fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.bump();
        }
    }

    pub(super) fn expect(&mut self, byte: u8, what: &str) -> Result<(), ExpositionError> {
        if self.peek() == Some(byte) {
            self.bump();
            return Ok(());
        }
        Err(self.unexpected(what))
    }

    fn unexpected(&self, what: &str) -> ExpositionError {
        match self.rest().chars().next() {
            Some(c) => self.error(format!("expected {what}, got {c:?}")),
            None => self.error(format!("expected {what}, got the end of the line")),
        }
    }

    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let start = self.position;
        while self.peek().is_some_and(&keep) {
            self.bump();
        }
        self.text.get(start..self.position).unwrap_or("")
    }

    /// Up to the next blank.
    pub(super) fn token(&mut self) -> &'a str {
        self.take_while(|b| b != b' ' && b != b'\t')
    }

    fn metric_name(&mut self) -> Result<&'a str, ExpositionError> {
        if self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.unexpected("a metric name"));
        }
        let name = self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
        if name.is_empty() {
            return Err(self.unexpected("a metric name"));
        }
        Ok(name)
    }

    /// A family's name in a metadata line, also quoted.
    pub(super) fn family_name(&mut self) -> Result<&'a str, ExpositionError> {
        if self.peek() == Some(b'"') {
            return match self.quoted()? {
                Cow::Borrowed(name) if !name.is_empty() => Ok(name),
                _ => Err(self.error("unusable quoted metric name")),
            };
        }
        let name = self.metric_name()?;
        match self.peek() {
            None | Some(b' ' | b'\t') => Ok(name),
            Some(_) => Err(self.unexpected("a blank after the metric name")),
        }
    }

    /// A `"…"` string with `\\`, `\"` and `\n`; other backslashes stand for themselves.
    fn quoted(&mut self) -> Result<Cow<'a, str>, ExpositionError> {
        self.expect(b'"', "\"")?;
        let start = self.position;
        let mut escaped = false;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.bump();
                    if self.peek().is_some() {
                        self.bump();
                    }
                }
                Some(_) => self.bump(),
                None => return Err(self.error("string without a closing quote")),
            }
        }
        let inner = self.text.get(start..self.position).unwrap_or("");
        self.bump();
        Ok(if escaped { unescape(inner, true).into() } else { Cow::Borrowed(inner) })
    }
}

/// `\\` and `\n`, and `\"` where `quotes`; other backslashes stand for themselves.
pub(super) fn unescape(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if quotes => out.push('"'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

/// What stands behind the metric of a line.
pub(super) struct RawValue<'a> {
    pub(super) value: f64,
    pub(super) timestamp: Option<TimestampMs>,
    /// OpenMetrics only: the timestamp as written, for the order of samples finer than 1 ms.
    pub(super) timestamp_seconds: Option<f64>,
    pub(super) exemplar: Option<RawExemplar<'a>>,
}

pub(super) fn prometheus_value<'a>(
    cursor: &mut Cursor<'a>,
) -> Result<RawValue<'a>, ExpositionError> {
    cursor.skip_blanks();
    let value = number(cursor, "a value")?;
    cursor.skip_blanks();
    let mut timestamp = None;
    if cursor.peek().is_some() {
        let at = cursor.position;
        let token = cursor.token();
        let ms = token.parse().map_err(|e: std::num::ParseIntError| {
            let message = format!("bad timestamp {token:?}: {e}");
            ExpositionError::new(cursor.line, at + 1, message)
        })?;
        timestamp = Some(TimestampMs(ms));
        cursor.skip_blanks();
    }
    match cursor.peek() {
        // Some exporters write exemplars into the older format; Prometheus refuses them too.
        Some(_) => Err(cursor.unexpected("the end of the line")),
        None => Ok(RawValue { value, timestamp, timestamp_seconds: None, exemplar: None }),
    }
}

pub(super) fn openmetrics_value<'a>(
    cursor: &mut Cursor<'a>,
    labels_max: usize,
) -> Result<RawValue<'a>, ExpositionError> {
    cursor.expect(b' ', "a blank before the value")?;
    let value = number(cursor, "a value")?;
    let mut sample = RawValue { value, timestamp: None, timestamp_seconds: None, exemplar: None };
    if cursor.peek().is_some() {
        cursor.expect(b' ', "a blank")?;
        if cursor.peek() != Some(b'#') {
            let seconds = finite(cursor)?;
            sample.timestamp_seconds = Some(seconds);
            sample.timestamp = Some(ms_from_seconds(seconds));
            if cursor.peek().is_some() {
                cursor.expect(b' ', "a blank before the exemplar")?;
                if cursor.peek() != Some(b'#') {
                    return Err(cursor.unexpected("#"));
                }
            }
        }
    }
    if cursor.peek().is_some() {
        cursor.expect(b'#', "#")?;
        cursor.expect(b' ', "a blank after #")?;
        sample.exemplar = Some(exemplar(cursor, labels_max)?);
    }
    Ok(sample)
}

fn exemplar<'a>(
    cursor: &mut Cursor<'a>,
    labels_max: usize,
) -> Result<RawExemplar<'a>, ExpositionError> {
    let mut labels = Vec::new();
    let name = label_block(cursor, &mut labels, labels_max, false)?;
    if name.is_some() {
        return Err(cursor.error("an exemplar has no metric name"));
    }
    let chars: usize = labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
    if chars > 128 {
        return Err(cursor.error(format!("exemplar labels have {chars} characters, 128 allowed")));
    }
    cursor.expect(b' ', "a blank before the exemplar's value")?;
    let value = number(cursor, "an exemplar value")?;
    let mut timestamp_seconds = None;
    if cursor.peek().is_some() {
        cursor.expect(b' ', "a blank")?;
        timestamp_seconds = Some(finite(cursor)?);
    }
    match cursor.peek() {
        Some(_) => Err(cursor.unexpected("the end of the line")),
        None => Ok(RawExemplar { labels, value, timestamp_seconds }),
    }
}

fn number(cursor: &mut Cursor<'_>, what: &str) -> Result<f64, ExpositionError> {
    let at = cursor.position;
    let token = cursor.token();
    if token.is_empty() {
        return Err(cursor.unexpected(what));
    }
    parse_go_float(token).ok_or_else(|| {
        ExpositionError::new(cursor.line, at + 1, format!("expected {what}, got {token:?}"))
    })
}

fn finite(cursor: &mut Cursor<'_>) -> Result<f64, ExpositionError> {
    let seconds = number(cursor, "a timestamp")?;
    if seconds.is_finite() {
        return Ok(seconds);
    }
    Err(cursor.error("a timestamp must be finite"))
}

/// Nearest millisecond; saturates.
pub(super) fn ms_from_seconds(seconds: f64) -> TimestampMs {
    TimestampMs((seconds * 1000.0).round() as i64)
}

/// `name{labels}` or `{"name",labels}` in front of a text, without reading it; `None` where it is
/// not so plain to see.
pub(super) fn metric_text(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut at = bytes.iter().position(|b| matches!(b, b'{' | b' ' | b'\t'))?;
    if bytes.get(at) != Some(&b'{') {
        let more = bytes.get(at..)?.iter().find(|b| !matches!(b, b' ' | b'\t'));
        return if more == Some(&b'{') { None } else { text.get(..at) };
    }
    let mut quoted = false;
    loop {
        at += 1;
        match bytes.get(at)? {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return text.get(..=at),
            _ => {}
        }
    }
}

/// `name{labels}` or `{"name",labels}`.
pub(super) fn series<'a>(
    cursor: &mut Cursor<'a>,
    labels_max: usize,
    lenient: bool,
) -> Result<(&'a str, RawLabels<'a>), ExpositionError> {
    let mut labels = Vec::new();
    if cursor.peek() == Some(b'{') {
        return match label_block(cursor, &mut labels, labels_max, lenient)? {
            Some(Cow::Borrowed(name)) if !name.is_empty() => Ok((name, labels)),
            Some(_) => Err(cursor.error("unusable quoted metric name")),
            None => Err(cursor.error("metric name missing")),
        };
    }
    let name = cursor.metric_name()?;
    if lenient {
        cursor.skip_blanks();
    }
    if cursor.peek() == Some(b'{')
        && label_block(cursor, &mut labels, labels_max, lenient)?.is_some()
    {
        return Err(cursor.error("a second metric name between the braces"));
    }
    Ok((name, labels))
}

/// `{a="b",…}`; gives the metric name where the first entry is a lone quoted string. `lenient`
/// allows blanks between tokens and a comma before the closing brace.
fn label_block<'a>(
    cursor: &mut Cursor<'a>,
    labels: &mut RawLabels<'a>,
    labels_max: usize,
    lenient: bool,
) -> Result<Option<Cow<'a, str>>, ExpositionError> {
    let blanks = |c: &mut Cursor<'a>| {
        if lenient {
            c.skip_blanks();
        }
    };
    let mut metric = None;
    cursor.expect(b'{', "{")?;
    blanks(cursor);
    let mut first = true;
    while cursor.peek() != Some(b'}') {
        let quoted = cursor.peek() == Some(b'"');
        let name = if quoted {
            cursor.quoted()?
        } else {
            if cursor.peek().is_some_and(|b| b.is_ascii_digit()) {
                return Err(cursor.unexpected("a label name"));
            }
            let name = cursor.take_while(|b| b.is_ascii_alphanumeric() || b == b'_');
            if name.is_empty() {
                return Err(cursor.unexpected("a label name"));
            }
            Cow::Borrowed(name)
        };
        blanks(cursor);
        if quoted && first && matches!(cursor.peek(), Some(b',' | b'}')) {
            metric = Some(name);
        } else {
            cursor.expect(b'=', "=")?;
            blanks(cursor);
            let value = cursor.quoted()?;
            if labels.len() >= labels_max {
                return Err(cursor.error(format!("more labels than the limit of {labels_max}")));
            }
            if labels.iter().any(|(n, _)| *n == name) {
                return Err(cursor.error(format!("label {name:?} is given twice")));
            }
            labels.push((name, value));
        }
        first = false;
        blanks(cursor);
        match cursor.peek() {
            Some(b',') => {
                cursor.bump();
                blanks(cursor);
                if cursor.peek() == Some(b'}') && !lenient {
                    return Err(cursor.unexpected("a label name"));
                }
            }
            Some(b'}') => {}
            _ => return Err(cursor.unexpected(", or }")),
        }
    }
    cursor.bump();
    Ok(metric)
}

/// Sorts and encodes the pairs in the layout of [`LabelSet`], so that a label set costs one
/// allocation. `Err` if a pair repeats the metric name's label.
pub(super) fn encode(
    buffer: &mut Vec<u8>,
    labels: &mut RawLabels<'_>,
    name: Option<&str>,
) -> Result<LabelSet, String> {
    if let Some(name) = name {
        if labels.iter().any(|(n, _)| n == METRIC_NAME) {
            return Err(format!("label {METRIC_NAME:?} is given twice"));
        }
        labels.push((Cow::Borrowed(METRIC_NAME), Cow::Owned(name.to_owned())));
    }
    labels.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    LabelSet::from_sorted(buffer, labels.iter().map(|(n, v)| (n.as_ref(), v.as_ref())))
        .ok_or_else(|| "labels cannot be encoded".to_owned())
}
