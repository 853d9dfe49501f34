//! Scores the anomaly detector on the NAB series in `VMOBS_VECTORS`, by the rule of the folder's
//! README, and checks the scorer against its known answers first.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use obs_analysis::anomaly::{DEFAULT_CONFIG, Detector};
use obs_types::TimestampMs;

struct Series {
    name: String,
    times: Vec<TimestampMs>,
    values: Vec<f64>,
    /// First and last row of each labelled window.
    windows: Vec<(usize, usize)>,
}

#[derive(Clone, Copy)]
struct Profile {
    tp: f64,
    fp: f64,
    missed: f64,
}

const STANDARD: Profile = Profile { tp: 1.0, fp: 0.11, missed: 1.0 };
const LOW_FP: Profile = Profile { tp: 1.0, fp: 0.22, missed: 1.0 };
const LOW_FN: Profile = Profile { tp: 1.0, fp: 0.11, missed: 2.0 };

fn folder() -> Option<PathBuf> {
    let root = std::env::var("VMOBS_VECTORS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let folder = root.join("nab");
    folder.join("data").is_dir().then_some(folder)
}

fn load(folder: &Path) -> Vec<Series> {
    let labels = std::fs::read_to_string(folder.join("labels/combined_windows.json")).unwrap();
    let labels: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(&labels).unwrap();
    labels
        .into_iter()
        .map(|(name, windows)| {
            let text = std::fs::read_to_string(folder.join("data").join(&name)).unwrap();
            let rows: Vec<(&str, f64)> = text
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(','))
                .map(|(time, value)| (time, value.trim().parse().unwrap()))
                .collect();
            let at = |time: &str| {
                let time = time.trim_end_matches(".000000");
                rows.iter().position(|(t, _)| *t == time).unwrap()
            };
            Series {
                windows: windows.iter().map(|(from, to)| (at(from), at(to))).collect(),
                times: rows.iter().map(|(time, _)| time_of(time)).collect(),
                values: rows.iter().map(|(_, value)| *value).collect(),
                name,
            }
        })
        .collect()
}

fn time_of(text: &str) -> TimestampMs {
    let civil: jiff::civil::DateTime = text.parse().unwrap();
    TimestampMs(civil.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond())
}

fn sigmoid(y: f64) -> f64 {
    if y > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * y).exp()) - 1.0 }
}

/// The raw score of one series, the windows that were hit and the false alerts. `rows` are the
/// detections, ascending.
fn raw(series: &Series, profile: Profile, rows: &[usize]) -> (f64, usize, usize) {
    let count = series.values.len();
    let probation = (count * 15 / 100).min(750);
    let (mut score, mut hits, mut false_alerts) = (0.0, 0, 0);
    for (left, right) in &series.windows {
        let width = (right - left + 1) as f64;
        match rows.iter().copied().find(|i| (*left.max(&probation)..=*right).contains(i)) {
            Some(i) => {
                hits += 1;
                let y = -((right - i + 1) as f64) / width;
                score += profile.tp * sigmoid(y) / sigmoid(-1.0);
            }
            None => score -= profile.missed,
        }
    }
    for i in rows.iter().copied().filter(|i| *i >= probation) {
        if series.windows.iter().any(|(left, right)| (*left..=*right).contains(&i)) {
            continue;
        }
        false_alerts += 1;
        let before = series.windows.iter().rev().find(|(_, right)| *right < i);
        score += profile.fp
            * before
                .map_or(-1.0, |(left, right)| sigmoid((i - right) as f64 / (right - left) as f64));
    }
    (score, hits, false_alerts)
}

fn window_count(all: &[&Series]) -> usize {
    all.iter().map(|s| s.windows.len()).sum()
}

fn normalised(all: &[&Series], profile: Profile, raw: f64) -> f64 {
    let windows = window_count(all) as f64;
    100.0 * (raw + profile.missed * windows) / ((profile.tp + profile.missed) * windows)
}

fn total(all: &[&Series], profile: Profile, rows: &dyn Fn(&Series) -> Vec<usize>) -> f64 {
    let sum = all.iter().map(|s| raw(s, profile, &rows(s)).0).sum();
    normalised(all, profile, sum)
}

#[test]
fn the_scorer_gives_the_known_answers() {
    let Some(folder) = folder() else {
        println!("skipped: no vectors");
        return;
    };
    let loaded = load(&folder);
    let all: Vec<&Series> = loaded.iter().collect();
    assert_eq!((all.len(), window_count(&all)), (41, 69));
    let first = |s: &Series, i: usize| s.windows.iter().any(|(left, _)| *left == i);
    let last = |s: &Series, i: usize| s.windows.iter().any(|(_, right)| *right == i);
    type Rule<'a> = &'a dyn Fn(&Series, usize) -> bool;
    let cases: [(&str, Rule<'_>, [f64; 3]); 5] = [
        ("none", &|_, _| false, [0.0, 0.0, 0.0]),
        ("first row", &first, [100.0, 100.0, 100.0]),
        ("last row", &last, [50.9788, 50.9788, 67.3192]),
        ("every 100th", &|_, i| i % 100 == 0, [-31.3622, -148.5748, 9.0436]),
        ("every row", &|_, _| true, [-11708.1211, -23516.2422, -7772.0807]),
    ];
    for (name, rule, want) in cases {
        for (profile, want) in [STANDARD, LOW_FP, LOW_FN].into_iter().zip(want) {
            let rows = |s: &Series| (0..s.values.len()).filter(|i| rule(s, *i)).collect();
            let got = total(&all, profile, &rows);
            assert!((got - want).abs() < 1e-3, "{name}: {got}, want {want}");
        }
    }
}

/// Rows with their scores, without the many that score nothing.
type Scores<'a> = BTreeMap<&'a str, Vec<(usize, f64)>>;

fn raw_at(all: &[&Series], scores: &Scores<'_>, profile: Profile, threshold: f64) -> f64 {
    let rows = |s: &Series| -> Vec<usize> {
        let rows = scores[s.name.as_str()].iter();
        rows.filter(|(_, score)| *score >= threshold).map(|(i, _)| *i).collect()
    };
    all.iter().map(|s| raw(s, profile, &rows(s)).0).sum()
}

/// The best total over all thresholds, as NAB chooses it, and that threshold.
fn best(all: &[&Series], scores: &Scores<'_>, profile: Profile) -> (f64, f64) {
    (0..160)
        .map(|step| 4.0 + f64::from(step) * 0.25)
        .map(|threshold| {
            let raw = raw_at(all, scores, profile, threshold);
            (normalised(all, profile, raw), threshold)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap()
}

#[test]
fn the_detector_keeps_its_score() {
    let Some(folder) = folder() else {
        println!("skipped: no vectors");
        return;
    };
    let loaded = load(&folder);
    let all: Vec<&Series> = loaded.iter().collect();
    let mut scores = Scores::new();
    let mut onsets: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for series in &all {
        let mut detector = Detector::new(DEFAULT_CONFIG);
        let (mut scored, mut found) = (Vec::new(), Vec::new());
        for (i, (at, value)) in series.times.iter().zip(&series.values).enumerate() {
            if detector.push(*at, *value).is_some() {
                found.push(i);
            }
            if detector.score() >= 4.0 {
                scored.push((i, detector.score()));
            }
        }
        scores.insert(&series.name, scored);
        onsets.insert(&series.name, found);
    }
    let figures = [STANDARD, LOW_FP, LOW_FN].map(|profile| best(&all, &scores, profile));
    println!(
        "NAB (41 series, threshold chosen on them): standard {:.1} at {}, low FP {:.1} at {}, low FN {:.1} at {}",
        figures[0].0, figures[0].1, figures[1].0, figures[1].1, figures[2].0, figures[2].1
    );
    // A threshold chosen on the series it is scored on flatters; here each category is scored
    // with the threshold that is best for the others.
    let category = |s: &Series| s.name.split('/').next().unwrap_or("").to_owned();
    let categories: BTreeSet<String> = all.iter().map(|s| category(s)).collect();
    let (mut held_out, mut thresholds) = (0.0, Vec::new());
    for left_out in &categories {
        let (scored, others): (Vec<&Series>, Vec<&Series>) =
            all.iter().copied().partition(|s| category(s) == *left_out);
        let threshold = best(&others, &scores, STANDARD).1;
        thresholds.push(threshold);
        held_out += raw_at(&scored, &scores, STANDARD, threshold);
    }
    let held_out = normalised(&all, STANDARD, held_out);
    println!("each category with the others' threshold {thresholds:?}: standard {held_out:.1}");
    let (mut sum, mut hits, mut false_alerts, mut weeks) = (0.0, 0, 0, 0.0);
    for series in &all {
        let (score, hit, wrong) = raw(series, STANDARD, &onsets[series.name.as_str()]);
        sum += score;
        hits += hit;
        false_alerts += wrong;
        let (first, last) = (series.times[0], series.times[series.times.len() - 1]);
        weeks += (last.0 - first.0) as f64 / (7.0 * 86_400_000.0);
    }
    let shipped = normalised(&all, STANDARD, sum);
    println!(
        "with shipped defaults, all rules: standard {shipped:.1}, {hits} of {} windows, {false_alerts} false alerts, {:.2} a series-week",
        window_count(&all),
        f64::from(u32::try_from(false_alerts).unwrap()) / weeks
    );
    // Floors a little under what was measured: they guard against a change for the worse.
    assert!(figures[0].0 > 40.0, "best standard score fell to {}", figures[0].0);
    assert!(held_out > 30.0, "standard score with others' thresholds fell to {held_out}");
    assert!(shipped > 30.0, "standard score with shipped defaults fell to {shipped}");
}
