//! Every kind of panel draws something that can be seen, in both themes, whatever the data.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeMap;

use obs_dash::Dashboard;
use obs_draw::{
    Answer, DrawError, LogLine, Picture, Placed, Rows, Series, Theme, Window, dashboard_png,
    panel_png,
};
use serde_json::{Value, json};
use tiny_skia::Pixmap;

const WINDOW: Window =
    Window { from_ms: 1_765_029_600_000, to_ms: 1_765_033_200_000, step_ms: 60_000 };
const PICTURE: Picture = Picture { width: 600, height: 320, theme: Theme::Dark, scale: 1.0 };

const KINDS: [&str; 15] = [
    "timeseries",
    "stat",
    "gauge",
    "bargauge",
    "barchart",
    "piechart",
    "table",
    "heatmap",
    "histogram",
    "state-timeline",
    "status-history",
    "logs",
    "traces",
    "nodeGraph",
    "worldmap",
];

fn board(kind: &str, more: &Value) -> Dashboard {
    let mut panel = json!({
        "type": kind, "id": 1, "title": "A panel", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 8},
        "targets": [{"refId": "A", "expr": "x"}],
        "fieldConfig": {"defaults": {"unit": "s", "thresholds": {"steps": [
            {"value": null, "color": "green"}, {"value": 3, "color": "red"}]}}},
    });
    panel.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Dashboard::from_grafana_value(&json!({"title": "A page", "uid": "p", "panels": [panel]}))
        .unwrap()
}

fn series(name: &str, values: impl Fn(i64) -> f64) -> Series {
    let points = (0..=60).map(|i| (WINDOW.from_ms + i * WINDOW.step_ms, values(i))).collect();
    let labels = BTreeMap::from([("job".to_owned(), name.to_owned())]);
    Series { name: name.to_owned(), ref_id: "A".to_owned(), labels, points }
}

fn data(kind: &str) -> Answer {
    let logs = vec![LogLine {
        time_ms: WINDOW.to_ms,
        level: "error".to_owned(),
        text: "it broke".to_owned(),
    }];
    match kind {
        "logs" => Answer { logs, ..Answer::default() },
        "traces" => {
            let columns = vec!["Name".to_owned(), "Took".to_owned()];
            let rows = Rows { columns, rows: vec![vec!["checkout".to_owned(), "3 ms".to_owned()]] };
            Answer { rows: Some(rows), ..Answer::default() }
        }
        _ => Answer {
            series: vec![
                series("alpha", |i| (i as f64 / 7.0).sin() + 2.0),
                series("beta", |i| (i % 3) as f64),
            ],
            ..Answer::default()
        },
    }
}

fn draw(d: &Dashboard, answer: &Answer, picture: Picture) -> Result<Vec<u8>, DrawError> {
    let panel = &d.panels[0];
    let (title, text) = (panel.title.as_str(), panel.text.as_str());
    panel_png(&Placed { grid: panel.position, panel, title, text, answer, window: WINDOW }, picture)
}

/// Pixels that differ between two pictures of one size.
fn different(a: &[u8], b: &[u8]) -> usize {
    let (a, b) = (Pixmap::decode_png(a).unwrap(), Pixmap::decode_png(b).unwrap());
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    a.pixels().iter().zip(b.pixels()).filter(|(a, b)| a != b).count()
}

#[test]
fn every_kind_shows_its_data_in_both_themes() {
    for theme in [Theme::Dark, Theme::Light] {
        for kind in KINDS {
            let d = board(kind, &json!({}));
            let picture = Picture { theme, ..PICTURE };
            let full = draw(&d, &data(kind), picture).unwrap();
            let empty = draw(&d, &Answer::default(), picture).unwrap();
            let changed = different(&full, &empty);
            assert!(changed > 400, "{kind}: only {changed} pixels tell data from none");
        }
        let text = board(
            "text",
            &json!({"options": {"mode": "markdown", "content": "# Title\n- one\n- two"}}),
        );
        let none = board("text", &json!({"options": {"mode": "markdown", "content": ""}}));
        let picture = Picture { theme, ..PICTURE };
        let (full, empty) =
            (draw(&text, &data("text"), picture), draw(&none, &data("text"), picture));
        assert!(different(&full.unwrap(), &empty.unwrap()) > 200);
    }
    let d = board("stat", &json!({}));
    let dark = draw(&d, &data("stat"), PICTURE).unwrap();
    let light = draw(&d, &data("stat"), Picture { theme: Theme::Light, ..PICTURE }).unwrap();
    assert!(different(&dark, &light) > 150_000);
}

#[test]
fn settings_are_seen() {
    let plain = draw(&board("timeseries", &json!({})), &data("x"), PICTURE).unwrap();
    for more in [
        json!({"fieldConfig": {"defaults": {"unit": "bytes", "custom": {"stacking": {"mode": "normal"}, "fillOpacity": 60}}}}),
        json!({"fieldConfig": {"defaults": {"custom": {"drawStyle": "bars"}}}}),
        json!({"fieldConfig": {"defaults": {"custom": {"drawStyle": "points"}}}}),
        json!({"options": {"legend": {"showLegend": false}}}),
        json!({"fieldConfig": {"defaults": {}, "overrides": [{"matcher": {"id": "byName", "options": "beta"}, "properties": [
            {"id": "custom.axisPlacement", "value": "right"}, {"id": "color", "value": {"mode": "fixed", "fixedColor": "#ff00ff"}}]}]}}),
        json!({"fieldConfig": {"defaults": {"thresholds": {"steps": [{"value": null, "color": "green"}, {"value": 2, "color": "red"}]},
            "custom": {"thresholdsStyle": {"mode": "line+area"}}}}}),
    ] {
        let changed = draw(&board("timeseries", &more), &data("x"), PICTURE).unwrap();
        assert!(different(&plain, &changed) > 100, "{more}");
    }
    let mapped = json!({"fieldConfig": {"defaults": {"mappings": [{"type": "range", "options": {"from": 0, "to": 9, "result": {"text": "fine", "color": "purple"}}}]}}});
    let (a, b) = (board("stat", &json!({})), board("stat", &mapped));
    assert!(
        different(&draw(&a, &data("x"), PICTURE).unwrap(), &draw(&b, &data("x"), PICTURE).unwrap())
            > 100
    );
    let noted = Answer { notices: vec!["300 of 500 series".to_owned()], ..data("x") };
    let d = board("timeseries", &json!({}));
    assert!(
        different(&draw(&d, &data("x"), PICTURE).unwrap(), &draw(&d, &noted, PICTURE).unwrap())
            > 100
    );
}

#[test]
fn hostile_data_is_drawn_or_left_out_without_harm() {
    let odd = [
        series("nan", |_| f64::NAN),
        series("inf", |i| if i % 2 == 0 { f64::INFINITY } else { f64::NEG_INFINITY }),
        series("huge", |i| 1e308 * if i % 2 == 0 { 1.0 } else { -1.0 }),
        series("tiny", |_| 5e-324),
        series("zero", |_| 0.0),
        series("\u{202e}مرحبا\n\u{0}🦀", |i| i as f64),
        Series { points: vec![(i64::MIN, 1.0), (i64::MAX, 2.0)], ..series("far", |_| 0.0) },
        Series { points: Vec::new(), ..series("none", |_| 0.0) },
    ];
    for kind in KINDS {
        for s in &odd {
            let answer = Answer { series: vec![s.clone()], ..Answer::default() };
            let small = Picture { width: 40, height: 30, ..PICTURE };
            for picture in [PICTURE, small] {
                assert!(
                    draw(&board(kind, &json!({})), &answer, picture).is_ok(),
                    "{kind} {}",
                    s.name
                );
            }
        }
        let many = (0..3_000).map(|n| Series {
            points: vec![(WINDOW.to_ms, f64::from(n))],
            ..series(&format!("s{n}"), |_| 0.0)
        });
        let answer = Answer { series: many.collect(), ..Answer::default() };
        assert!(draw(&board(kind, &json!({})), &answer, PICTURE).is_ok(), "{kind} with many");
    }
}

#[test]
fn sizes_have_limits_and_a_page_its_own_height() {
    let d = board("stat", &json!({}));
    let wide = Picture { width: 20_000, ..PICTURE };
    let e = draw(&d, &data("x"), wide).unwrap_err();
    assert_eq!(e.to_string(), "width 20000 is not 40 to 8000");
    let big = Picture { width: 8_000, height: 8_000, scale: 4.0, ..PICTURE };
    assert!(matches!(draw(&d, &data("x"), big), Err(DrawError::Size { what: "pixels", .. })));
    assert!(draw(&d, &data("x"), Picture { scale: 9.0, ..PICTURE }).is_err());
    let panel = &d.panels[0];
    let answer = data("x");
    let one = Placed {
        grid: panel.position,
        panel,
        title: "T",
        text: "",
        answer: &answer,
        window: WINDOW,
    };
    let picture = Picture { height: 0, scale: 2.0, ..PICTURE };
    let png = dashboard_png("A page", WINDOW, &[one, one], picture).unwrap();
    let pixels = Pixmap::decode_png(&png).unwrap();
    assert_eq!(pixels.width(), 1_200);
    assert!(pixels.height() > 600, "{}", pixels.height());
}
