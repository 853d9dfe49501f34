//! The doctor: twelve checks over a [`World`], and what they found.

mod alerts;
mod compose;
mod dashboards;
mod drill;
mod expr;
mod finding;
mod fix;
mod folder;
mod notify_file;
mod panels;
mod probe;
mod render;
mod rules;
mod runbook;
mod running;
mod satisfy;
mod synthesize;
mod usage;
mod world;

pub use finding::{Check, CheckOutcome, Evidence, Finding, Fix, Place, Report, Severity};
pub use fix::{FixError, apply};
pub use folder::{FolderError, own_data_sources, read_folder};
pub use notify_file::{drillable, read_notify};
pub use world::{
    CanaryInput, DashboardInput, DataSource, DeliveryInput, HeadroomInput, Integration,
    LedgerInput, NotifyInput, ObjectiveInput, Points, Recomputed, RuleInput, SilenceInput,
    StorageInput, TargetInput, Telemetry, World,
};

use probe::Probe;
use usage::PlainUses;

/// Runs every check over the world, in order.
pub fn examine(world: &World) -> Report {
    examine_noting(world, &mut |_| {})
}

/// As [`examine`]; `begins` hears of each check before it runs. The resolve path has no beginning of
/// its own: the fire drill looks at it as it goes.
pub fn examine_noting(world: &World, begins: &mut dyn FnMut(Check)) -> Report {
    let mut report = Report { place: world.place.clone(), ..Report::default() };
    let findings = &mut report.findings;
    findings.extend(world.found_by_reader.iter().cloned());
    let probe = Probe::new(world);
    let boards = dashboards::read(world, findings);
    let plain = PlainUses::of(world, &panels::promql(&boards, world.now));
    begins(Check::Ingest);
    let ingest = running::ingest(world, findings);
    begins(Check::Targets);
    let targets = running::targets(world, findings);
    begins(Check::Dashboards);
    let dashboards = dashboards::check(world, &boards, probe.as_ref(), findings);
    begins(Check::RecordingRules);
    let recording = rules::recording(world, probe.as_ref(), &plain, findings);
    begins(Check::Alerts);
    let alerts = alerts::check(world, &boards, probe.as_ref(), &plain, findings);
    begins(Check::FireDrill);
    let (fire, resolve) = drill::check(world, findings);
    begins(Check::DeliveryDrill);
    let deliveries = running::deliveries(world, findings);
    begins(Check::Objectives);
    let objectives = running::objectives(world, probe.as_ref(), findings);
    begins(Check::Ledger);
    let ledger = running::ledger(world, findings);
    begins(Check::Storage);
    let storage = running::storage(world, findings);
    begins(Check::Headroom);
    let headroom = running::headroom(world, findings);
    report.checks = vec![
        ingest, targets, dashboards, recording, alerts, fire, deliveries, resolve, objectives,
        ledger, storage, headroom,
    ];
    report.sort();
    report
}
