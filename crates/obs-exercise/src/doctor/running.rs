//! The checks that need a running system: 1, 2, 7, 9, 10, 11 and 12. What it gave is in the world.

use super::probe::Probe;
use super::usage;
use super::world::{HeadroomInput, ObjectiveInput, Recomputed, World};
use super::{Check, CheckOutcome, Finding};

/// A target is late after so many intervals without a sample.
const INTERVALS_LATE: i64 = 3;
const SKEW_MS_MAX: u64 = 2_000;
/// Somebody who backs up does so at least every week.
const BACKUP_AGE_MS_MAX: i64 = 8 * 86_400_000;
const DISK_FREE_BYTES_MIN: u64 = 1 << 30;
const DISK_DAYS_MIN: f64 = 3.0;
const SERIES_SHARE_MAX: f64 = 0.8;
/// A metric with more of all series than this, and more than the least number, is a suspect.
const METRIC_SHARE_MAX: f64 = 0.5;
const METRIC_SERIES_MIN: u64 = 20_000;

pub(super) fn ingest(world: &World, findings: &mut Vec<Finding>) -> CheckOutcome {
    const CHECK: Check = Check::Ingest;
    let Some(canaries) = &world.canaries else {
        return CheckOutcome::skipped(CHECK, world.why(CHECK.id()));
    };
    for canary in canaries {
        if let Err(e) = &canary.outcome {
            findings.push(
                Finding::critical(CHECK, "canary-lost", format!("{} → {}", canary.protocol, canary.api))
                    .asked(canary.api.as_str(), e.as_str())
                    .cause("what is sent by this protocol does not come back through this API")
                    .mend("look at `vm-obs health` and at vmobs_ingest_rejected_total, whose labels name the reason"),
            );
        }
    }
    CheckOutcome::ran(CHECK, canaries.len())
}

pub(super) fn targets(world: &World, findings: &mut Vec<Finding>) -> CheckOutcome {
    const CHECK: Check = Check::Targets;
    let Some(targets) = &world.targets else {
        return CheckOutcome::skipped(CHECK, world.why(CHECK.id()));
    };
    if targets.is_empty() {
        return CheckOutcome::skipped(CHECK, "nothing is scraped");
    }
    for t in targets {
        let name = format!("{} {}", t.job, t.instance);
        if t.health == "down" {
            findings.push(
                Finding::critical(CHECK, "target-down", name)
                    .asked(
                        "GET /api/v1/targets",
                        if t.last_error.is_empty() { "down" } else { &t.last_error },
                    )
                    .cause("the exporter does not run, listens elsewhere, or answers with an error")
                    .mend("start it, or correct the target's address"),
            );
            continue;
        }
        let age = t.last_scrape.map(|at| world.now.0.saturating_sub(at.0));
        let late = INTERVALS_LATE.saturating_mul(t.interval_ms.max(1_000));
        if let Some(age) = age.filter(|a| *a > late) {
            findings.push(
                Finding::critical(CHECK, "target-late", name)
                    .asked(
                        "GET /api/v1/targets",
                        format!(
                            "last scrape {} s ago, interval {} s",
                            age / 1000,
                            t.interval_ms / 1000
                        ),
                    )
                    .cause("scraping does not keep up or has stopped")
                    .mend("look at the load of the machine and at the log of the server"),
            );
        }
    }
    CheckOutcome::ran(CHECK, targets.len())
}

pub(super) fn deliveries(world: &World, findings: &mut Vec<Finding>) -> CheckOutcome {
    const CHECK: Check = Check::DeliveryDrill;
    let Some(deliveries) = &world.deliveries else {
        return CheckOutcome::skipped(CHECK, world.why(CHECK.id()));
    };
    let mut outcome = CheckOutcome::ran(CHECK, deliveries.len());
    for d in deliveries {
        if let Ok(answer) = &d.outcome {
            outcome
                .seen
                .push(format!("{} ({}) took the drill: {answer}", d.receiver, d.integration));
        }
        if let Err(e) = &d.outcome {
            findings.push(
                Finding::critical(CHECK, "receiver-refuses", format!("{} ({})", d.receiver, d.integration))
                    .asked("a message marked [DRILL]", e.as_str())
                    .cause("alerts that are routed here reach nobody")
                    .mend("start the receiver or correct its address and credentials, then run the drill again"),
            );
        }
    }
    if let Some(not_tried) = world.absent.get("ways-out") {
        outcome.leave_out(not_tried.as_str());
    }
    outcome
}

pub(super) fn objectives(
    world: &World,
    probe: Option<&Probe<'_>>,
    findings: &mut Vec<Finding>,
) -> CheckOutcome {
    const CHECK: Check = Check::Objectives;
    let Some(objectives) = &world.objectives else {
        return CheckOutcome::skipped(CHECK, world.why(CHECK.id()));
    };
    if objectives.is_empty() {
        return CheckOutcome::skipped(CHECK, "there is no objective");
    }
    let mut outcome = CheckOutcome::ran(CHECK, objectives.len());
    let mut agree = 0;
    for o in objectives {
        findings.extend(o.queries.iter().find_map(|q| usage::counted_again(&o.id, q, probe)));
        if let Some(r) = &o.recomputed {
            if same(r.engine.0, r.sealed.0) && same(r.engine.1, r.sealed.1) {
                agree += 1;
            } else {
                findings.push(differs(o, r));
            }
        }
        let finding = |code| Finding::critical(CHECK, code, o.id.as_str());
        if let Some(e) = &o.error {
            findings.push(
                finding("objective-fails")
                    .asked(format!("GET /obs/slos/{}", o.id), e.as_str())
                    .cause("its budget cannot be computed")
                    .mend("correct the objective's queries"),
            );
        } else if o.has_data == Some(false) {
            findings.push(
                finding("objective-no-data")
                    .asked(format!("GET /obs/slos/{}", o.id), "no events in the window")
                    .cause("the total query matches nothing, so the objective looks met because nothing is counted")
                    .mend("correct the total query, or start what it counts"),
            );
        } else if o.has_data.is_none() {
            outcome.subjects -= 1;
            outcome.leave_out(format!("{}: the server has not run long enough", o.id));
        }
    }
    if agree > 0 {
        outcome.seen.push(format!("{agree} recomputed from sealed files, to the same events"));
    } else if let Some(why) = world.absent.get("recomputed") {
        outcome.leave_out(format!("recomputing from sealed files: {why}"));
    }
    outcome
}

/// Sums of floats in another order differ in their last digits.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

fn differs(o: &ObjectiveInput, r: &Recomputed) -> Finding {
    let events = |(good, total): (f64, f64)| format!("{good} of {total} good");
    Finding::critical(Check::Objectives, "objective-differs", o.id.as_str())
        .asked(
            format!("GET /obs/slos/{}/recompute", o.id),
            format!(
                "{}: queries count {}, the sealed files {}",
                r.window,
                events(r.engine),
                events(r.sealed)
            ),
        )
        .cause("what is reported of this objective is not what was sealed: data came late, or somebody changed one of the two")
        .mend("`vm-obs verify DIR` says whether the sealed files are those on record; late data gets a revision at the next seal")
}

pub(super) fn ledger(world: &World, findings: &mut Vec<Finding>) -> CheckOutcome {
    const CHECK: Check = Check::Ledger;
    let Some(ledger) = &world.ledger else {
        return CheckOutcome::skipped(CHECK, world.why(CHECK.id()));
    };
    for problem in &ledger.problems {
        findings.push(
            Finding::critical(CHECK, "ledger-does-not-verify", "ledger")
                .asked("POST /obs/ledger/verify", problem.as_str())
                .cause("receipts or sealed files are not what was signed")
                .mend(
                    "keep the folder as it is, compare with a backup, and run `vm-obs verify DIR`",
                ),
        );
    }
    CheckOutcome::ran(CHECK, usize::try_from(ledger.size).unwrap_or(usize::MAX))
}

pub(super) fn storage(world: &World, findings: &mut Vec<Finding>) -> CheckOutcome {
    const CHECK: Check = Check::Storage;
    let Some(s) = &world.storage else {
        return CheckOutcome::skipped(CHECK, world.why(CHECK.id()));
    };
    let mut outcome = CheckOutcome::ran(CHECK, 1 + usize::try_from(s.sealed_files).unwrap_or(0));
    let mut put = |code, bad: bool, what: String, cause: &str, mend: &str| {
        if bad {
            findings.push(
                Finding::critical(CHECK, code, "data folder").saw(what).cause(cause).mend(mend),
            );
        }
    };
    put(
        "sealed-file-unreadable",
        s.unreadable_files > 0,
        format!("{} of {} sealed files cannot be read", s.unreadable_files, s.sealed_files),
        "the disk or somebody damaged them; what they hold is missing from answers",
        "restore them from a backup; the ledger tells which are the right ones",
    );
    put(
        "blocks-damaged",
        s.damaged_blocks > 0,
        format!("{} blocks are left out of queries", s.damaged_blocks),
        "their checksums do not match",
        "what is sealed is still answered from the sealed files; check the disk",
    );
    put(
        "hours-unsealed",
        s.unsealed_hours.is_some_and(|hours| hours > 0),
        format!("{} hours that are over have no seal", s.unsealed_hours.unwrap_or(0)),
        "sealing fails or stands still, so these hours cannot be proved",
        "look for errors of sealing in the log of the server",
    );
    match &s.restore {
        Some(Err(e)) => put(
            "restore-fails",
            true,
            e.clone(),
            "what is lost here cannot be brought back",
            "take a backup with `vm-obs storage backup`, and try it with `vm-obs storage probe`",
        ),
        Some(Ok(said)) => outcome.seen.push(said.clone()),
        None => outcome.leave_out(format!("restoring a backup: {}", world.why("restore"))),
    }
    if let Some(age) = s.backup_age_ms.filter(|age| *age > BACKUP_AGE_MS_MAX) {
        findings.push(
            Finding::warning(CHECK, "backup-old", "data folder")
                .saw(format!("the newest backup is {} days old", age / 86_400_000))
                .cause("what came in since is nowhere else")
                .mend("take backups by a timer: `vm-obs storage backup`"),
        );
    }
    if s.unsealed_hours.is_none() {
        outcome.leave_out("hours without a seal: not counted");
    }
    outcome
}

pub(super) fn headroom(world: &World, findings: &mut Vec<Finding>) -> CheckOutcome {
    const CHECK: Check = Check::Headroom;
    let Some(h) = &world.headroom else {
        return CheckOutcome::skipped(CHECK, world.why(CHECK.id()));
    };
    let mut outcome = CheckOutcome::ran(CHECK, 0);
    match h.clock_skew_ms {
        None => outcome.leave_out("clock: the server did not tell its time"),
        Some(skew) => {
            outcome.subjects += 1;
            if skew.unsigned_abs() > SKEW_MS_MAX {
                findings.push(
                    Finding::critical(CHECK, "clock-skew", "clock")
                        .asked("GET /obs/health", format!("the server's clock is {} s {}", skew.abs() as f64 / 1000.0, if skew > 0 { "ahead" } else { "behind" }))
                        .cause("samples get wrong times, alerts fire late or early, and receipts are dated wrongly")
                        .mend("synchronise the clocks (chrony, systemd-timesyncd)"),
                );
            }
        }
    }
    disk(h, findings, &mut outcome);
    cardinality(h, findings, &mut outcome);
    if let Some(rejected) = h.rejected {
        outcome.subjects += 1;
        if rejected > 0.0 {
            findings.push(
                Finding::warning(CHECK, "data-rejected", "ingest")
                    .asked("GET /obs/health", format!("{rejected} items were refused in the last minutes"))
                    .cause("telemetry is lost: it is too old, too large, malformed, or the storage takes none")
                    .mend("see vmobs_ingest_rejected_total by reason"),
            );
        }
    }
    outcome
}

fn disk(h: &HeadroomInput, findings: &mut Vec<Finding>, outcome: &mut CheckOutcome) {
    const CHECK: Check = Check::Headroom;
    let Some(free) = h.disk_free_bytes else {
        outcome.leave_out("disk: its free space is not known");
        return;
    };
    outcome.subjects += 1;
    let days = h.disk_bytes_per_day.filter(|d| *d > 0.0).map(|d| free as f64 / d);
    if free < DISK_FREE_BYTES_MIN || days.is_some_and(|d| d < DISK_DAYS_MIN) {
        let lasts = days.map_or(String::new(), |d| format!(", enough for {d:.1} days as it grows"));
        findings.push(
            Finding::critical(CHECK, "disk-nearly-full", "disk")
                .asked("GET /obs/health", format!("{} MiB free{lasts}", free >> 20))
                .cause("when the disk is full nothing is taken in")
                .mend("make room, or shorten hot_retention"),
        );
    }
}

fn cardinality(h: &HeadroomInput, findings: &mut Vec<Finding>, outcome: &mut CheckOutcome) {
    const CHECK: Check = Check::Headroom;
    let Some(series) = h.series else {
        outcome.leave_out("cardinality: the number of series is not known");
        return;
    };
    outcome.subjects += 1;
    let full = h.series_max.filter(|max| series as f64 > SERIES_SHARE_MAX * *max as f64);
    let suspect = h
        .largest_metrics
        .first()
        .filter(|(_, n)| *n > METRIC_SERIES_MIN && *n as f64 > METRIC_SHARE_MAX * series as f64);
    if let Some(max) = full {
        findings.push(
            Finding::critical(CHECK, "series-near-limit", "series")
                .saw(format!("{series} series of at most {max}"))
                .cause("above the limit new series are refused")
                .mend("drop labels that hold ids, or raise the limit"),
        );
    }
    if let Some((name, count)) = suspect {
        findings.push(
            Finding::warning(CHECK, "cardinality", name.as_str())
                .asked("GET /api/v1/status/tsdb", format!("{count} of {series} series are {name}"))
                .cause("a label of it holds something without bounds, such as a user or request id")
                .mend("drop the label with metric_relabel_configs"),
        );
    }
}
