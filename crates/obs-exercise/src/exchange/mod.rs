//! Speaking HTTP to a system under exercise: where it may be aimed, how a connection is made and
//! timed, what a step sends, expects and takes from the answer. Shared by probes, load tests and
//! chaos experiments.

mod allow;
mod check;
mod connect;
mod jsonpath;
mod once;
mod step;
mod text;
mod tls;

pub use allow::{AllowedHosts, Refused};
pub use check::Check;
pub use connect::{ConnectError, Connected, Phases, Plan, Stream, connect, resolve};
pub use jsonpath::{JsonPath, JsonPathError};
pub(crate) use once::reason as error_reason;
pub use once::{Reply, exchange};
pub use step::{Record, RecordKind, Request, Source, Step, StepForm, Unsent};
pub use text::{StepError, Template, Variables, duration, traceparent};
pub use tls::{TlsForm, client_config};
