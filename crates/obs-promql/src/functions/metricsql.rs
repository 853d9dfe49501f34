//! Functions that MetricsQL has beyond PromQL: signatures and what follows from their names.

use super::{Function, M, S, T, V, f};

/// The function that the modifier of this name becomes.
pub(crate) const KEEP_METRIC_NAMES: &str = "keep_metric_names";

/// Sorted by name; found before PromQL's functions. The vector comes first in every signature.
static METRICSQL: &[Function] = &[
    f("aggr_over_time", &[M, T, T], -1, V, false),
    f("alias", &[V, T], 0, V, false),
    f("ascent_over_time", &[M], 0, V, false),
    f("bitmap_and", &[V, S], 0, V, false),
    f("bitmap_or", &[V, S], 0, V, false),
    f("bitmap_xor", &[V, S], 0, V, false),
    f("buckets_limit", &[S, V], 0, V, false),
    f("changes_prometheus", &[M], 0, V, false),
    f("count_eq_over_time", &[M, S], 0, V, false),
    f("count_gt_over_time", &[M, S], 0, V, false),
    f("count_le_over_time", &[M, S], 0, V, false),
    f("count_ne_over_time", &[M, S], 0, V, false),
    f("count_values_over_time", &[M, T], 0, V, false),
    f("decreases_over_time", &[M], 0, V, false),
    f("default_rollup", &[M], 0, V, false),
    f("delta_prometheus", &[M], 0, V, false),
    f("deriv_fast", &[M], 0, V, false),
    f("descent_over_time", &[M], 0, V, false),
    f("distinct_over_time", &[M], 0, V, false),
    f("drop_common_labels", &[V, V], -1, V, false),
    f("drop_empty_series", &[V], 0, V, false),
    f("duration_over_time", &[M, S], 0, V, false),
    f("geomean_over_time", &[M], 0, V, false),
    f("histogram_over_time", &[M], 0, V, false),
    f("histogram_share", &[S, V], 0, V, false),
    f("hoeffding_bound_lower", &[S, M], 0, V, false),
    f("hoeffding_bound_upper", &[S, M], 0, V, false),
    f("holt_winters", &[M, S, S], 0, V, false),
    f("ideriv", &[M], 0, V, false),
    f("increase_prometheus", &[M], 0, V, false),
    f("increase_pure", &[M], 0, V, false),
    f("increases_over_time", &[M], 0, V, false),
    f("integrate", &[M], 0, V, false),
    f("interpolate", &[V], 0, V, false),
    f("keep_last_value", &[V], 0, V, false),
    f(KEEP_METRIC_NAMES, &[V], 0, V, false),
    f("keep_next_value", &[V], 0, V, false),
    f("label_copy", &[V, T, T], -1, V, false),
    f("label_del", &[V, T], -1, V, false),
    f("label_graphite_group", &[V, S, S], -1, V, false),
    f("label_keep", &[V, T], -1, V, false),
    f("label_lowercase", &[V, T], -1, V, false),
    f("label_map", &[V, T, T, T], -1, V, false),
    f("label_match", &[V, T, T], 0, V, false),
    f("label_mismatch", &[V, T, T], 0, V, false),
    f("label_move", &[V, T, T], -1, V, false),
    f("label_set", &[V, T, T], -1, V, false),
    f("label_transform", &[V, T, T, T], 0, V, false),
    f("label_uppercase", &[V, T], -1, V, false),
    f("label_value", &[V, T], 0, V, false),
    f("labels_equal", &[V, T, T], -1, V, false),
    f("lag", &[M], 0, V, false),
    f("lifetime", &[M], 0, V, false),
    f("limit_offset", &[S, S, V], 0, V, false),
    f("median_over_time", &[M], 0, V, false),
    f("mode_over_time", &[M], 0, V, false),
    f("now", &[], 0, S, false),
    f("outlier_iqr_over_time", &[M], 0, V, false),
    f("prometheus_buckets", &[V], 0, V, false),
    f("quantiles_over_time", &[M, T, S, S], -1, V, false),
    f("rand", &[S], 1, S, false),
    f("rand_exponential", &[S], 1, S, false),
    f("rand_normal", &[S], 1, S, false),
    f("range_avg", &[V], 0, V, false),
    f("range_first", &[V], 0, V, false),
    f("range_last", &[V], 0, V, false),
    f("range_linear_regression", &[V], 0, V, false),
    f("range_mad", &[V], 0, V, false),
    f("range_max", &[V], 0, V, false),
    f("range_median", &[V], 0, V, false),
    f("range_min", &[V], 0, V, false),
    f("range_normalize", &[V, V], -1, V, false),
    f("range_over_time", &[M], 0, V, false),
    f("range_quantile", &[S, V], 0, V, false),
    f("range_stddev", &[V], 0, V, false),
    f("range_stdvar", &[V], 0, V, false),
    f("range_sum", &[V], 0, V, false),
    f("range_trim_outliers", &[S, V], 0, V, false),
    f("range_trim_spikes", &[S, V], 0, V, false),
    f("range_trim_zscore", &[S, V], 0, V, false),
    f("range_zscore", &[V], 0, V, false),
    f("rate_over_sum", &[M], 0, V, false),
    f("rate_prometheus", &[M], 0, V, false),
    f("remove_resets", &[V], 0, V, false),
    f("rollup", &[M, T], 1, V, false),
    f("rollup_candlestick", &[M, T], 1, V, false),
    f("rollup_delta", &[M, T], 1, V, false),
    f("rollup_deriv", &[M, T], 1, V, false),
    f("rollup_increase", &[M, T], 1, V, false),
    f("rollup_rate", &[M, T], 1, V, false),
    f("rollup_scrape_interval", &[M, T], 1, V, false),
    f("running_avg", &[V], 0, V, false),
    f("running_max", &[V], 0, V, false),
    f("running_min", &[V], 0, V, false),
    f("running_sum", &[V], 0, V, false),
    f("scrape_interval", &[M], 0, V, false),
    f("share_eq_over_time", &[M, S], 0, V, false),
    f("share_gt_over_time", &[M, S], 0, V, false),
    f("share_le_over_time", &[M, S], 0, V, false),
    f("smooth_exponential", &[V, S], 0, V, false),
    f("sort_by_label", &[V, T, T], -1, V, false),
    f("sort_by_label_desc", &[V, T, T], -1, V, false),
    f("sort_by_label_numeric", &[V, T, T], -1, V, false),
    f("sort_by_label_numeric_desc", &[V, T, T], -1, V, false),
    f("stale_samples_over_time", &[M], 0, V, false),
    f("sum2_over_time", &[M], 0, V, false),
    f("sum_eq_over_time", &[M, S], 0, V, false),
    f("sum_gt_over_time", &[M, S], 0, V, false),
    f("sum_le_over_time", &[M, S], 0, V, false),
    f("tfirst_over_time", &[M], 0, V, false),
    f("timestamp_with_name", &[M], 0, V, false),
    f("timezone_offset", &[T], 0, S, false),
    f("tlast_change_over_time", &[M], 0, V, false),
    f("tlast_over_time", &[M], 0, V, false),
    f("tmax_over_time", &[M], 0, V, false),
    f("tmin_over_time", &[M], 0, V, false),
    f("union", &[V, V], -1, V, false),
    f("zscore_over_time", &[M], 0, V, false),
];

/// Looks a function of MetricsQL up, PromQL's among them, by its name in lower case.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    own(name).or_else(|| super::find(name))
}

/// One that PromQL does not have, or has with another signature.
pub(crate) fn own(name: &str) -> Option<&'static Function> {
    METRICSQL.binary_search_by(|f| f.name.cmp(name)).ok().and_then(|i| METRICSQL.get(i))
}

/// Functions that stand for an expression: their parameters and its text, as VictoriaMetrics has
/// them.
pub(crate) fn template(name: &str) -> Option<(&'static [&'static str], &'static str)> {
    Some(match name {
        // How long until a resource is used up, in seconds, from what is free.
        "ttf" => (
            &["a"],
            "smooth_exponential(clamp_max(clamp_max(-a, 0) / clamp_max(deriv_fast(a), 0), \
             365 * 24 * 3600), clamp_max(step() / 300, 1))",
        ),
        // How much of a resource is used, in percent, from what is free and what there is.
        "ru" => (&["a", "b"], "clamp_min(b - clamp_min(a, 0), 0) / clamp_min(b, 0) * 100"),
        _ => return None,
    })
}

/// Functions whose vector is written last, behind any number of other arguments.
pub(crate) fn vector_comes_last(name: &str) -> bool {
    matches!(
        name,
        "aggr_over_time" | "count_values_over_time" | "histogram_quantiles" | "quantiles_over_time"
    )
}

/// Functions whose result is still the quantity that the name says, so that the name stays.
pub(crate) fn keeps_name(name: &str) -> bool {
    let suffix = ["range_", "running_", "label_", "sort"].iter().any(|p| name.starts_with(p))
        && !matches!(name, "range_over_time" | "label_value");
    suffix
        || matches!(
            name,
            "alias"
                | "avg_over_time"
                | "ceil"
                | "clamp"
                | "clamp_max"
                | "clamp_min"
                | "default_rollup"
                | "drop_common_labels"
                | "drop_empty_series"
                | "first_over_time"
                | "floor"
                | "geomean_over_time"
                | "hoeffding_bound_lower"
                | "hoeffding_bound_upper"
                | "holt_winters"
                | "interpolate"
                | "keep_last_value"
                | "keep_next_value"
                | "last_over_time"
                | "limit_offset"
                | "max_over_time"
                | "median_over_time"
                | "min_over_time"
                | "mode_over_time"
                | "outlier_iqr_over_time"
                | "predict_linear"
                | "quantile_over_time"
                | "quantiles_over_time"
                | "remove_resets"
                | "rollup"
                | "rollup_candlestick"
                | "round"
                | "smooth_exponential"
                | "timestamp_with_name"
                | "union"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(METRICSQL.windows(2).all(|w| w[0].name < w[1].name));
    }
}
