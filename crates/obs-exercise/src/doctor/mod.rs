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
    let mut report = Report { place: world.place.clone(), ..Report::default() };
    let findings = &mut report.findings;
    findings.extend(world.found_by_reader.iter().cloned());
    let probe = Probe::new(world);
    let boards = dashboards::read(world, findings);
    let plain = PlainUses::of(world, &panels::promql(&boards, world.now));
    let ingest = running::ingest(world, findings);
    let targets = running::targets(world, findings);
    let dashboards = dashboards::check(world, &boards, probe.as_ref(), findings);
    let recording = rules::recording(world, probe.as_ref(), &plain, findings);
    let alerts = alerts::check(world, &boards, probe.as_ref(), &plain, findings);
    let (fire, resolve) = drill::check(world, findings);
    let deliveries = running::deliveries(world, findings);
    let objectives = running::objectives(world, probe.as_ref(), findings);
    let ledger = running::ledger(world, findings);
    let storage = running::storage(world, findings);
    let headroom = running::headroom(world, findings);
    report.checks = vec![
        ingest, targets, dashboards, recording, alerts, fire, deliveries, resolve, objectives,
        ledger, storage, headroom,
    ];
    report.sort();
    report
}
