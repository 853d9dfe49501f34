//! Chaos: experiments with a hypothesis, faults that are undone whatever happens, a TCP proxy.
//!
//! Lives here: experiment files (Chaos Toolkit's format), tolerances, faults and their undo journal,
//! the proxy with Toxiproxy's toxics and HTTP API, the order of a run.
//! Not here: asking a vm-obs server about metrics, objectives and alerts (`vm-obs` hands that in).
//!
//! Invariants: what undoes a fault is on disk before the fault begins; every exit goes through the
//! undo journal, by a guard process where the runner itself was killed.

mod experiment;
mod fault;
pub mod proxy;
mod run;
mod skew;
mod tolerance;
mod undo;

pub use experiment::{Activity, Experiment, Kind, Pauses, Provider, Strategy};
pub use fault::{Fault, FaultForm, Limits, hold};
pub use run::{AskServer, ChaosReport, ChaosRequest, Event, Outcome, run};
pub use skew::SKEW_VARIABLE;
pub use tolerance::{Seen, Tolerance};
pub use undo::{Undo, UndoJournal, leftovers, replay};
