//! Exercises a monitoring stack and the systems behind it, and says whether they work.
//!
//! Lives here: the doctor: its checks as functions over a [`doctor::World`], the drills, reading a
//! folder of Prometheus, Grafana and Alertmanager files, the report; the audit; load tests ([`load`]),
//! probes ([`probe`]), the deployment gate ([`gate`]), chaos experiments ([`chaos`]); and how they
//! speak HTTP to what they exercise ([`exchange`]).
//! Not here: asking a server (`vm-obs` fills a world from its routes), storage, where results go.
//! Units: milliseconds since the Unix epoch; latencies in milliseconds.
//! Source: `docs/doctor.md` lists every check and finding, `docs/exercises.md` the rest.

pub mod audit;
pub mod chaos;
pub mod doctor;
pub mod exchange;
pub mod gate;
pub mod load;
mod plot;
pub mod probe;
