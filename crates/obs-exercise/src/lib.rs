//! Exercises a monitoring stack and says whether it works.
//!
//! Lives here: the doctor: its checks as functions over a [`doctor::World`], the drills, reading a
//! folder of Prometheus, Grafana and Alertmanager files, the report; the audit.
//! Not here: asking a server (`vm-obs` fills a world from its routes), storage, HTTP.
//! Units: milliseconds since the Unix epoch.
//! Source: `docs/doctor.md` lists every check and finding.

pub mod audit;
pub mod doctor;
