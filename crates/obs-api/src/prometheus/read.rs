//! Remote read: samples in one message, or chunks of every series in a stream of frames.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use obs_types::{
    CancelToken, ErrorKind, QueryContext, SeriesData, SeriesSelect, TimeRangeMs, TimestampMs,
};
use obs_wire::compression::{Encoding, decompress, snappy_compress};
use obs_wire::remote_read::{
    ReadQuery, ReadRequest, ReadResponseType, decode_request, encode_frames, encode_result,
};
use obs_wire::{WireCaps, WireError};
use tokio::sync::mpsc;

use super::answer;
use crate::run::{CancelOnDrop, place, run};
use crate::{ApiError, ApiState};

/// Series that wait for a slow reader.
const SERIES_WAITING: usize = 16;

fn wrong(e: &WireError) -> ApiError {
    ApiError::invalid(e.to_string())
}

pub(super) async fn read(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let work = async {
        let coding = headers.get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok());
        // Clients of the first days send no header, and always snappy.
        let coding = Encoding::from_header(coding.or(Some("snappy"))).map_err(|e| wrong(&e))?;
        let caps = WireCaps::default();
        let plain = decompress(&body, coding, &caps).map_err(|e| wrong(&e))?;
        let request = decode_request(&plain, &caps).map_err(|e| wrong(&e))?;
        match request.response_type {
            ReadResponseType::Samples => samples(&state, request).await,
            ReadResponseType::StreamedXorChunks => frames(&state, request).await,
        }
    };
    answer(work.await)
}

fn select(query: &ReadQuery) -> SeriesSelect<'_> {
    let range =
        TimeRangeMs::new(TimestampMs(query.start_ms), TimestampMs(query.end_ms.saturating_add(1)));
    SeriesSelect { matchers: &query.matchers, range, function: None, step_ms: None }
}

/// Without the samples outside the range that a source may give too.
fn within(mut series: SeriesData, query: &ReadQuery) -> SeriesData {
    let cut = |times: &[i64]| {
        let from = times.partition_point(|t| *t < query.start_ms);
        (from, times.partition_point(|t| *t <= query.end_ms).max(from))
    };
    let (from, to) = cut(&series.timestamps);
    series.timestamps = series.timestamps.drain(from..to).collect();
    series.values = series.values.drain(from..to).collect();
    series.start_timestamps.clear();
    let (from, to) = cut(&series.histograms.timestamps);
    series.histograms.timestamps = series.histograms.timestamps.drain(from..to).collect();
    series.histograms.values = series.histograms.values.drain(from..to).collect();
    series.histograms.start_timestamps.clear();
    series
}

/// The series of a query that have samples in its range, by labels.
fn selected(
    state: &ApiState,
    query: &ReadQuery,
    context: &QueryContext,
) -> Result<Vec<SeriesData>, ApiError> {
    let mut all = Vec::new();
    if query.end_ms < query.start_ms {
        return Ok(all);
    }
    for series in state.front.metrics.select(&select(query), context)? {
        let series = within(series?, query);
        context.check()?;
        context.memory.grow(series.sample_count() * 32)?;
        if !series.timestamps.is_empty() || !series.histograms.timestamps.is_empty() {
            all.push(series);
        }
    }
    all.sort_by(|a: &SeriesData, b| a.labels.cmp(&b.labels));
    Ok(all)
}

async fn samples(state: &Arc<ApiState>, request: ReadRequest) -> Result<Response, ApiError> {
    let body = run(state, None, move |s, context| {
        let mut out = Vec::new();
        for query in &request.queries {
            out.extend(encode_result(&selected(s, query, context)?));
        }
        snappy_compress(&out).map_err(|e| ApiError::new(ErrorKind::LimitExceeded, e.to_string()))
    })
    .await?;
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(ReadResponseType::Samples.content_type()),
    );
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    Ok(response)
}

/// The first frame decides between an error and an answer; what fails after it breaks the stream
/// off, which the reader notices.
async fn frames(state: &Arc<ApiState>, request: ReadRequest) -> Result<Response, ApiError> {
    let place = place(state).await?;
    let cancel = CancelToken::default();
    let guard = CancelOnDrop(cancel.clone());
    let (to, mut from) = mpsc::channel::<Result<Vec<u8>, ApiError>>(SERIES_WAITING);
    let state = Arc::clone(state);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let context = state.front.context(None, cancel);
        if let Err(e) = send_all(&state, &request, &context, &to) {
            // Nobody listens where the reader has gone.
            to.blocking_send(Err(e)).unwrap_or_default();
        }
    });
    let first = from.recv().await.transpose()?;
    let waiting = (first, from, guard);
    let frames = stream::unfold(waiting, |(first, mut from, guard)| async move {
        let next = match first {
            Some(first) => Ok(first),
            None => from.recv().await?.map_err(|e| std::io::Error::other(e.message)),
        };
        Some((next.map(Bytes::from), (None, from, guard)))
    });
    let kind = HeaderValue::from_static(ReadResponseType::StreamedXorChunks.content_type());
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(frames)).into_response())
}

/// Series by series, in label order, which readers that merge several answers rely on.
fn send_all(
    state: &ApiState,
    request: &ReadRequest,
    context: &QueryContext,
    to: &mpsc::Sender<Result<Vec<u8>, ApiError>>,
) -> Result<(), ApiError> {
    for (index, query) in request.queries.iter().enumerate() {
        for series in selected(state, query, context)? {
            context.check()?;
            let frames = encode_frames(index, &series);
            if to.blocking_send(Ok(frames)).is_err() {
                return Err(ApiError::new(ErrorKind::Cancelled, "the reader has gone"));
            }
        }
    }
    Ok(())
}
