//! Running servers: Prometheus through remote read, VictoriaMetrics through its export.

use std::time::Duration;

use anyhow::{Context, bail};
use obs_query::format_time;
use obs_types::{LabelSet, MatchOp, Matcher, SeriesSamples, TimestampMs};
use obs_wire::WireCaps;
use obs_wire::compression::{Encoding, decompress, snappy_compress};
use obs_wire::remote_read::{
    ReadQuery, ReadRequest, ReadResponseType, decode_results, encode_request,
};
use serde_json::Value;

use super::Wanted;
use super::store::Store;

/// What one request asks for; halved where the server finds it too much.
const PART_MS: i64 = 3_600_000;
const PART_MS_MIN: i64 = 60_000;
const TIMEOUT: Duration = Duration::from_secs(300);

fn client() -> anyhow::Result<reqwest::Client> {
    obs_collect::install_crypto();
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .user_agent(concat!("vm-obs/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("cannot set up the HTTP client")
}

/// Matchers for every series where none were given: remote read refuses an empty set.
fn sets(wanted: &Wanted) -> anyhow::Result<Vec<Vec<Matcher>>> {
    Ok(match wanted.sets.as_slice() {
        [] => vec![vec![Matcher::new("__name__", MatchOp::Regex, ".+")?]],
        given => given.to_vec(),
    })
}

/// Parts of the window, oldest first; `work` says `false` where a part is too much.
async fn by_parts(
    wanted: &Wanted,
    now: i64,
    mut work: impl AsyncFnMut(i64, i64) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let (mut from, end) = (wanted.start, wanted.end.min(now));
    let mut length = PART_MS;
    while from < end {
        let to = from.saturating_add(length).min(end);
        if work(from, to).await? {
            from = to;
        } else if length <= PART_MS_MIN {
            bail!("a minute from {} on is too much for the server", format_time(TimestampMs(from)));
        } else {
            length = (length / 2).max(PART_MS_MIN);
        }
    }
    Ok(())
}

pub(super) async fn prometheus(
    address: &str,
    wanted: &Wanted,
    store: &mut Store,
) -> anyhow::Result<()> {
    let http = client()?;
    let url = format!("{}/api/v1/read", address.trim_end_matches('/'));
    let caps = WireCaps {
        compressed_bytes_max: 1 << 30,
        output_bytes_max: 2 << 30,
        messages_max: usize::MAX,
        ..WireCaps::default()
    };
    let sets = sets(wanted)?;
    let now = store.now().0;
    by_parts(wanted, now, async |from, to| {
        let queries = sets.iter().map(|matchers| ReadQuery {
            start_ms: from,
            end_ms: to - 1,
            matchers: matchers.clone(),
        });
        let request =
            ReadRequest { queries: queries.collect(), response_type: ReadResponseType::Samples };
        let body = snappy_compress(&encode_request(&request))?;
        let reply = http
            .post(&url)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-read-version", "0.1.0")
            .body(body)
            .send()
            .await
            .with_context(|| format!("cannot ask {url}"))?;
        let status = reply.status();
        let bytes = reply.bytes().await.context("the answer broke off")?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&bytes);
            // Prometheus refuses by a sample limit of its own.
            if text.contains("exceeded sample limit") || text.contains("too many") {
                return Ok(false);
            }
            bail!("{url} answered {status}: {}", text.trim());
        }
        let plain = decompress(&bytes, Encoding::Snappy, &caps)?;
        for result in decode_results(&plain, &caps)? {
            if let Some(text) = result.outcome.rejected_text() {
                eprintln!("warning: {text}");
            }
            for series in result.batch.series {
                store.add(series)?;
            }
        }
        progress(from, to, store);
        Ok(true)
    })
    .await
}

fn progress(from: i64, to: i64, store: &Store) {
    let [from, to] = [from, to].map(|ms| format_time(TimestampMs(ms)));
    eprintln!("{from} to {to}: {} samples so far", store.stored());
}

pub(super) async fn victoriametrics(
    address: &str,
    wanted: &Wanted,
    store: &mut Store,
) -> anyhow::Result<()> {
    let http = client()?;
    let url = format!("{}/api/v1/export", address.trim_end_matches('/'));
    let selectors: Vec<String> = match wanted.selectors.as_slice() {
        [] => vec!["{__name__=~\".+\"}".to_owned()],
        given => given.to_vec(),
    };
    let now = store.now().0;
    by_parts(wanted, now, async |from, to| {
        let mut query: Vec<(&str, String)> =
            selectors.iter().map(|s| ("match[]", s.clone())).collect();
        let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000));
        query.push(("start", seconds(from)));
        query.push(("end", seconds(to - 1)));
        let mut reply = http
            .get(&url)
            .query(&query)
            .send()
            .await
            .with_context(|| format!("cannot ask {url}"))?;
        let status = reply.status();
        if !status.is_success() {
            bail!("{url} answered {status}: {}", reply.text().await.unwrap_or_default().trim());
        }
        let mut rest: Vec<u8> = Vec::new();
        while let Some(chunk) = reply.chunk().await.context("the answer broke off")? {
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                store.add(exported(&line, wanted)?)?;
            }
        }
        if !rest.is_empty() {
            store.add(exported(&rest, wanted)?)?;
        }
        progress(from, to, store);
        Ok(true)
    })
    .await
}

/// `{"metric":{…},"values":[…],"timestamps":[…]}`; NaN and infinities are null and texts.
fn exported(line: &[u8], wanted: &Wanted) -> anyhow::Result<SeriesSamples> {
    let shown = || String::from_utf8_lossy(line).chars().take(120).collect::<String>();
    let object: Value =
        serde_json::from_slice(line).with_context(|| format!("not JSON: {}", shown()))?;
    let labels = object
        .get("metric")
        .and_then(Value::as_object)
        .with_context(|| format!("no metric in {}", shown()))?
        .iter()
        .map(|(n, v)| (n.clone(), v.as_str().unwrap_or_default().to_owned()));
    let list = |name: &str| {
        object
            .get(name)
            .and_then(Value::as_array)
            .with_context(|| format!("no {name} in {}", shown()))
    };
    let (values, times) = (list("values")?, list("timestamps")?);
    if values.len() != times.len() {
        bail!("{} values and {} timestamps in {}", values.len(), times.len(), shown());
    }
    let mut samples = Vec::with_capacity(values.len());
    for (value, time) in values.iter().zip(times) {
        let value = match value {
            Value::Null => f64::NAN,
            Value::String(text) => match text.as_str() {
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                text => text.parse().with_context(|| format!("value {text:?}"))?,
            },
            value => value.as_f64().with_context(|| format!("value {value}"))?,
        };
        let time = time.as_i64().with_context(|| format!("timestamp {time}"))?;
        if wanted.time(time) {
            samples.push((TimestampMs(time), value));
        }
    }
    samples.sort_by_key(|s| s.0);
    Ok(SeriesSamples { labels: LabelSet::from_pairs(labels), samples, ..SeriesSamples::default() })
}
