//! Every dialect over temporary engines, a clock that only the test moves, and a real socket.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod alertmanager;
mod dashboards;
mod dialect;
mod general;
mod jaeger;
mod loki;
mod obs;
mod prometheus;
mod queries;
mod remote;
mod server;
mod tempo;
