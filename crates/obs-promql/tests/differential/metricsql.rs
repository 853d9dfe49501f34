//! MetricsQL answered by Debian's VictoriaMetrics 1.79.5 and by this engine. Skipped aloud where
//! `victoria-metrics` is not installed.
//!
//! What is left out, and why, is listed in `docs/compat/metricsql.md`.

use std::fmt::Write as _;

use obs_promql::testing::MemorySource;
use obs_promql::{Engine, EngineOptions};
use obs_types::{LabelSet, QueryContext, SeriesData, TimestampMs};

use super::generator::Random;
use super::peer::Peer;
use super::{compare, data, number, ours, theirs};

/// Queries with holes: `$c` a counter, `$g` a gauge, `$m` either, `$w` a window, `$n` a number.
const QUERIES: &[&str] = &[
    "rate($c)",
    "rate($c[$w])",
    "irate($c[$w])",
    "increase($c[$w])",
    "increase_pure($c[$w])",
    "delta($g[$w])",
    "idelta($g[$w])",
    "ideriv($g[$w])",
    "deriv_fast($g[$w])",
    "deriv($g[$w])",
    "changes($m[$w])",
    "resets($m[$w])",
    "ascent_over_time($g[$w])",
    "descent_over_time($g[$w])",
    "increases_over_time($g[$w])",
    "decreases_over_time($g[$w])",
    "count_eq_over_time($g[$w], $n)",
    "count_gt_over_time($g[$w], $n)",
    "count_le_over_time($g[$w], $n)",
    "count_ne_over_time($g[$w], $n)",
    "share_gt_over_time($g[$w], $n)",
    "share_le_over_time($g[$w], $n)",
    "distinct_over_time($g[$w])",
    "duration_over_time($g[$w], 20)",
    "integrate($g[$w])",
    "lag($m[$w])",
    "lifetime($m[$w])",
    "median_over_time($g[$w])",
    "range_over_time($g[$w])",
    "rate_over_sum($g[$w])",
    "scrape_interval($m[$w])",
    "sum2_over_time($g[$w])",
    "tmin_over_time($g[$w])",
    "tmax_over_time($g[$w])",
    "tfirst_over_time($g[$w])",
    "tlast_over_time($g[$w])",
    "zscore_over_time($g[$w])",
    "avg_over_time($g[$w])",
    "min_over_time($g[$w])",
    "max_over_time($g[$w])",
    "sum_over_time($g[$w])",
    "count_over_time($g[$w])",
    "last_over_time($g[$w])",
    "first_over_time($g[$w])",
    "stddev_over_time($g[$w])",
    "quantile_over_time(0.7, $g[$w])",
    "quantiles_over_time(\"q\", 0.2, 0.9, $g[$w])",
    "aggr_over_time((\"min_over_time\", \"max_over_time\"), $g[$w])",
    "rollup($g[$w])",
    "rollup_rate($c[$w])",
    "rollup_increase($c[$w])",
    "rollup_delta($g[$w])",
    "rollup_deriv($g[$w])",
    "rate($c[10i])",
    "rate($c[1.5m]) * 1Ki",
    "max_over_time(rate($c)[$w:1m])",
    "max_over_time(sum($g)[$w:])",
    "sum(rate($c)) by (job)",
    "sum(rate($c[$w])) by (job) default 0",
    "$g default $n",
    "($g > $n) default -1",
    "$g if ($g > $n)",
    "$g ifnot ($g > $n)",
    "sum($g) if (sum($g) > $n)",
    "rate($c[$w]) keep_metric_names",
    "union($g, $c)",
    "($g, $c)",
    "median($g) by (job)",
    "mode(floor($g / 100)) by (job)",
    "distinct(floor($g / 100))",
    "sum2($g) by (job)",
    "geomean(abs($g) + 1)",
    "mad($g) by (job)",
    "any(sum($g))",
    "zscore($g)",
    "outliersk(2, $g default 0)",
    "quantiles(\"phi\", 0.5, 0.9, $g) by (job)",
    "topk_avg(2, $g)",
    "topk_max(2, $g)",
    "topk_min(1, $g) by (job)",
    "topk_median(2, $g)",
    "bottomk_avg(2, $g)",
    "bottomk_max(2, $g)",
    "bottomk_min(2, $g, \"rest=all\")",
    "topk_max(1, $g, \"rest=all\") by (job)",
    "sum($g, $c) by (job)",
    "$g / sum($g)",
    "sum($g) * $g",
    "label_del(range_avg($g default 1), \"__name__\")",
    "range_first($g)",
    "range_last($g)",
    "label_del(range_max($g), \"__name__\")",
    "label_del(range_min($g), \"__name__\")",
    "label_del(range_sum($g), \"__name__\")",
    "range_median($g)",
    "range_quantile(0.8, $g)",
    "label_del(running_avg($g), \"__name__\")",
    "label_del(running_max($g), \"__name__\")",
    "label_del(running_min($g), \"__name__\")",
    "label_del(running_sum($g), \"__name__\")",
    "keep_last_value($g > $n)",
    "keep_next_value($g > $n)",
    "smooth_exponential($g, 0.3)",
    "remove_resets(sum($c))",
    "label_set($g, \"a\", \"b\", \"job\", \"\")",
    "label_del($g, \"instance\", \"none\")",
    "label_keep($g, \"__name__\", \"instance\", \"job\")",
    "label_copy($g, \"job\", \"work\")",
    "label_move($g, \"job\", \"work\")",
    "label_map($g, \"job\", \"api\", \"A\", \"web\", \"B\")",
    "label_uppercase($g, \"job\")",
    "label_transform($g, \"instance\", \"[a-z]\", \"x\")",
    "label_value($g * 0, \"none\")",
    "label_match($g, \"job\", \"a.*\")",
    "label_mismatch($g, \"job\", \"a.*\")",
    "alias(sum($g), \"total\")",
    "drop_common_labels($g)",
    "histogram_share(0.7, sum(rate(lat_bucket[$w])) by (le))",
    "WITH (x = $g, f(a, b) = a + b) f(x, $n)",
    "WITH (f = {job=\"api\"}) rate($c{f}[$w])",
    "WITH (f = {job=\"api\"}) $g{f, instance=\"a:1\"}",
    "ru($g, 1000)",
    "ru(abs($g), abs($g) + 500)",
    "1 > 2 default 5",
    "time() > $n",
    "step()",
    "ceil($g) + floor($g)",
    "clamp_max($g, $n)",
    "$g @ (end() - 5m)",
    "$g @ (start() + 3m) offset 1m",
    "rate($c[$w] @ (end() - 7m))",
    "sum($g @ (end() - 60 * 3)) + time()",
    "$g @ (min_over_time(time()) - 10m)",
    "{__graphite__=\"srv.*.cpu.{user,sys}\"}",
    "{__graphite__=\"srv.[ab].*.user\"} + 1",
    "count({__graphite__=\"srv.*.*\"}) default -1",
    "sum(label_graphite_group({__graphite__=\"srv.*.*.*\"}, 2)) by (__name__)",
    "label_graphite_group({__graphite__=\"srv.a.*.*\"}, 1, 3, 9)",
    "absent($g{job=\"none\", instance=~\"a.*\", code!=\"x\"})",
    "absent($g{job=\"none\"} offset 1m)",
    "absent($g{job=\"none\"}[$w])",
    "absent(sum($g{job=\"none\"}))",
    "absent_over_time($g{job=\"none\"}[$w])",
    "absent_over_time($g{job=\"none\"})",
    "absent_over_time(sum($g{job=\"none\"})[$w:])",
    "absent_over_time($c{job=\"api\", code=\"200\", instance=\"a:1\"}[7s])",
    "buckets_limit(3, lat_bucket)",
    "buckets_limit(4, increase(lat_bucket[$w]) default 0)",
    "rollup_candlestick($g[$w])",
    "rollup_candlestick($g)",
    "histogram($g)",
    "histogram($g, $c) by (job)",
    "histogram_over_time($g[$w])",
    "prometheus_buckets(histogram_over_time($g[$w]))",
    "histogram_quantile(0.9, histogram_over_time($g[$w]))",
    "histogram_quantile(0.5, sum(histogram_over_time($g[$w])) by (vmrange))",
    "histogram_quantile(0.7, histogram($g) by (job))",
    "histogram_share(100, histogram_over_time($g[$w]))",
    "buckets_limit(5, sum(histogram_over_time($g[$w])) by (vmrange))",
    "hoeffding_bound_lower(0.9, $g[$w])",
    "hoeffding_bound_upper(0.3, $g[$w])",
    "stale_samples_over_time($g[$w])",
    "timezone_offset(\"America/New_York\")",
    "timezone_offset(\"Asia/Kathmandu\")",
    "ttf(1000 - abs($g default 1))",
    "deriv_fast(1000 - abs($g))",
    "rate(sum($c))",
    "increase(sum($c)[$w])",
    "now() > bool $n",
    "rand(3) < bool 1",
    "rand_normal(5) * 0",
    "rand_exponential(5) >= bool 0",
];

/// Names of series that Graphite's patterns find.
const PATHS: [&str; 5] =
    ["srv.a.cpu.user", "srv.a.cpu.sys", "srv.b.cpu.user", "srv.b.mem.user", "srv.c.cpu.user"];

fn query(random: &mut Random, template: &str) -> String {
    let mut pick = |of: &[&str]| of[random.below(of.len() as u64) as usize].to_owned();
    let metrics = [pick(&["req_total", "lat_count"]), pick(&["temp", "temp{job=\"web\"}"])];
    let [counter, gauge] = metrics.clone();
    template
        .replace("$m", &pick(&[&counter, &gauge]))
        .replace("$c{", &format!("{counter}{{"))
        .replace("$g{", "temp{")
        .replace("$c", &counter)
        .replace("$g", &gauge)
        .replace("$w", &pick(&["1m", "95s", "5m", "20m"]))
        .replace("$n", &pick(&["0", "100", "-50", "250.5"]))
}

/// The lines of VictoriaMetrics' JSON import. What it cannot keep exactly is left out.
fn lines(series: &[SeriesData]) -> String {
    let mut out = String::new();
    for s in series {
        let metric: serde_json::Map<String, serde_json::Value> =
            s.labels.iter().map(|(n, v)| (n.to_owned(), v.into())).collect();
        let line = serde_json::json!({
            "metric": metric, "values": s.values, "timestamps": s.timestamps,
        });
        let _written = writeln!(out, "{line}");
    }
    out
}

fn one(peer: &Peer, source: &MemorySource, seed: u64) -> Result<bool, String> {
    let mut random = Random::new(seed);
    let template = QUERIES[seed as usize % QUERIES.len()];
    let query = query(&mut random, template);
    let engine = Engine::new(EngineOptions::default()).with_dialect(true);
    let context = QueryContext::unlimited();
    let step = [7, 15, 60, 333][random.below(4) as usize];
    // Multiples of the step on half seconds, where no sample lies.
    let start = data::START + 1_200_500 + random.below((data::LENGTH / 2000) as u64) as i64 * 1000;
    let end = start + step * 1000 * (1 + random.below(60) as i64);
    let seconds = |t: i64| format!("{}.{:03}", t / 1000, t % 1000);
    let range = (TimestampMs(start), TimestampMs(end), step * 1000);
    compare(
        ours(engine.range(source, &query, range.0, range.1, range.2, &context)),
        theirs(peer.query(
            "query_range",
            &[
                ("query", &query),
                ("start", &seconds(start)),
                ("end", &seconds(end)),
                ("step", &step.to_string()),
                ("nocache", "1"),
            ],
        )),
    )
    .map_err(|e| format!("seed {seed}: {query} from {start} to {end} by {step}s: {e}"))
}

#[test]
fn metricsql_agrees_with_victoria_metrics() {
    let mut series: Vec<SeriesData> =
        data::series().into_iter().filter(|s| s.labels.metric_name() != "odd").collect();
    for (i, name) in PATHS.into_iter().enumerate() {
        // As others, under a name of Graphite.
        let Some(like) = series.get(i) else { continue };
        let labels = LabelSet::from_pairs([("__name__", name)]);
        series.push(SeriesData { labels, ..like.clone() });
    }
    let Some(peer) = Peer::victoria_metrics(&lines(&series)) else {
        println!("skipped: victoria-metrics is not installed");
        return;
    };
    let source = data::source(&series);
    let count = number("VMOBS_METRICSQL_QUERIES", 2 * QUERIES.len() as u64);
    let first = number("VMOBS_DIFFERENTIAL_SEED", 1);
    let (mut filled, mut failures) = (0, 0);
    for seed in first..first + count {
        match one(&peer, &source, seed) {
            Ok(some) => filled += u64::from(some),
            Err(e) => {
                println!("{e}");
                failures += 1;
            }
        }
    }
    println!("{count} queries, {filled} with a result, {failures} differ");
    assert_eq!(failures, 0, "of {count} queries");
    assert!(filled * 10 > count * 9, "too few queries have a result: {filled} of {count}");
}
