//! Reading by machines: remote read and federation.

use obs_types::TimestampMs;
use obs_wire::compression::{Encoding, decompress, snappy_compress};
use obs_wire::tsdb::{Chunk, ChunkEncoding, Samples};
use obs_wire::{WireCaps, remote_write};

use crate::server::{NOW, SHARED, Server, options};

const PROTOBUF: [(&str, &str); 2] =
    [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A `prometheus.ReadRequest` for one metric, by hand.
fn request(metric: &str, start: i64, end: i64, types: &[u8]) -> Vec<u8> {
    let mut matcher = Vec::new();
    field(2, b"__name__", &mut matcher);
    field(3, metric.as_bytes(), &mut matcher);
    let mut query = vec![1 << 3];
    varint(start as u64, &mut query);
    query.push(2 << 3);
    varint(end as u64, &mut query);
    field(3, &matcher, &mut query);
    let mut request = Vec::new();
    field(1, &query, &mut request);
    field(2, types, &mut request);
    snappy_compress(&request).unwrap()
}

#[test]
fn sampled_remote_read_gives_every_sample_of_the_range() {
    let (start, end) = (NOW.0 - 120_000, NOW.0);
    let body = request("up", start, end, &[0]);
    let answer = SHARED.request("POST", "/api/v1/read", &PROTOBUF, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-encoding").as_deref(), Some("snappy"));
    assert_eq!(answer.header("content-type").as_deref(), Some("application/x-protobuf"));
    let caps = WireCaps::default();
    let plain = decompress(&answer.body, Encoding::Snappy, &caps).unwrap();
    // A ReadResponse holds results in field 1, each with series in field 1: the same as a write
    // request within a field.
    assert_eq!(plain[0], 1 << 3 | 2);
    let skip = 1 + plain[1..].iter().take_while(|b| **b >= 0x80).count() + 1;
    let read = remote_write::decode_v1(&plain[skip..], &caps).unwrap().batch.series;
    let shown: Vec<(Option<&str>, Vec<i64>)> = read
        .iter()
        .map(|s| (s.labels.get("instance"), s.samples.iter().map(|(t, _)| t.0).collect()))
        .collect();
    let times = vec![start, start + 60_000, end];
    assert_eq!(shown, [(Some("a:9100"), times.clone()), (Some("b:9100"), times)]);
    assert_eq!(read[0].samples[0], (TimestampMs(start), 1.0));
}

#[test]
fn streamed_remote_read_sends_checked_frames() {
    let body = request("up", NOW.0 - 1_800_000, NOW.0, &[1, 0]);
    let answer = SHARED.streamed("POST", "/api/v1/read", &PROTOBUF, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse")
    );
    let mut rest = answer.body.as_slice();
    let mut samples = Vec::new();
    while !rest.is_empty() {
        // Frames of this size have one or two bytes of length.
        let (length, taken) = match rest {
            [low, high, ..] if *low >= 0x80 => {
                (usize::from(*low & 0x7f) | usize::from(*high) << 7, 2)
            }
            [low, ..] => (usize::from(*low), 1),
            [] => break,
        };
        let (sum, message) = rest[taken..].split_at(4);
        let (message, after) = message.split_at(length);
        assert_eq!(sum, crc32c::crc32c(message).to_be_bytes());
        rest = after;
        // The data of the chunk begins with its number of samples, 31.
        let at = message.windows(2).position(|w| w == [0, 31]).unwrap();
        let chunk = Chunk { encoding: ChunkEncoding::Xor, data: &message[at..], offset: 0 };
        match chunk.samples("frame").unwrap() {
            Samples::Floats(all) => samples.extend(all),
            Samples::Histograms(_) => panic!("floats were expected"),
        }
    }
    assert_eq!(samples.len(), 62);
    assert_eq!(samples[0], (NOW.0 - 1_800_000, 1.0));
    assert_eq!(samples[61], (NOW.0, 0.0));
}

#[test]
fn remote_read_says_what_is_wrong() {
    for (headers, body, says) in [
        (PROTOBUF, b"not snappy".to_vec(), "snappy"),
        (PROTOBUF, request("up", 0, 1, &[7]), "[7]"),
        (PROTOBUF, snappy_compress(&[0x0a, 9]).unwrap(), "remote read request"),
        ([PROTOBUF[0], ("Content-Encoding", "br")], Vec::new(), "br"),
    ] {
        let answer = SHARED.request("POST", "/api/v1/read", &headers, &body);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(says), "{}", answer.text());
    }
}

#[test]
fn federation_gives_the_newest_samples() {
    let target = "/federate?match[]=up&match[]=gone&match[]=%7B%22http.requests%22%7D";
    let now = NOW.0;
    let answer = SHARED.get(target);
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert_eq!(
        answer.text(),
        format!(
            "# TYPE \"http.requests\" untyped\n\
             {{\"http.requests\",\"http.status\"=\"200\",instance=\"\"}} 7 {now}\n\
             # TYPE up untyped\n\
             up{{instance=\"a:9100\",job=\"node\"}} 1 {now}\n\
             up{{instance=\"b:9100\",job=\"node\"}} 0 {now}\n"
        ),
        "a series that ended is left out"
    );
    assert_eq!(SHARED.get("/federate").text(), "");
    assert_eq!(SHARED.get("/federate?match[]=%7B").status, 400);
    let accept = [("Accept", "application/openmetrics-text; version=1.0.0")];
    let open = SHARED.request("GET", "/prometheus/federate?match[]=up", &accept, b"").text();
    assert!(open.contains("# TYPE up unknown\n") && open.ends_with("# EOF\n"), "{open}");
}

#[test]
fn federation_adds_external_labels() {
    let server = Server::with(options());
    let text = server.get("/federate?match[]=up").text();
    assert!(text.contains("up{instance=\"a:9100\",job=\"node\",region=\"eu\"} 1 "), "{text}");
}
