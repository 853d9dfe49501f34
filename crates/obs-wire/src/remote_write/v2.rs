use obs_types::{METRIC_NAME, MetricBatch, MetricKind, MetricMetadata, RejectReason, TimestampMs};

use super::kind_from_number;
use super::series::{Reader, Rest, SeriesView, collect, reject};
use crate::protobuf::{Fields, Value, broken, varints};
use crate::{Decoded, WireCaps, WireError};

pub(super) const WHAT: &str = "remote write 2.0 request";

/// Reads an `io.prometheus.write.v2.Request`. Series with bad references, labels or histograms are
/// dropped and counted; broken protobuf and a symbols table without the empty string in front
/// refuse the whole body.
pub fn decode_v2(body: &[u8], caps: &WireCaps) -> Result<Decoded<MetricBatch>, WireError> {
    collect(|visit| read_v2(body, caps, visit))
}

/// As [`decode_v2`], but shows each series in turn instead of copying it. What was shown before an
/// `Err` does not count.
pub fn read_v2(
    body: &[u8],
    caps: &WireCaps,
    visit: &mut dyn FnMut(SeriesView<'_>),
) -> Result<Rest, WireError> {
    let mut reader = Reader::new(WHAT, caps);
    let symbols = symbols(&mut reader, body)?;
    let mut references = Vec::with_capacity(64);
    for field in Fields::new(body) {
        if let (5, Value::Bytes(series)) = field.map_err(|left| broken(WHAT, left))? {
            read_series(&mut reader, &symbols, &mut references, series, visit)?;
        }
    }
    Ok(reader.rest)
}

/// `None` stands for a symbol that is not UTF-8: only what refers to it suffers.
pub(super) type Symbols<'b> = Vec<Option<&'b str>>;

/// Protobuf leaves the order of fields to the sender, so the table is read before any series.
pub(super) fn symbols<'b>(
    reader: &mut Reader<'b>,
    body: &'b [u8],
) -> Result<Symbols<'b>, WireError> {
    let mut symbols = Symbols::new();
    for field in Fields::new(body) {
        if let (4, Value::Bytes(symbol)) = field.map_err(|left| broken(WHAT, left))? {
            reader.spend()?;
            symbols.push(std::str::from_utf8(symbol).ok());
        }
    }
    match symbols.first() {
        None | Some(Some("")) => Ok(symbols),
        Some(_) => Err(WireError::malformed(WHAT, "the first symbol is not empty")),
    }
}

pub(super) fn read_series<'b>(
    reader: &mut Reader<'b>,
    symbols: &Symbols<'b>,
    references: &mut Vec<u64>,
    bytes: &'b [u8],
    visit: &mut dyn FnMut(SeriesView<'_>),
) -> Result<(), WireError> {
    reader.spend()?;
    reader.begin();
    references.clear();
    let mut metadata = None;
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, value) => varints(WHAT, value, &mut reader.budget, references)?,
            (2, Value::Bytes(sample)) => reader.started_sample(sample)?,
            (3, Value::Bytes(histogram)) => reader.histogram(histogram)?,
            (4, Value::Bytes(exemplar)) => read_exemplar(reader, symbols, exemplar)?,
            (5, Value::Bytes(bytes)) => {
                reader.spend()?;
                metadata = Some(bytes);
            }
            _ => {}
        }
    }
    let labels = resolve(symbols, references, &mut reader.pairs);
    if labels.is_err() {
        reader.pairs.clear();
    }
    let mut family = None;
    if labels.is_ok() {
        let kinds = reader.kinds();
        if kinds.0 && kinds.1 || kinds == (false, false, false) && metadata.is_none() {
            reader.refuse(RejectReason::Malformed, |r| {
                let name = r.pairs.iter().find(|(n, _)| *n == METRIC_NAME).map_or("", |(_, v)| v);
                format!("series {name} must have either samples or histograms")
            });
            return Ok(());
        }
        family = reader.pairs.iter().find(|(n, _)| *n == METRIC_NAME).map(|(_, v)| *v);
    }
    reader.finish(labels, visit)?;
    match (family, metadata) {
        (Some(name), Some(bytes)) => read_metadata(reader, symbols, name, bytes),
        _ => Ok(()),
    }
}

/// Metadata of a series belongs to its family here, as in the text formats.
pub(super) fn read_metadata(
    reader: &mut Reader<'_>,
    symbols: &Symbols<'_>,
    name: &str,
    bytes: &[u8],
) -> Result<(), WireError> {
    let (mut kind, mut help, mut unit) = (0, 0, 0);
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, Value::Varint(n)) => kind = n,
            (3, Value::Varint(n)) => help = n,
            (4, Value::Varint(n)) => unit = n,
            _ => {}
        }
    }
    let kind = kind_from_number(kind);
    let family = family_of(name, kind);
    let text = |at: u64| -> Option<&str> {
        *symbols.get(usize::try_from(at).ok()?).filter(|_| at > 0).unwrap_or(&Some(""))
    };
    let known = reader.rest.metadata.last().is_some_and(|l| l.family == family);
    if known || kind == MetricKind::Unknown && help == 0 && unit == 0 {
        return Ok(());
    }
    let (Some(help), Some(unit)) = (text(help), text(unit)) else {
        let example = || format!("metadata of {family}");
        reject(&mut reader.rest.outcome, RejectReason::InvalidUtf8, 1, example);
        return Ok(());
    };
    // One symbol may be the help text of every series.
    reader.budget.spend(family.len() + help.len() + unit.len())?;
    let (family, help, unit) = (family.to_owned(), help.to_owned(), unit.to_owned());
    reader.rest.metadata.push(MetricMetadata { family, kind, help, unit });
    Ok(())
}

fn family_of(name: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram => &["_bucket", "_count", "_sum"],
        MetricKind::GaugeHistogram => &["_bucket", "_gcount", "_gsum", "_count", "_sum"],
        MetricKind::Summary => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name)
}

fn read_exemplar<'b>(
    reader: &mut Reader<'b>,
    symbols: &Symbols<'b>,
    bytes: &[u8],
) -> Result<(), WireError> {
    reader.spend()?;
    let mut references = Vec::new();
    let (mut value, mut at) = (0.0, TimestampMs(0));
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, value) => varints(WHAT, value, &mut reader.budget, &mut references)?,
            (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (3, Value::Varint(n)) => at = TimestampMs(n as i64),
            _ => {}
        }
    }
    let mut pairs = Vec::with_capacity(references.len() / 2);
    let resolved = resolve(symbols, &references, &mut pairs);
    reader.exemplar(resolved.map(|()| pairs), value, at)
}

pub(super) fn resolve<'b>(
    symbols: &Symbols<'b>,
    references: &[u64],
    pairs: &mut Vec<(&'b str, &'b str)>,
) -> Result<(), RejectReason> {
    let (whole, rest) = references.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(RejectReason::InvalidLabel);
    }
    let text = |at: u64| -> Result<&'b str, RejectReason> {
        let place = usize::try_from(at).ok().and_then(|at| symbols.get(at));
        place.ok_or(RejectReason::InvalidLabel)?.ok_or(RejectReason::InvalidUtf8)
    };
    for [name, value] in whole {
        pairs.push((text(*name)?, text(*value)?));
    }
    Ok(())
}
