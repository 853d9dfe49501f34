//! What the demo world sends: linked traces, the log lines that belong to them, and the lines that
//! tell of breaks.
//!
//! Rates are per tick, and ticks are real time: a simulated clock that runs a thousand times as
//! fast does not bring a thousand times the lines.

mod encode;
mod record;
mod scenario;
mod stacks;
mod story;

use obs_types::TimestampNs;

pub(super) use self::encode::{logs_to_loki, logs_to_otlp, traces_to_otlp};
pub(super) use self::record::Batch;
use self::record::{Level, Writer, origin};
use self::scenario::Play;
use self::story::Story;
use super::model::View;
use super::random::Random;

/// Ticks per second of real time.
pub(super) const TICKS_PER_SECOND: f64 = 2.0;

/// Decides what happens next.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    random: Random,
    story: Story,
    /// Traces per second, and what happens, of the packs that are on.
    scenarios: Vec<(f64, Play)>,
    vaultmesh: bool,
}

impl Traffic {
    /// Ids differ from start to start, because a data folder may hold those of an earlier one.
    pub(super) fn new(seed: u64, start: TimestampNs, packs: &[&str]) -> Self {
        let ids = Random::new(seed ^ start.0.unsigned_abs()).fork("traffic");
        let scenarios = packs.iter().flat_map(|pack| scenarios_of(pack)).copied().collect();
        let vaultmesh = packs.contains(&"vaultmesh");
        Self { random: ids, story: Story::default(), scenarios, vaultmesh }
    }

    /// Everything that was sent since the last tick; all of it ended at or before `now`.
    pub(super) fn tick(&mut self, now: TimestampNs, view: &View) -> Batch {
        let mut writer = Writer::new(&mut self.random, now);
        for (rate, play) in &self.scenarios {
            if writer.random.chance(*rate / TICKS_PER_SECOND) {
                play(&mut writer, view);
            }
        }
        self.story.tell(&mut writer, view);
        if self.vaultmesh {
            chatter(&mut writer, view);
        }
        writer.finish()
    }
}

fn scenarios_of(pack: &str) -> &'static [(f64, Play)] {
    match pack {
        "vaultmesh" => &scenario::VAULTMESH,
        "genesis" => &stacks::GENESIS,
        "auren" => &stacks::AUREN,
        "agent-mesh" => &stacks::AGENT_MESH,
        _ => &[],
    }
}

/// Lines of VaultMesh's services that belong to no request.
fn chatter(w: &mut Writer<'_>, view: &View) {
    let lines: [(f64, _, Level, String); 7] = [
        (
            0.5,
            origin::GUARDIAN,
            Level::Debug,
            format!("queue inspected depth={:.0}", view.queue_depth),
        ),
        (0.5, origin::TREASURY, Level::Debug, "balances reconciled".to_owned()),
        (
            0.5,
            origin::AURORA,
            Level::Info,
            format!("treaty polled fill_rate={:.1} rtt_ms={:.1}", view.fill_rate, view.rtt_ms),
        ),
        (0.6, origin::PORTAL, Level::Info, "GET / 200".to_owned()),
        (0.4, origin::MESH, Level::Debug, "gossip round completed peers=4".to_owned()),
        (0.05, origin::OFFSEC, Level::Warn, "port scan detected, address blocked".to_owned()),
        (0.03, origin::ORACLE, Level::Warn, "feed answered late, cached value used".to_owned()),
    ];
    for (rate, from, level, message) in lines {
        if w.random.chance(rate / TICKS_PER_SECOND) {
            w.log(from, level, &message, &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use obs_types::{SpanId, TimestampMs};

    use super::*;
    use crate::demo::faults::Fault;
    use crate::demo::instances::PACKS;
    use crate::demo::model::Model;

    const START: TimestampMs = TimestampMs(1_764_945_000_000);

    fn run(ticks: i64, broken: Option<Fault>) -> Vec<Batch> {
        run_with(&["host", "vaultmesh"], ticks, broken)
    }

    fn run_with(packs: &[&str], ticks: i64, broken: Option<Fault>) -> Vec<Batch> {
        let mut model = Model::new(1, START);
        if let Some(fault) = broken {
            model.faults.start(fault);
        }
        let mut traffic = Traffic::new(1, START.to_ns(), packs);
        (1..=ticks)
            .map(|tick| {
                let now = TimestampMs(START.0 + tick * 500);
                model.advance(now);
                traffic.tick(now.to_ns(), &model.view())
            })
            .collect()
    }

    #[test]
    fn rates_are_believable_and_repeat() {
        let batches = run(1_200, None);
        assert_eq!(batches, run(1_200, None));
        let traces: BTreeSet<_> =
            batches.iter().flat_map(|b| &b.spans).map(|s| s.trace_id).collect();
        let logs: usize = batches.iter().map(|b| b.logs.len()).sum();
        assert!((600..1_500).contains(&traces.len()), "{} traces in 10 minutes", traces.len());
        assert!((2_400..7_200).contains(&logs), "{logs} lines in 10 minutes");
        assert!(batches.iter().flat_map(|b| &b.spans).any(|s| s.error.is_some()), "some fail");
        assert!(
            batches.iter().flat_map(|b| &b.spans).any(|s| s.end.0 - s.start.0 > 5_000_000_000),
            "some are slow"
        );
    }

    #[test]
    fn spans_hang_together_and_logs_point_at_them() {
        let batches = run(600, None);
        let mut linked = 0;
        for batch in &batches {
            let known: BTreeSet<_> = batch.spans.iter().map(|s| (s.trace_id, s.span_id)).collect();
            for span in &batch.spans {
                assert!(span.start <= span.end);
                if span.parent != SpanId::default() {
                    assert!(known.contains(&(span.trace_id, span.parent)), "{}", span.name);
                }
            }
            for log in &batch.logs {
                if let Some(at) = log.span {
                    assert!(known.contains(&at), "{}", log.message);
                    linked += 1;
                }
            }
        }
        assert!(linked > 300, "{linked}");
    }

    #[test]
    fn a_settlement_looks_as_the_contract_has_it() {
        let batches = run(600, None);
        let spans: Vec<_> = batches.iter().flat_map(|b| &b.spans).collect();
        let root = spans.iter().find(|s| s.name == "treasury_settlement").expect("a settlement");
        let inside: Vec<_> = spans
            .iter()
            .filter(|s| s.trace_id == root.trace_id)
            .map(|s| (s.name, s.origin.service, s.origin.node))
            .collect();
        assert_eq!(
            inside,
            [
                ("treasury_settlement", "portal", "portal-01"),
                ("validate_settlement", "treasury-engine", "brick-01"),
                ("emit_receipt", "ledger", "brick-01"),
                ("anchor_request", "guardian", "brick-01"),
            ]
        );
    }

    #[test]
    fn every_break_is_told_in_logs() {
        for (fault, service, words) in [
            (Fault::PodDrift, "psi-field", "prediction error diverges from peers"),
            (Fault::TreatyDrops, "aurora-metrics-exporter", "dropping requests"),
            (Fault::AnchorBacklog, "guardian", "anchor queue depth increasing"),
            (Fault::AnchorBacklog, "guardian", "processing backlog"),
            (Fault::NodeDown, "mesh", "brick-02 unreachable"),
        ] {
            let told = |batches: &[Batch]| {
                batches
                    .iter()
                    .flat_map(|b| &b.logs)
                    .filter(|l| l.origin.service == service && l.message.contains(words))
                    .count()
            };
            assert!(told(&run(240, Some(fault))) > 0, "{words}");
            assert_eq!(told(&run(240, None)), 0, "{words}");
        }
    }

    #[test]
    fn every_fault_is_told_when_it_begins_and_when_it_is_over() {
        // The first four have words of their own.
        for fault in Fault::all().skip(4) {
            let mut model = Model::new(1, START);
            let mut traffic = Traffic::new(1, START.to_ns(), &PACKS);
            model.faults.start(fault);
            let mut lines = [0, 0];
            for tick in 1..=600 {
                if tick == 240 {
                    model.faults.heal();
                }
                let now = TimestampMs(START.0 + tick * 500);
                model.advance(now);
                let told = traffic
                    .tick(now.to_ns(), &model.view())
                    .logs
                    .iter()
                    .any(|l| l.fields.iter().any(|f| f.0 == "fault" && f.1 == fault.name()));
                lines[usize::from(tick >= 240)] += usize::from(told);
            }
            assert!(lines.iter().all(|l| *l > 0), "{}: {lines:?}", fault.name());
        }
    }

    #[test]
    fn the_traces_of_a_stack_come_with_its_pack_and_span_its_services() {
        let spans_of = |packs: &[&str], root: &str| -> BTreeSet<&'static str> {
            let batches = run_with(packs, 600, None);
            let spans: Vec<_> = batches.iter().flat_map(|b| &b.spans).collect();
            let id = spans.iter().find(|s| s.name == root).map(|s| s.trace_id);
            spans.iter().filter(|s| Some(s.trace_id) == id).map(|s| s.origin.service).collect()
        };
        for (pack, root, services) in [
            ("genesis", "orchestrate_task", vec!["genesis-halo", "genesis-orchestrator"]),
            ("auren", "GET /kpi", vec!["auren-postgres", "auren-pwa", "neuros"]),
            (
                "agent-mesh",
                "consensus_round",
                vec!["agent-mesh-aggregator", "agent-mesh-bootstrap", "agent-mesh-trainer"],
            ),
            ("agent-mesh", "training_round", vec!["agent-mesh-aggregator", "agent-mesh-trainer"]),
        ] {
            let found: Vec<_> = spans_of(&["host", pack], root).into_iter().collect();
            assert_eq!(found, services, "{root}");
            assert!(spans_of(&["host", "vaultmesh"], root).is_empty(), "{root} without {pack}");
        }
    }

    #[test]
    fn a_lost_node_sends_nothing() {
        let spans: Vec<_> = run(600, Some(Fault::NodeDown));
        assert!(spans.iter().flat_map(|b| &b.spans).all(|s| s.origin.node != "brick-02"));
        assert!(spans.iter().flat_map(|b| &b.logs).all(|l| l.origin.node != "brick-02"));
        assert!(
            spans
                .iter()
                .flat_map(|b| &b.spans)
                .any(|s| s.error.as_deref().is_some_and(|e| e.contains("refused")))
        );
    }
}
