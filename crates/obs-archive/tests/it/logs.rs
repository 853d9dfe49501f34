use super::*;

pub(crate) fn entry(offset_ns: i64, line: &str, metadata: &[(&str, &str)]) -> LogEntry {
    LogEntry {
        timestamp: TimestampNs((END_MS - HOUR_MS) * 1_000_000 + offset_ns),
        line: line.into(),
        metadata: LabelSet::from_pairs(metadata.iter().copied()),
    }
}

pub(crate) fn example_logs() -> GivenLogs {
    let guardian = LabelSet::from_pairs([("service_name", "guardian"), ("node", "brick-01")]);
    let portal = LabelSet::from_pairs([("service_name", "portal")]);
    GivenLogs(vec![
        LogStream {
            labels: portal.clone(),
            entries: vec![
                entry(5, "b", &[("level", "error")]),
                entry(3_599_999_999_999, "end", &[]),
            ],
        },
        LogStream {
            labels: guardian,
            entries: vec![
                entry(
                    0,
                    "first \u{1F680}\r\n\t",
                    &[("detected_level", "debug"), ("trace_id", "ab")],
                ),
                entry(5, "a", &[("level", "warning")]),
                entry(5, "a", &[("level", "warning")]),
                entry(60_000_000_001, "", &[("level", "critical"), ("x", "1")]),
            ],
        },
        // A second run of the first stream, and a line of another hour.
        LogStream {
            labels: portal,
            entries: vec![entry(4, "earlier", &[]), entry(3_600_000_000_000, "next hour", &[])],
        },
    ])
}

pub(crate) fn all_lines(source: &dyn LogSource, direction: Direction) -> Vec<(String, LogEntry)> {
    let select = LogSelect {
        matchers: &[],
        range: hour().range_ns(),
        line_contains: &[],
        metadata_equals: &[],
        direction,
        limit: None,
    };
    let mut all: Vec<(String, LogEntry)> = source
        .select(&select, &context())
        .unwrap()
        .map(Result::unwrap)
        .flat_map(|run| {
            let labels = run.labels.to_string();
            run.entries.into_iter().map(move |e| (labels.clone(), e))
        })
        .filter(|(_, e)| hour().range_ns().contains(e.timestamp))
        .collect();
    all.sort_by(|a, b| (a.1.timestamp, &a.0).cmp(&(b.1.timestamp, &b.0)));
    all
}

#[test]
fn logs_read_back_and_open_with_plain_gzip() {
    let disk = fake();
    let archive = open(&disk);
    let source = example_logs();
    let seal = archive.seal_logs(hour(), 0, &source).unwrap();
    assert_eq!(seal.storage_path, "telemetry/logs/2025-12-06/hour-14.jsonl.gz");
    let summary = seal.logs().unwrap();
    let counts: Vec<u64> = summary.log_counts.iter().map(|(_, n)| n).collect();
    assert_eq!(counts, [0, 1, 2, 2, 1, 1]);
    assert_eq!(summary.services_reporting, ["guardian", "portal"]);
    assert_eq!(seal.records.count, 7);

    let archive = open(&disk);
    for direction in [Direction::Forward, Direction::Backward] {
        assert_eq!(all_lines(&archive, direction), all_lines(&source, direction));
    }
    assert_eq!(archive.streams(&[], hour().range_ns(), &context()).unwrap().len(), 2);
    let stats = LogSource::stats(&archive, &[], hour().range_ns(), &context()).unwrap();
    assert_eq!((stats.entries, stats.chunks, stats.streams), (7, 1, 2));

    let bytes = disk.read(&Path::new("/data").join(&seal.storage_path)).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(
        &mut flate2::read::MultiGzDecoder::new(bytes.as_slice()),
        &mut text,
    )
    .unwrap();
    let ids: BTreeSet<String> = text
        .lines()
        .map(|line| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            json["log_id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 7);
    let head = flate2::read::GzDecoder::new(bytes.as_slice());
    let comment = String::from_utf8_lossy(head.header().unwrap().comment().unwrap()).into_owned();
    assert!(comment.contains("hour=2025-12-06T14") && comment.contains("hour_key="), "{comment}");
}

#[test]
fn many_lines_fill_several_members_and_late_ones_a_revision() {
    let disk = fake();
    let archive = open(&disk);
    let stream = LabelSet::from_pairs([("service_name", "s")]);
    let line = |i: i64| entry(i * 1_000_000, &format!("line {i} of many, {}", i * i), &[]);
    let all: Vec<LogEntry> = (0..6_000).map(line).collect();
    let mut early = all.clone();
    let late: Vec<LogEntry> = vec![early.remove(100), early.remove(4_000)];
    let seal = archive
        .seal_logs(
            hour(),
            0,
            &GivenLogs(vec![LogStream { labels: stream.clone(), entries: early }]),
        )
        .unwrap();
    let source = GivenLogs(vec![LogStream { labels: stream, entries: all }]);
    let backfill = archive.backfill_logs(hour(), &source).unwrap().unwrap();
    assert_eq!(backfill.records.count, late.len() as u64);
    assert!(archive.backfill_logs(hour(), &source).unwrap().is_none());
    assert_eq!(all_lines(&archive, Direction::Backward), all_lines(&source, Direction::Backward));
    let stats = LogSource::stats(&archive, &[], hour().range_ns(), &context()).unwrap();
    assert!(stats.chunks > 3, "{stats:?}");
    assert_eq!(archive.verify_file(&seal.storage_path).unwrap().records, seal.records);

    let select = LogSelect {
        matchers: &[],
        range: hour().range_ns(),
        line_contains: &["line 4001 ".to_owned()],
        metadata_equals: &[],
        direction: Direction::Forward,
        limit: Some(1),
    };
    let found: Vec<LogStream> =
        LogSource::select(&archive, &select, &context()).unwrap().map(Result::unwrap).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].entries.len(), 1);
}
