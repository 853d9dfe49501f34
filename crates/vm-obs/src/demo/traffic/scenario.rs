//! Requests as they cross the services: ENGINE's treasury settlement, oracle queries, ψ-field
//! steps, anchor cycles, treaty routing, validations and logins.

use obs_types::SpanKind;
use serde_json::json;

use super::record::{Call, Level, Writer, origin};
use crate::demo::faults::Fault;
use crate::demo::model::View;

pub(super) type Play = fn(&mut Writer<'_>, &View);

/// VaultMesh: traces per second, and what happens.
pub(super) const VAULTMESH: [(f64, Play); 7] = [
    (0.25, settlement),
    (0.35, oracle_query),
    (0.4, psi_step),
    (0.05, anchor_cycle),
    (0.25, treaty_route),
    (0.15, validation),
    (0.15, login),
];

/// Portal, treasury-engine, ledger, guardian (ENGINE 2.3).
fn settlement(w: &mut Writer<'_>, view: &View) {
    let backlog = view.faults.level(Fault::AnchorBacklog);
    let slow = w.random.chance(0.04);
    let median = if slow { 6.5 } else { 1.6 } + 20.0 * backlog;
    let anchor = w.random.latency(median, 0.2);
    let timed_out = w.random.chance(0.5 * backlog);
    let invalid = !timed_out && w.random.chance(0.015);
    let validate = w.random.latency(0.15, 0.3);
    let receipt = w.random.latency(0.05, 0.3);
    let id = format!("settle-{}-{:06}", w.date(), w.number_of_day());
    let amount = format!("{:.2} USD", w.random.between(20.0, 5_000.0));
    let failure = match (invalid, timed_out) {
        (true, _) => Some("accounts do not balance"),
        (_, true) => Some("anchor request timed out"),
        _ => None,
    };
    let status = if invalid {
        422
    } else if timed_out {
        504
    } else {
        200
    };
    let whole = if invalid { 0.12 + validate } else { 0.12 + validate + receipt + anchor };
    let root = w.root(
        Call::new(origin::PORTAL, "treasury_settlement", 0.0, whole)
            .error(failure)
            .with("http.method", "POST")
            .with("http.url", "/treasury/settle")
            .with("http.status_code", status)
            .with("triggered_by", "did:vm:user:sovereign")
            .with("business_context.settlement_id", id.as_str())
            .with("business_context.amount", amount.as_str()),
    );
    let validated = w.child(
        root,
        Call::new(origin::TREASURY, "validate_settlement", 0.1, validate)
            .error(failure.filter(|_| invalid))
            .with("settlement_id", id.as_str())
            .with("accounts_involved", accounts_of(&id)),
    );
    if invalid {
        let fields = [("settlement_id", json!(id)), ("amount", json!(amount))];
        w.log_in(
            validated,
            origin::TREASURY,
            Level::Error,
            "settlement refused: accounts do not balance",
            &fields,
        );
    } else {
        w.child(
            root,
            Call::new(origin::LEDGER, "emit_receipt", 0.1 + validate, receipt)
                .with("receipt_type", "treasury_settlement")
                .with("scroll", "treasury"),
        );
        let anchored = w.child(
            root,
            Call::new(origin::GUARDIAN, "anchor_request", 0.1 + validate + receipt, anchor)
                .error(failure)
                .with("backend", "bitcoin")
                .with("txid", format!("btc:{:016x}", transaction_of(&id))),
        );
        let (level, message) = if timed_out {
            (Level::Error, "anchor request timed out")
        } else {
            (Level::Info, "anchor request accepted")
        };
        let fields = [
            ("backend", json!("bitcoin")),
            ("duration_ms", json!((anchor * 1e3).round() as i64)),
            ("queue_depth", json!(view.queue_depth.round() as i64)),
        ];
        w.log_in(anchored, origin::GUARDIAN, level, message, &fields);
        let settled = if timed_out { "settlement not anchored" } else { "settlement recorded" };
        let fields = [("settlement_id", json!(id)), ("amount", json!(amount))];
        w.log_in(validated, origin::TREASURY, level, settled, &fields);
    }
    let level = if status == 200 { Level::Info } else { Level::Error };
    let fields = [
        ("method", json!("POST")),
        ("path", json!("/treasury/settle")),
        ("status", json!(status)),
        ("duration_ms", json!((whole * 1e3).round() as i64)),
    ];
    w.log_in(root, origin::PORTAL, level, &format!("POST /treasury/settle {status}"), &fields);
}

/// Two to four, from the id, so that the same settlement always has the same.
fn accounts_of(id: &str) -> u64 {
    2 + xxhash_rust::xxh3::xxh3_64(id.as_bytes()) % 3
}

fn transaction_of(id: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(id.as_bytes())
}

fn oracle_query(w: &mut Writer<'_>, _view: &View) {
    let fails = w.random.chance(0.015);
    let slow = w.random.chance(0.03);
    let fetch = if fails { 2.0 } else { w.random.latency(if slow { 5.4 } else { 0.07 }, 0.4) };
    let feed = w.random.pick(["btc-usd", "eth-usd", "gpu-hour-eur", "kwh-eu-west"]);
    let failure = fails.then_some("upstream feed timed out");
    let status = if fails { 502 } else { 200 };
    let root = w.root(
        Call::new(origin::PORTAL, "oracle_request", 0.0, fetch + 0.03)
            .error(failure)
            .with("http.method", "GET")
            .with("http.url", "/oracle/query")
            .with("http.status_code", status),
    );
    let query = w.child(
        root,
        Call::new(origin::ORACLE, "query_feed", 0.01, fetch + 0.01)
            .error(failure)
            .with("feed", feed)
            .with("confidence", (confidence_after(fetch) * 1e3).round() / 1e3),
    );
    w.child(
        query,
        Call::new(origin::ORACLE, "fetch_upstream", 0.015, fetch)
            .kind(SpanKind::Client)
            .error(failure)
            .with("peer.service", feed),
    );
    let fields = [("feed", json!(feed)), ("duration_ms", json!((fetch * 1e3).round() as i64))];
    match failure {
        Some(why) => {
            w.log_in(query, origin::ORACLE, Level::Error, &format!("query failed: {why}"), &fields);
        }
        None => w.log_in(query, origin::ORACLE, Level::Info, "query answered", &fields),
    }
}

/// Late answers are trusted less.
fn confidence_after(seconds: f64) -> f64 {
    (0.97 - seconds / 20.0).clamp(0.5, 0.99)
}

fn psi_step(w: &mut Writer<'_>, view: &View) {
    let pod = w.random.pick([0, 1]);
    if pod == 1 && view.faults.active(Fault::NodeDown) {
        let root = w.root(
            Call::new(origin::PORTAL, "psi_step", 0.0, 0.012)
                .kind(SpanKind::Client)
                .error(Some("connection to psi-field-1:8000 refused"))
                .with("peer.service", "psi-field")
                .with("net.peer.name", "psi-field-1"),
        );
        let fields = [("pod", json!("psi-field-1")), ("node", json!("brick-02"))];
        w.log_in(
            root,
            origin::PORTAL,
            Level::Error,
            "canary call of /step failed: connection refused",
            &fields,
        );
        return;
    }
    let drift = if pod == 0 { view.faults.level(Fault::PodDrift) } else { 0.0 };
    let from = origin::PODS[pod];
    let predict = w.random.latency(0.018 * (1.0 + 8.0 * drift), 0.35);
    let failure = w.random.chance(0.3 * drift).then_some("prediction did not converge");
    let error = view.prediction_errors[pod];
    let root = w.root(
        Call::new(from, "psi_step", 0.0, predict + 0.009)
            .error(failure)
            .with("http.method", "POST")
            .with("http.url", "/step"),
    );
    w.child(root, Call::new(from, "gather_inputs", 0.001, 0.006).kind(SpanKind::Internal));
    let predicted = w.child(
        root,
        Call::new(from, "predict", 0.008, predict)
            .kind(SpanKind::Internal)
            .error(failure)
            .with("prediction_error", (error * 1e3).round() / 1e3),
    );
    let fields = [
        ("prediction_error", json!((error * 1e3).round() / 1e3)),
        ("duration_ms", json!((predict * 1e3).round() as i64)),
    ];
    match failure {
        Some(why) => {
            w.log_in(predicted, from, Level::Error, &format!("step failed: {why}"), &fields)
        }
        None => w.log_in(predicted, from, Level::Debug, "step computed", &fields),
    }
}

/// Scheduler, guardian, ledger.
fn anchor_cycle(w: &mut Writer<'_>, view: &View) {
    let backlog = view.faults.level(Fault::AnchorBacklog);
    let fails = w.random.chance(0.01 + 0.8 * backlog);
    let submit = w.random.latency(2.0 + 43.0 * backlog, 0.2);
    let receipts = if backlog > 0.5 { 100 } else { w.random.pick([31, 38, 47, 52]) };
    let cycle = format!("anchor-cycle-{}-{:06}", w.date(), w.number_of_day());
    let failure = fails.then_some("backend bitcoin did not confirm");
    let root = w.root(
        Call::new(origin::SCHEDULER, "anchor_cycle", 0.0, submit + 0.3)
            .kind(SpanKind::Internal)
            .error(failure)
            .with("cycle_id", cycle.as_str())
            .with("backoff_level", view.backoff.ceil() as i64),
    );
    w.child(
        root,
        Call::new(origin::GUARDIAN, "collect_roots", 0.01, 0.12)
            .with("scrolls_included", json!(["treasury", "mesh", "identity"])),
    );
    let submitted = w.child(
        root,
        Call::new(origin::GUARDIAN, "anchor_submit", 0.14, submit)
            .error(failure)
            .with("backend", "bitcoin")
            .with("receipts_anchored", receipts),
    );
    if failure.is_none() {
        w.child(
            root,
            Call::new(origin::LEDGER, "append_anchor", 0.16 + submit, 0.05)
                .with("scroll", "observability"),
        );
    }
    let fields = [
        ("cycle_id", json!(cycle)),
        ("receipts_anchored", json!(if fails { 0 } else { receipts })),
        ("scrolls_included", json!(["treasury", "mesh", "identity"])),
        ("duration_ms", json!((submit * 1e3).round() as i64)),
        ("backend", json!("bitcoin")),
    ];
    if let Some(why) = failure {
        w.log_in(
            submitted,
            origin::GUARDIAN,
            Level::Error,
            &format!("anchor failed: {why}"),
            &fields,
        );
        let level =
            [("backoff_level", json!(view.backoff.ceil() as i64)), ("cycle_id", json!(cycle))];
        w.log_in(
            root,
            origin::SCHEDULER,
            Level::Warn,
            "anchor attempt failed, backing off",
            &level,
        );
    } else {
        let done = "Anchor cycle completed successfully";
        w.log_in(submitted, origin::GUARDIAN, Level::Info, done, &fields);
    }
}

fn treaty_route(w: &mut Writer<'_>, view: &View) {
    let dropped = w.random.chance(0.02 + 0.23 * view.faults.level(Fault::TreatyDrops));
    let trip = w.random.latency(view.rtt_ms / 1e3, 0.15);
    let failure = dropped.then_some("no capacity at provider akash");
    let root = w.root(
        Call::new(origin::PORTAL, "treaty_request", 0.0, trip + 0.02)
            .error(failure)
            .with("http.method", "POST")
            .with("http.url", "/aurora/route")
            .with("http.status_code", if dropped { 503 } else { 202 }),
    );
    let routed = w.child(
        root,
        Call::new(origin::AURORA, "route_request", 0.008, trip)
            .error(failure)
            .with("treaty_id", "AURORA-AKASH-001")
            .with("provider", "akash"),
    );
    let fields =
        [("treaty_id", json!("AURORA-AKASH-001")), ("rtt_ms", json!((trip * 1e4).round() / 10.0))];
    match failure {
        Some(why) => {
            w.log_in(
                routed,
                origin::AURORA,
                Level::Warn,
                &format!("request dropped: {why}"),
                &fields,
            );
        }
        None => w.log_in(routed, origin::AURORA, Level::Info, "request routed", &fields),
    }
}

fn validation(w: &mut Writer<'_>, view: &View) {
    if view.faults.active(Fault::NodeDown) {
        return;
    }
    let schema = w.random.pick(["anchor", "settlement", "treaty"]);
    let wrong = w.random.chance(0.02);
    let takes = w.random.latency(0.004, 0.5);
    let failure = wrong.then_some("missing field `scroll`");
    let root = w.root(
        Call::new(origin::HARBINGER, "validate_event", 0.0, takes)
            .error(failure)
            .with("schema", schema)
            .with("result", if wrong { "error" } else { "ok" }),
    );
    let fields = [("schema", json!(schema))];
    match failure {
        Some(why) => {
            w.log_in(
                root,
                origin::HARBINGER,
                Level::Error,
                &format!("event refused: {why}"),
                &fields,
            );
        }
        None => w.log_in(root, origin::HARBINGER, Level::Info, "event valid", &fields),
    }
}

fn login(w: &mut Writer<'_>, _view: &View) {
    let refused = w.random.chance(0.06);
    let takes = w.random.latency(0.08, 0.3);
    let user = w.random.pick(["sovereign", "astra", "tem", "operator-7"]);
    let root = w.root(
        Call::new(origin::PORTAL, "login", 0.0, takes + 0.015)
            .with("http.method", "POST")
            .with("http.url", "/login")
            .with("http.status_code", if refused { 401 } else { 200 }),
    );
    let checked = w.child(
        root,
        Call::new(origin::IDENTITY, "authenticate", 0.006, takes)
            .with("user.did", format!("did:vm:user:{user}"))
            .with("result", if refused { "failure" } else { "success" }),
    );
    let fields = [("user", json!(format!("did:vm:user:{user}"))), ("method", json!("passkey"))];
    if refused {
        w.log_in(checked, origin::IDENTITY, Level::Warn, "login refused", &fields);
    } else {
        w.log_in(checked, origin::IDENTITY, Level::Info, "login accepted", &fields);
    }
}
