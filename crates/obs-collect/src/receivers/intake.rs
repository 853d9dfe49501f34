//! What all receivers share: reading a body within limits, taking turns, running a decoder and a
//! sink on a blocking thread.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use obs_types::{IngestError, IngestOutcome, TimestampNs};
use obs_wire::compression::{Encoding, decompress_into};
use obs_wire::otlp::{Signal, Verdict};
use obs_wire::{Decoded, WireCaps, WireError};

use super::{Shared, Sinks};
use crate::attest::{Mark, SIGNATURE_HEADER};

/// Why a request as a whole was not stored.
#[derive(Debug)]
pub(super) enum Failure {
    Wire(WireError),
    MediaType(String),
    Body(String),
    BodyTimeout,
    Ingest(IngestError),
    /// No turn within the queue timeout.
    Overloaded,
    /// The request's signature, by its verdict.
    Signature(&'static str),
    /// A decoder or sink broke its promise not to panic.
    Bug,
}

impl Failure {
    /// The `reason` label.
    fn reason(&self) -> &'static str {
        match self {
            Self::Wire(e) => e.reason(),
            Self::MediaType(_) => "media_type",
            Self::Body(_) => "body",
            Self::BodyTimeout => "body_timeout",
            Self::Ingest(IngestError::Unavailable { .. }) => "unavailable",
            Self::Ingest(_) | Self::Overloaded => "overloaded",
            Self::Signature(_) => "bad_signature",
            Self::Bug => "bug",
        }
    }

    /// Cut to the length of an answer.
    pub(super) fn message(&self) -> String {
        obs_wire::cut_text(match self {
            Self::Wire(e) => e.to_string(),
            Self::MediaType(got) => format!("unsupported content type {got:?}"),
            Self::Body(why) => format!("cannot read the body: {why}"),
            Self::BodyTimeout => "the body took too long".into(),
            Self::Ingest(e) => e.to_string(),
            Self::Overloaded => "overloaded: too many requests are in flight".into(),
            Self::Signature(verdict) => {
                format!("the signature in {SIGNATURE_HEADER} is refused: {verdict}")
            }
            Self::Bug => "internal error".into(),
        })
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Wire(e) if e.is_limit() => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Wire(WireError::Unsupported { .. }) | Self::MediaType(_) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::Wire(_) | Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Ingest(IngestError::Overloaded { .. }) | Self::Overloaded => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Ingest(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Signature(_) => StatusCode::FORBIDDEN,
            Self::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer of protocols without a form of their own: the reason as text.
    pub(super) fn plain(&self) -> Response {
        self.answer(self.status(), self.message() + "\n")
    }

    /// The answer, with `Retry-After` where trying again may help.
    pub(super) fn answer(&self, status: StatusCode, body: impl IntoResponse) -> Response {
        let mut response = (status, body).into_response();
        let seconds: u32 = match self {
            Self::Ingest(IngestError::Unavailable { .. }) => 10,
            Self::Ingest(_) | Self::Overloaded => 1,
            _ => return response,
        };
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        response
    }
}

/// `None` when absent or not text.
fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok())
}

/// The encoding that the headers state; `default` when they state none.
pub(super) fn content_encoding(
    headers: &HeaderMap,
    default: Encoding,
) -> Result<Encoding, WireError> {
    match headers.get(CONTENT_ENCODING) {
        None => Ok(default),
        Some(value) => Encoding::from_header(Some(value.to_str().unwrap_or("?"))),
    }
}

/// Reads at most `bytes_max` bytes within `timeout`.
pub(super) async fn read_body(
    body: Body,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, Failure> {
    let read = tokio::time::timeout(timeout, Limited::new(body, bytes_max).collect());
    match read.await {
        Err(_elapsed) => Err(Failure::BodyTimeout),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(Failure::Wire(WireError::TooLarge {
            what: "body",
            got: bytes_max as u64 + 1,
            limit: bytes_max as u64,
        })),
        Ok(Err(e)) => Err(Failure::Body(e.to_string())),
    }
}

/// What protocols without a form of their own answer: 204, or 400 with the reason when something
/// was rejected (the rest is stored).
pub(super) fn plain_answer(done: Result<IngestOutcome, Failure>) -> Response {
    match done {
        Err(failure) => failure.plain(),
        Ok(outcome) => match outcome.rejected_text() {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(why) => (StatusCode::BAD_REQUEST, obs_wire::cut_text(why) + "\n").into_response(),
        },
    }
}

/// A thread keeps a buffer for plain bodies up to this size: fresh memory for each costs more than
/// unpacking into it.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Unpacks a body for `work`.
fn with_plain<R>(
    body: &[u8],
    encoding: Encoding,
    caps: &WireCaps,
    work: impl FnOnce(&[u8]) -> Result<R, Failure>,
) -> Result<R, Failure> {
    thread_local! {
        static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = KEPT.take();
    let done =
        decompress_into(body, encoding, caps, &mut buffer).map_err(Failure::Wire).and_then(work);
    if buffer.capacity() <= KEPT_BYTES_MAX {
        KEPT.set(buffer);
    }
    done
}

/// One request on its way to a sink.
pub(super) struct Intake<'s> {
    pub(super) shared: &'s Arc<Shared>,
    /// The `protocol` label.
    pub(super) protocol: &'static str,
    pub(super) signal: Signal,
    pub(super) signed: Signed,
}

/// What a request says of its sender.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    path: String,
    header: Option<HeaderValue>,
}

/// A request's body: still on the wire, or read already because its framing had to be seen.
pub(super) enum Input {
    Unread(Body),
    Read(Bytes),
}

impl<'s> Intake<'s> {
    pub(super) fn of(
        shared: &'s Arc<Shared>,
        protocol: &'static str,
        signal: Signal,
        request: &Request,
    ) -> Self {
        let header = request.headers().get(SIGNATURE_HEADER).cloned();
        let signed = Signed { path: request.uri().path().to_owned(), header };
        Self { shared, protocol, signal, signed }
    }

    /// The format that the content type names; any other is refused.
    pub(super) fn format<F>(
        &self,
        headers: &HeaderMap,
        from_content_type: impl FnOnce(Option<&str>) -> Option<F>,
    ) -> Result<F, Failure> {
        let stated = content_type(headers);
        from_content_type(stated)
            .ok_or_else(|| self.refused(Failure::MediaType(stated.unwrap_or("").to_owned())))
    }

    async fn read(&self, input: Input) -> Result<Bytes, Failure> {
        match input {
            Input::Read(bytes) => Ok(bytes),
            Input::Unread(body) => {
                let limits = &self.shared.limits;
                read_body(body, limits.caps.compressed_bytes_max, limits.body_timeout).await
            }
        }
    }

    /// Reads a body, unpacks, decodes and stores it on a blocking thread and counts what came of it.
    /// The outcome holds what the decoder dropped and what the sink dropped.
    pub(super) async fn store<T, D, S>(
        &self,
        input: Input,
        encoding: Result<Encoding, WireError>,
        decode: D,
        store: S,
    ) -> Result<IngestOutcome, Failure>
    where
        T: Mark + 'static,
        D: FnOnce(&[u8], &WireCaps, TimestampNs) -> Result<Decoded<T>, WireError> + Send + 'static,
        S: FnOnce(&Sinks, T) -> Result<IngestOutcome, IngestError> + Send + 'static,
    {
        let signal = self.signal;
        self.run(input, encoding, move |plain, shared, verdict| {
            let caps = &shared.limits.caps;
            let mut decoded = decode(plain, caps, shared.clock.now_ns()).map_err(Failure::Wire)?;
            decoded.batch.mark(verdict);
            shared.note_rejected(signal, &decoded.outcome);
            let mut outcome = store(&shared.sinks, decoded.batch).map_err(Failure::Ingest)?;
            outcome.merge(decoded.outcome);
            Ok(outcome)
        })
        .await
    }

    /// As [`Intake::store`] for work that needs the plain body until all is stored; it is told what
    /// the request's signature is worth.
    pub(super) async fn run<W>(
        &self,
        input: Input,
        encoding: Result<Encoding, WireError>,
        work: W,
    ) -> Result<IngestOutcome, Failure>
    where
        W: FnOnce(&[u8], &Shared, Option<Verdict>) -> Result<IngestOutcome, Failure>
            + Send
            + 'static,
    {
        let encoding = encoding.map_err(|e| self.refused(Failure::Wire(e)))?;
        let body = self.read(input).await.map_err(|e| self.refused(e))?;
        let (bytes, started) = (body.len(), self.shared.clock.monotonic());
        let turn =
            tokio::time::timeout(self.shared.limits.queue_timeout, self.shared.turns.acquire());
        let Ok(Ok(_turn)) = turn.await else { return Err(self.refused(Failure::Overloaded)) };
        let shared = Arc::clone(self.shared);
        let signed = self.signed.clone();
        let work = move || {
            let verdict = shared.batch_verdict(&signed, &body)?;
            let caps = &shared.limits.caps;
            with_plain(&body, encoding, caps, |plain| work(plain, &shared, verdict))
        };
        let done = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(e) => {
                tracing::error!(protocol = self.protocol, error = %e, "receiver failed");
                Err(Failure::Bug)
            }
        };
        let took = self.shared.clock.monotonic().saturating_sub(started);
        self.shared.counters.request(self.protocol, bytes, took);
        match done {
            Ok(outcome) => {
                self.shared.counters.stored(self.protocol, self.signal, &outcome);
                Ok(outcome)
            }
            Err(failure) => Err(self.refused(failure)),
        }
    }

    /// Counts a request that was refused whole.
    pub(super) fn refused(&self, failure: Failure) -> Failure {
        self.shared.counters.rejected(self.protocol, failure.reason(), 1);
        // What storage refused is noted where storage is asked.
        if let (Some(log), false) =
            (&self.shared.sinks.notes.collection, matches!(failure, Failure::Ingest(_)))
        {
            let reason = format!("request_{}", failure.reason());
            log.reject(self.signal.as_str(), &reason, 1, self.shared.clock.now());
        }
        failure
    }
}

impl Shared {
    /// What the request's signature is worth, counted. `Err` if that is not enough.
    fn batch_verdict(&self, signed: &Signed, body: &[u8]) -> Result<Option<Verdict>, Failure> {
        let Some(attestation) = &self.sinks.notes.attestation else { return Ok(None) };
        let header = signed.header.as_ref().map(HeaderValue::as_bytes);
        let verdict = attestation.batch(header, &signed.path, body, self.clock.now());
        self.attest_counters.count("batch", verdict);
        match verdict {
            Some(v @ (Verdict::Failed | Verdict::UnknownKey)) if attestation.refuses() => {
                Err(Failure::Signature(v.as_str()))
            }
            other => Ok(other),
        }
    }

    /// What a decoder dropped of a request; what an engine drops is noted by its sink.
    pub(super) fn note_rejected(&self, signal: Signal, outcome: &IngestOutcome) {
        let Some(log) = &self.sinks.notes.collection else { return };
        for (reason, reject) in &outcome.rejected {
            log.reject(signal.as_str(), reason.as_str(), reject.count, self.clock.now());
        }
    }
}
