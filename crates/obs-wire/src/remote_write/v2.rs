use std::sync::Arc;

use obs_types::{
    LabelSet, METRIC_NAME, MetricBatch, MetricMetadata, RejectReason, SeriesSamples, TimestampMs,
};
use prost::Message as _;

use super::{check_labels, histogram, kind_from_number, messages, show_labels};
use crate::protobuf::{Shape, check_shape};
use crate::{Decoded, WireCaps, WireError};

const WHAT: &str = "remote write 2.0 request";

static LEAF: Shape = Shape(&[]);
static HISTOGRAM: Shape = Shape(&[(8, &LEAF), (11, &LEAF)]);
static SERIES: Shape = Shape(&[(2, &LEAF), (3, &HISTOGRAM), (4, &LEAF), (5, &LEAF)]);
static REQUEST: Shape = Shape(&[(4, &LEAF), (5, &SERIES)]);

/// Reads an `io.prometheus.write.v2.Request`. Series with bad references, labels or histograms are
/// dropped and counted; broken protobuf refuses the whole body.
pub fn decode_v2(body: &[u8], caps: &WireCaps) -> Result<Decoded<MetricBatch>, WireError> {
    check_shape(WHAT, body, &REQUEST, caps)?;
    let request =
        messages::RequestV2::decode(body).map_err(|e| WireError::malformed(WHAT, e.to_string()))?;
    let mut out: Decoded<MetricBatch> = Decoded::default();
    let symbols = &request.symbols;
    if symbols.first().is_some_and(|s| !s.is_empty()) {
        return Err(WireError::malformed(WHAT, "the first symbol is not empty"));
    }
    let mut encoded = Vec::new();
    for series in &request.timeseries {
        let items = (series.samples.len() + series.histograms.len()).max(1);
        let pairs = resolve(symbols, &series.labels_refs);
        let labels = match pairs {
            None => Err((RejectReason::InvalidLabel, "label refers to no symbol".to_owned())),
            Some(mut pairs) => check_labels(&mut pairs)
                .and_then(|()| {
                    crate::labels::encode(&mut encoded, pairs.iter().copied())
                        .ok_or(RejectReason::InvalidLabel)
                })
                .map_err(|reason| (reason, show_labels(&pairs))),
        };
        let labels = match labels {
            Ok(labels) => labels,
            Err((reason, example)) => {
                for _ in 0..items {
                    out.outcome.reject(reason, || example.clone());
                }
                continue;
            }
        };
        if let Some(m) = &series.metadata {
            let text = |at: u32| symbols.get(at as usize).cloned().unwrap_or_default();
            let family = labels.get(METRIC_NAME).unwrap_or("").to_owned();
            let known = out.batch.metadata.last().is_some_and(|l| l.family == family);
            if m.kind != 0 && !known {
                out.batch.metadata.push(MetricMetadata {
                    family,
                    kind: kind_from_number(m.kind),
                    help: text(m.help_ref),
                    unit: text(m.unit_ref),
                });
            }
        }
        out.batch.series.push(samples(series, symbols, labels, &mut out.outcome));
    }
    Ok(out)
}

fn samples(
    series: &messages::TimeSeriesV2,
    symbols: &[String],
    labels: LabelSet,
    outcome: &mut obs_types::IngestOutcome,
) -> SeriesSamples {
    let mut out = SeriesSamples {
        samples: series.samples.iter().map(|s| (TimestampMs(s.timestamp), s.value)).collect(),
        ..Default::default()
    };
    for h in &series.histograms {
        match histogram::from_wire(h) {
            Ok(ok) => out.histograms.push((TimestampMs(h.timestamp), Arc::new(ok))),
            Err(why) => {
                outcome.reject(RejectReason::InvalidHistogram, || format!("{labels}: {why}"));
            }
        }
    }
    for e in &series.exemplars {
        // An exemplar with bad references is worth less than its sample: it is left out.
        if let Some(pairs) = resolve(symbols, &e.labels_refs) {
            let owned = pairs.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
            let set = crate::labels::label_set(owned.collect());
            out.exemplars.push(crate::exemplar(set, e.value, TimestampMs(e.timestamp)));
        }
    }
    out.labels = labels;
    out
}

/// `None` if a reference leads nowhere or a name lacks its value.
fn resolve<'s>(symbols: &'s [String], references: &[u32]) -> Option<Vec<(&'s str, &'s str)>> {
    let (pairs, rest) = references.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let text = |at: u32| symbols.get(at as usize).map(String::as_str);
    pairs.iter().map(|[n, v]| Some((text(*n)?, text(*v)?))).collect()
}
