//! Pushed exposition text: `POST /api/v1/import/prometheus` as VictoriaMetrics has it, and the paths
//! of the Pushgateway (`/metrics/job/NAME/LABEL/VALUE…`). What is pushed is stored as samples of the
//! time of the push; nothing is held to be scraped later.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use obs_types::{LabelSet, MetricBatch, SeriesSamples, TimestampMs, TimestampNs};
use obs_wire::compression::Encoding;
use obs_wire::exposition::{
    Exposition, ExpositionFormat, ParseCaps, ProtobufOptions, parse, parse_protobuf,
};
use obs_wire::otlp::Signal;
use obs_wire::{Decoded, WireCaps, WireError};

use super::Shared;
use super::intake::{Failure, Input, Intake, content_encoding, plain_answer};

/// `extra_label=name=value` any number of times, `timestamp` in milliseconds.
type Parameters = Query<Vec<(String, String)>>;

pub(super) async fn push(
    State(shared): State<Arc<Shared>>,
    Query(parameters): Parameters,
    request: Request,
) -> Response {
    receive(&shared, Vec::new(), parameters, request).await
}

/// The path gives labels: `job/NAME` and further pairs.
pub(super) async fn push_grouped(
    State(shared): State<Arc<Shared>>,
    Path(path): Path<String>,
    Query(parameters): Parameters,
    request: Request,
) -> Response {
    let parts: Vec<String> = path.trim_end_matches('/').split('/').map(str::to_owned).collect();
    let mut group = vec![("job".to_owned(), parts.first().cloned().unwrap_or_default())];
    let (pairs, rest) = parts.get(1..).unwrap_or_default().as_chunks::<2>();
    group.extend(pairs.iter().map(|[name, value]| (name.clone(), value.clone())));
    let bad = group.iter().find(|(name, _)| name.is_empty() || name.ends_with("@base64"));
    let why = match (rest, bad) {
        ([], None) => return receive(&shared, group, parameters, request).await,
        ([odd, ..], _) => format!("label {odd:?} of the path has no value"),
        (_, Some((name, _))) => format!("label name {name:?} of the path is not supported"),
    };
    let intake = Intake::of(&shared, PROTOCOL, Signal::Metrics, &request);
    intake.refused(Failure::Body(why)).plain()
}

const PROTOCOL: &str = "prometheus_import";

async fn receive(
    shared: &Arc<Shared>,
    mut labels: Vec<(String, String)>,
    parameters: Vec<(String, String)>,
    request: Request,
) -> Response {
    let intake = Intake::of(shared, PROTOCOL, Signal::Metrics, &request);
    let mut timestamp = None;
    for (key, value) in &parameters {
        match (key.as_str(), value.split_once('='), value.parse()) {
            ("extra_label", Some((name, value)), _) if !name.is_empty() => {
                labels.push((name.to_owned(), value.to_owned()));
            }
            ("timestamp", _, Ok(ms)) => timestamp = Some(TimestampMs(ms)),
            ("extra_label" | "timestamp", ..) => {
                let why = format!("bad parameter {key}={value:?}");
                return intake.refused(Failure::Body(why)).plain();
            }
            _ => {}
        }
    }
    let (parts, body) = request.into_parts();
    let encoding = content_encoding(&parts.headers, Encoding::Identity);
    let format = Format::of(&parts.headers);
    let decode = move |plain: &[u8], caps: &WireCaps, now: TimestampNs| {
        let at = timestamp.unwrap_or(now.floor_to_ms());
        let batch = batch(format.read(plain, caps)?, &labels, at);
        Ok(Decoded { batch, ..Decoded::default() })
    };
    let store = |sinks: &super::Sinks, batch: MetricBatch| sinks.metrics.append(batch);
    plain_answer(intake.store(Input::Unread(body), encoding, decode, store).await)
}

#[derive(Clone, Copy)]
enum Format {
    Text(ExpositionFormat),
    Protobuf,
}

impl Format {
    /// Most clients state nothing useful, so what is not known is taken for text.
    fn of(headers: &HeaderMap) -> Self {
        let stated = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        if stated.starts_with("application/vnd.google.protobuf") {
            return Self::Protobuf;
        }
        Self::Text(ExpositionFormat::from_content_type(stated))
    }

    fn read(self, plain: &[u8], caps: &WireCaps) -> Result<Exposition, WireError> {
        let caps = ParseCaps {
            input_bytes_max: caps.output_bytes_max,
            samples_max: caps.messages_max,
            labels_max: caps.labels_max,
            ..ParseCaps::default()
        };
        match self {
            Self::Text(format) => parse(plain, format, caps).map_err(|e| WireError::Malformed {
                what: "exposition text",
                message: e.to_string(),
            }),
            Self::Protobuf => {
                let both = ProtobufOptions { native: true, classic_with_native: false };
                parse_protobuf(plain, both, caps)
            }
        }
    }
}

/// `labels` win over those of the text.
fn batch(exposition: Exposition, labels: &[(String, String)], at: TimestampMs) -> MetricBatch {
    let add = |own: LabelSet| {
        if labels.is_empty() {
            return own;
        }
        let mut builder = own.to_builder();
        for (name, value) in labels {
            builder.set(name, value);
        }
        builder.build()
    };
    let started = |mut series: SeriesSamples, t: TimestampMs, start: Option<TimestampMs>| {
        series.started(t, start);
        series
    };
    let floats = exposition.series.into_iter().map(|s| {
        let t = s.timestamp.unwrap_or(at);
        let series = SeriesSamples {
            labels: add(s.labels),
            samples: vec![(t, s.value)],
            exemplars: s.exemplar.map(|e| e.into_exemplar(at)).into_iter().collect(),
            ..SeriesSamples::default()
        };
        started(series, t, s.start)
    });
    let histograms = exposition.histograms.into_iter().map(|h| {
        let t = h.timestamp.unwrap_or(at);
        let series = SeriesSamples {
            labels: add(h.labels),
            histograms: vec![(t, Arc::new(h.histogram))],
            exemplars: h.exemplars.into_iter().map(|e| e.into_exemplar(at)).collect(),
            ..SeriesSamples::default()
        };
        started(series, t, h.start)
    });
    MetricBatch { series: floats.chain(histograms).collect(), metadata: exposition.metadata }
}
