//! What vm-obs tells of itself, and the collection statement of its seals.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use obs_api::ApiState;
use obs_archive::{Archive, Hour, Signal};
use obs_collect::registry::Registry;
use obs_collect::scrape::CollectionLog;
use obs_ledger::{Collection, CollectionGap, MissedScrapes};
use obs_ops::storage::StorageService;
use obs_ops::{SealProblems, SealService};

use super::room::Room;

/// What a seal says of its hour's collection: what came in that hour and was not stored; for
/// metrics also the scrapes. The other streams are pushed, nobody knows how much should have come.
/// Nothing is sampled here, so `sampled_out` is 0.
pub(super) fn collection_statement(
    log: Arc<CollectionLog>,
) -> Box<dyn Fn(Signal, Hour) -> Collection + Send + Sync> {
    Box::new(move |signal, hour| {
        let rejected = log.rejected(signal.as_str(), hour.end());
        if signal != Signal::Metrics {
            return Collection { rejected, ..Collection::default() };
        }
        let targets = log.hour(hour.end());
        Collection {
            targets: targets.len() as u64,
            scrapes_expected: targets.iter().map(|(_, c)| c.expected).sum(),
            scrapes_ok: targets.iter().map(|(_, c)| c.ok).sum(),
            gaps: targets
                .iter()
                .filter(|(_, c)| c.ok == 0 && c.expected > 0)
                .map(|(target, _)| CollectionGap {
                    target: target.clone(),
                    from: hour.start(),
                    to: hour.end(),
                })
                .collect(),
            missed: targets
                .iter()
                .filter(|(_, c)| c.ok < c.expected)
                .map(|(target, c)| MissedScrapes {
                    target: target.clone(),
                    expected: c.expected,
                    ok: c.ok,
                })
                .collect(),
            rejected,
            sampled_out: 0,
        }
    })
}

/// Gauges over the state of engines, ledger and alerts.
pub(super) fn register(registry: &Registry, state: &Arc<ApiState>, dropped: Arc<AtomicU64>) {
    registry
        .gauge(
            "vmobs_build_info",
            "1, with the version as a label.",
            &[("version", state.info.version)],
        )
        .set(1.0);
    registry.counter_callback(
        "vmobs_self_telemetry_dropped_total",
        "Own log events and spans that were dropped.",
        &[],
        move || dropped.load(Ordering::Relaxed) as f64,
    );
    let taken = Arc::clone(state);
    registry.counter_callback(
        "vmobs_metrics_retention_samples_total",
        "Samples that metrics.retention took out of the engine.",
        &[],
        move || taken.metrics.stats().retention_samples as f64,
    );
    type Read = fn(&ApiState) -> f64;
    let gauges: [(&str, &str, Read); 16] = [
        ("vmobs_metrics_series", "Series in memory.", |s| s.metrics.stats().head_series as f64),
        ("vmobs_metrics_head_bytes", "Estimated bytes of the metrics head.", |s| {
            s.metrics.stats().head_bytes as f64
        }),
        ("vmobs_metrics_block_bytes", "Bytes of metrics blocks.", |s| {
            s.metrics.stats().block_bytes as f64
        }),
        ("vmobs_metrics_aggregate_bytes", "Bytes of 1h aggregates of metrics.", |s| {
            s.metrics.stats().aggregate_bytes as f64
        }),
        ("vmobs_logs_streams", "Log streams.", |s| s.logs.stats().streams as f64),
        ("vmobs_logs_block_bytes", "Bytes of log blocks.", |s| s.logs.stats().block_bytes as f64),
        ("vmobs_traces_block_bytes", "Bytes of trace blocks.", |s| {
            s.traces.stats().block_bytes as f64
        }),
        ("vmobs_storage_damaged_blocks", "Blocks set aside because they were damaged.", |s| {
            (s.metrics.stats().blocks_quarantined
                + s.logs.stats().quarantined_blocks
                + s.traces.stats().blocks_corrupt) as f64
        }),
        ("vmobs_ledger_receipts", "Receipts in the ledger.", |s| s.ledger.head().size as f64),
        ("vmobs_ledger_last_receipt_timestamp_seconds", "Time of the newest receipt.", |s| {
            s.ledger.head().last_timestamp.map_or(0.0, |t| t.as_seconds_f64())
        }),
        ("vmobs_ledger_unwitnessed_receipts", "Receipts that no witness has cosigned.", |s| {
            let cosigned = s.ledger.cosigned().map_or(0, |c| c.size);
            s.ledger.head().size.saturating_sub(cosigned) as f64
        }),
        ("vmobs_ledger_last_cosigned_timestamp_seconds", "Time of the last cosignature.", |s| {
            s.ledger.cosigned().map_or(0.0, |c| c.at.as_seconds_f64())
        }),
        ("vmobs_ledger_frozen", "1 if no receipts are taken any more.", |s| {
            f64::from(u8::from(s.ledger.frozen().is_some()))
        }),
        ("vmobs_disk_free_bytes", "Free bytes of the data folder's disk.", |s| {
            s.disk.free_bytes(&s.info.data_dir).map_or(f64::NAN, |b| b as f64)
        }),
        ("vmobs_alerts_firing", "Alerts that fire.", |s| s.alerts.counts().0 as f64),
        ("vmobs_rules_failing", "Rules whose last evaluation failed.", |s| {
            s.alerts.failing_rules() as f64
        }),
    ];
    for (name, help, read) in gauges {
        let state = Arc::downgrade(state);
        registry.gauge_callback(name, help, &[], move || {
            state.upgrade().map_or(f64::NAN, |s| read(&s))
        });
    }
}

/// Gauges of the tiers.
pub(super) fn register_storage(
    registry: &Registry,
    storage: &Arc<StorageService>,
    room: &Arc<Room>,
    archive: &Arc<Archive>,
) {
    for tier in ["warm", "cold"] {
        for signal in Signal::ALL {
            let labels = [("tier", tier), ("signal", signal.as_str())];
            for (name, help, bytes) in [
                ("vmobs_storage_tier_files", "Sealed files by tier.", false),
                ("vmobs_storage_tier_bytes", "Bytes of sealed files by tier.", true),
            ] {
                let storage = Arc::clone(storage);
                registry.gauge_callback(name, help, &labels, move || {
                    let rows = storage.status().map(|s| s.rows).unwrap_or_default();
                    let own = rows.iter().filter(|r| r.tier == tier && r.signal == signal.as_str());
                    own.map(|r| if bytes { r.bytes } else { r.files } as f64).sum()
                });
            }
        }
    }
    let backoff = Arc::clone(storage);
    registry.gauge_callback(
        "vmobs_storage_cold_backoff_level",
        "Failures in a row of moving sealed files to the cold store.",
        &[],
        move || f64::from(backoff.backoff_level()),
    );
    let level = Arc::clone(room);
    registry.gauge_callback(
        "vmobs_storage_watermark",
        "Room on the disk: 0 enough, 1 the oldest hours go, 2 new data is refused.",
        &[],
        move || f64::from(level.level() as u8),
    );
    let archive = Arc::clone(archive);
    registry.gauge_callback(
        "vmobs_storage_cold_cache_bytes",
        "Bytes of cold files in the local cache.",
        &[],
        move || archive.cold().map_or(0.0, |c| c.cache_bytes() as f64),
    );
}

/// What sealing could not do.
pub(super) fn register_seals(registry: &Registry, seals: &Arc<SealService>) {
    let asked = |read: fn(&SealProblems) -> usize| {
        let seals = Arc::clone(seals);
        move || read(&seals.problems()) as f64
    };
    registry.counter_callback(
        "vmobs_seal_failures_total",
        "Times that an hour could not be sealed.",
        &[],
        asked(|p| usize::try_from(p.failures).unwrap_or(usize::MAX)),
    );
    registry.gauge_callback(
        "vmobs_seal_failing_hours",
        "Hours that are not sealed for now, which is tried again.",
        &[],
        asked(|p| p.failing.len()),
    );
    registry.counter_callback(
        "vmobs_seal_late_hours_let_go_total",
        "Hours of which late data was not sealed, because they were deleted on record before.",
        &[],
        asked(|p| usize::try_from(p.let_go).unwrap_or(usize::MAX)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_types::TimestampMs;

    #[test]
    fn a_seal_says_what_was_missed_and_what_was_rejected() {
        const END: i64 = 1_765_029_600_000;
        let log = Arc::new(CollectionLog::default());
        let at = TimestampMs(END - 1);
        log.record("node/brick-02:9100", at, false);
        log.reject("logs", "too_old", 3, at);
        log.reject("metrics", "out_of_order", 2, at);
        log.reject("metrics", "out_of_order", 9, TimestampMs(END));
        let statement = collection_statement(log);
        let hour = Hour::ending_at(TimestampMs(END)).unwrap();
        let metrics = statement(Signal::Metrics, hour);
        assert_eq!((metrics.targets, metrics.missed.len(), metrics.gaps.len()), (1, 1, 1));
        assert_eq!(metrics.rejected.get("out_of_order"), Some(&2));
        assert_eq!(statement(Signal::Logs, hour).rejected.get("too_old"), Some(&3));
        assert!(statement(Signal::Traces, hour).rejected.is_empty());
    }
}
