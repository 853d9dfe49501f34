//! The audit: what is covered, what is measured, what is missing, and what to do next.
//!
//! Numbered steps of [`examine`]:
//! 1. live values of every declared metric, by instance, against target range and drift;
//! 2. targets, alerts, recorded series, dashboards and objectives of every service, with what the
//!    doctor found about them;
//! 3. points and score by [`RULE`];
//! 4. gaps with the next commands, and the path to a higher score.

mod compare;
mod gaps;
mod html;
mod input;
mod live;
mod markdown;
mod plot;
mod report;
mod score;
mod service;
mod table;
mod text;

pub use compare::{Comparison, compare};
pub use html::to_html;
pub use input::{
    AuditInput, DashboardLine, Limits, MetricInput, ObjectiveState, PackInput, RuleLine,
    ServiceInput, SloLine, Told, ValueInput,
};
pub use markdown::to_markdown;
pub use report::{
    AlertLine, AuditReport, BoardReport, DoctorSummary, Gap, MetricReport, ObjectiveLine,
    PackVersion, Points, RecordLine, ServiceReport, ServiceStatus, Step, TargetLine, VERSION,
    ValueRow, ValueStatus,
};
pub use score::RULE;

use crate::doctor::Telemetry;

/// The audit of a server. Queries that fail count as no data.
pub fn examine(input: &AuditInput, telemetry: &dyn Telemetry) -> AuditReport {
    let mut services = Vec::new();
    for pack in &input.packs {
        for service in &pack.services {
            services.push(service::look(input, pack, service, telemetry));
        }
    }
    let score = score::overall(&services);
    let gaps = gaps::find(input, &services);
    let path = score::path(&services);
    let (ran, skipped) = input.doctor.counts();
    AuditReport {
        version: VERSION,
        place: input.place.clone(),
        generated_at: text::time(input.now),
        period_ms: input.period_ms,
        packs: input
            .packs
            .iter()
            .map(|p| PackVersion { name: p.name.clone(), version: p.version.clone() })
            .collect(),
        score,
        services,
        receivers: match input.told {
            Told::Receivers(count) => count,
            Told::Nobody(_) => 0,
        },
        doctor: DoctorSummary { findings: input.doctor.findings.len(), ran, skipped },
        gaps,
        path,
        since: None,
    }
}
