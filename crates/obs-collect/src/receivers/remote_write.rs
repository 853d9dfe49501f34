//! `POST /api/v1/write`: Prometheus remote write 1.0 and 2.0.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use obs_types::{IngestOutcome, MetricBatch};
use obs_wire::compression::Encoding;
use obs_wire::otlp::{Signal, Verdict};
use obs_wire::remote_write::{RemoteWriteVersion, SentBody, read_sent_v1, read_sent_v2};

use super::Shared;
use super::intake::{Failure, Input, Intake, content_encoding};

/// What was stored of a request, for the headers of version 2.
#[derive(Clone, Copy, Default)]
struct Written {
    samples: u64,
    histograms: u64,
    exemplars: u64,
}

impl Written {
    /// The sink tells items apart only by reason, so what it dropped is taken from the samples
    /// first: a sender must never read that more was written than was.
    fn without(self, lost: u64) -> Self {
        let samples = self.samples.saturating_sub(lost);
        let histograms = self.histograms.saturating_sub(lost.saturating_sub(self.samples));
        Self { samples, histograms, exemplars: self.exemplars }
    }
}

/// 204, or 400 when something was rejected for good (the rest is stored), or 503 to be tried again.
pub(super) async fn write(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let intake = Intake::of(&shared, "remote_write", Signal::Metrics, &request);
    let (parts, body) = request.into_parts();
    let version = match intake.format(&parts.headers, RemoteWriteVersion::from_content_type) {
        Ok(version) => version,
        Err(refused) => return failure(&refused),
    };
    let encoding = content_encoding(&parts.headers, Encoding::Snappy);
    let counted = Arc::new(std::sync::Mutex::new(Written::default()));
    let counts = Arc::clone(&counted);
    let tell = move |written: Written| {
        if let Ok(mut counted) = counts.lock() {
            *counted = written;
        }
    };
    let input = Input::Unread(body);
    let done = match version {
        RemoteWriteVersion::V1 => intake.run(input, encoding, store_v1).await,
        RemoteWriteVersion::V2 => {
            let store = move |plain: &[u8], shared: &Shared, _verdict: Option<Verdict>| {
                let mut spelled = Vec::new();
                let body = read_sent_v2(plain, &shared.limits.caps, &mut spelled);
                let (outcome, written) = store(body.map_err(Failure::Wire)?, shared)?;
                tell(written);
                Ok(outcome)
            };
            intake.run(input, encoding, store).await
        }
    };
    let mut response = match done {
        Err(f) => failure(&f),
        Ok(outcome) => match outcome.rejected_text() {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(text) => {
                (StatusCode::BAD_REQUEST, plain(obs_wire::cut_text(text))).into_response()
            }
        },
    };
    if version == RemoteWriteVersion::V2 {
        let written = counted.lock().map(|w| *w).unwrap_or_default();
        for (name, n) in [
            ("x-prometheus-remote-write-samples-written", written.samples),
            ("x-prometheus-remote-write-histograms-written", written.histograms),
            ("x-prometheus-remote-write-exemplars-written", written.exemplars),
        ] {
            response.headers_mut().insert(name, HeaderValue::from(n));
        }
    }
    response
}

fn store_v1(
    plain: &[u8],
    shared: &Shared,
    _verdict: Option<Verdict>,
) -> Result<IngestOutcome, Failure> {
    let body = read_sent_v1(plain, &shared.limits.caps).map_err(Failure::Wire)?;
    store(body, shared).map(|(outcome, _)| outcome)
}

/// Plain series go to the sink as they are, all else as a batch of its own.
fn store(body: SentBody<'_>, shared: &Shared) -> Result<(IngestOutcome, Written), Failure> {
    let SentBody { sent, rest } = body;
    shared.note_rejected(Signal::Metrics, &rest.outcome);
    let sink = &shared.sinks.metrics;
    let mut written = count(&rest.batch);
    written.samples += sent.samples.len() as u64;
    let mut stored = IngestOutcome::default();
    if !sent.series.is_empty() {
        stored.merge(sink.append_sent(&sent).map_err(Failure::Ingest)?);
    }
    if !rest.batch.series.is_empty() || !rest.batch.metadata.is_empty() {
        stored.merge(sink.append(rest.batch).map_err(Failure::Ingest)?);
    }
    let written = written.without(stored.rejected_count());
    let mut outcome = rest.outcome;
    outcome.merge(stored);
    Ok((outcome, written))
}

fn count(batch: &MetricBatch) -> Written {
    batch.series.iter().fold(Written::default(), |sum, s| Written {
        samples: sum.samples + s.samples.len() as u64,
        histograms: sum.histograms + s.histograms.len() as u64,
        exemplars: sum.exemplars + s.exemplars.len() as u64,
    })
}

fn plain(text: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text + "\n")
}

/// Prometheus drops data on 429 unless told otherwise, and retries on every 5xx; so overload is 503.
fn failure(failure: &Failure) -> Response {
    let status = match failure.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        other => other,
    };
    failure.answer(status, plain(failure.message()))
}
