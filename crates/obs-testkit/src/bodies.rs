//! Bodies of the push protocols, written by hand from their specifications so that a test does not
//! encode with the code that it tests.

use serde_json::{Value, json};

/// Names and values of a series, without order.
pub type Labels = Vec<(String, String)>;

/// One series of a remote write: labels and (milliseconds, value).
pub type SeriesSamples = (Labels, Vec<(i64, f64)>);

/// A remote-write 1.0 body: protobuf `WriteRequest`, snappy block format. Labels are sorted here.
pub fn remote_write(series: &[SeriesSamples]) -> Vec<u8> {
    let mut request = Vec::new();
    for (labels, samples) in series {
        let mut sorted = labels.clone();
        sorted.sort();
        let mut message = Vec::new();
        for (name, value) in &sorted {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut message, 1, &label);
        }
        for (time, value) in samples {
            let mut sample = vec![0x09];
            sample.extend(value.to_le_bytes());
            sample.push(0x10);
            varint(&mut sample, *time as u64);
            field(&mut message, 2, &sample);
        }
        field(&mut request, 1, &message);
    }
    // Compression of a body in memory fails only beyond 4 GiB; an empty body then makes the test fail.
    snap::raw::Encoder::new().compress_vec(&request).unwrap_or_default()
}

/// A Loki push in JSON: one stream with its lines (nanoseconds, text).
pub fn logs_push(labels: &[(&str, &str)], lines: &[(i64, String)]) -> Value {
    let stream: serde_json::Map<String, Value> =
        labels.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let values: Vec<Value> = lines.iter().map(|(t, line)| json!([t.to_string(), line])).collect();
    json!({"streams": [{"stream": stream, "values": values}]})
}

/// An OTLP/JSON export of one trace: a root span and `children` below it, 10 ms each.
/// `trace_id` has 32 hexadecimal digits.
pub fn trace_export(service: &str, trace_id: &str, start_ns: i64, children: usize) -> Value {
    let span = |number: usize| {
        let begin = start_ns + number as i64 * 1_000_000;
        let mut span = json!({
            "traceId": trace_id,
            "spanId": format!("{:016x}", number + 1),
            "name": if number == 0 { "root".to_owned() } else { format!("step-{number}") },
            "kind": 2,
            "startTimeUnixNano": begin.to_string(),
            "endTimeUnixNano": (begin + 10_000_000).to_string(),
            "attributes": [{"key": "step", "value": {"intValue": number.to_string()}}],
            "status": {"code": 1},
        });
        if number > 0 {
            span["parentSpanId"] = json!(format!("{:016x}", 1));
        }
        span
    };
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeSpans": [{"spans": (0..=children).map(span).collect::<Vec<_>>()}],
    }]})
}

/// A length-delimited field.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_export_links_its_spans() {
        let export = trace_export("s", "0af7651916cd43dd8448eb211c80319c", 1_000_000_000, 2);
        let spans = export["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.len(), 3);
        assert_eq!(spans[2]["parentSpanId"], spans[0]["spanId"]);
        assert_eq!(spans[0].get("parentSpanId"), None);
    }

    #[test]
    fn a_remote_write_body_is_the_protobuf_it_should_be() {
        let series = (
            vec![("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())],
            vec![(300, 1.0)],
        );
        let raw = snap::raw::Decoder::new().decompress_vec(&remote_write(&[series])).unwrap();
        let mut want = vec![0x0a, 30];
        want.extend([0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'1']);
        want.extend([0x0a, 6, 0x0a, 1, b'b', 0x12, 1, b'2']);
        want.extend([0x12, 12, 0x09]);
        want.extend(1.0_f64.to_le_bytes());
        want.extend([0x10, 0xac, 0x02]);
        assert_eq!(raw, want);
    }
}
