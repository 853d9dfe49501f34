//! Dashboard model, Grafana JSON in and out.
