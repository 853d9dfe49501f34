//! Fills a world from a server's routes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use obs_exercise::doctor::{
    Check, DashboardInput, Finding, HeadroomInput, LedgerInput, ObjectiveInput, Recomputed,
    RuleInput, SilenceInput, StorageInput, TargetInput, World, own_data_sources, read_notify,
};
use obs_rules::{AlertSpec, GroupSpec, RuleFile, RuleKind, RuleSpec, parse_duration, parse_time};
use obs_types::{DurationMs, TimestampMs};
use serde_json::Value;

use crate::cli::client::{Client, Parameters, encoded};
use crate::cli::human;

/// Objectives over slices of minutes have nothing to count before.
const OBJECTIVES_AFTER_SECONDS: f64 = 900.0;
/// How long objectives are counted again; the others wait for the next run.
const RECOMPUTING: Duration = Duration::from_secs(20);
/// Sealing may take so long beyond its delay.
const SEALING_MS: i64 = 10 * 60_000;
const LARGEST_METRICS: &str = "5";

/// When the server thinks that it is.
pub(in crate::cli) async fn server_time(client: &Client) -> anyhow::Result<TimestampMs> {
    let health = client.get("/obs/health", &Parameters::new()).await?.json;
    parse_time(human::text(&health, "now")).context("the server does not tell its time")
}

pub(in crate::cli) async fn world(client: &Client) -> anyhow::Result<World> {
    let none = Parameters::new();
    let before = jiff::Timestamp::now().as_millisecond();
    let health = client.get("/obs/health", &none).await?.json;
    let after = jiff::Timestamp::now().as_millisecond();
    let now =
        parse_time(human::text(&health, "now")).context("the server does not tell its time")?;
    let mut world = World::empty(client.to_string(), now);
    world.rules = rules(&client.get("/api/v1/rules", &none).await?.json);
    world.dashboards = Some(dashboards(client).await?);
    world.data_sources = Some(own_data_sources());
    world.targets = Some(targets(client).await?);
    let silences = client.get("/obs/silences", &none).await?.json;
    world.silences = human::list(&silences, "silences").iter().filter_map(silence).collect();
    let uptime = health.get("uptime_seconds").and_then(Value::as_f64).unwrap_or(0.0);
    let slos = client.get("/obs/slos", &none).await?.json;
    let mut objectives: Vec<ObjectiveInput> =
        human::list(&slos, "slos").iter().map(|s| objective(s, uptime)).collect();
    if let Err(why) = recompute(client, &mut objectives).await {
        world.absent.insert("recomputed", why);
    }
    world.objectives = Some(objectives);
    world.ledger = Some(ledger(client, &health).await?);
    let config = config(client).await;
    world.storage = Some(storage(&health, config.as_ref(), now));
    world.headroom = Some(headroom(client, &health, now, (before + after) / 2).await);
    let flags = client.get("/api/v1/status/flags", &none).await.ok().map(|a| a.json);
    let file = flags.as_ref().and_then(|f| f.pointer("/data/config")?.as_str()).unwrap_or("");
    notify(client, &health, config.as_ref(), Path::new(file).parent(), &mut world);
    Ok(world)
}

/// By file, as the server names them; it shows no text, so lines are not known.
fn rules(json: &Value) -> Vec<RuleInput> {
    let mut files: BTreeMap<String, Vec<GroupSpec>> = BTreeMap::new();
    let groups = json.pointer("/data/groups").and_then(Value::as_array).into_iter().flatten();
    for group in groups {
        let rules = human::list(group, "rules").iter().map(rule).collect();
        let spec = GroupSpec {
            name: human::text(group, "name").to_owned(),
            interval: None,
            query_offset: None,
            limit: 0,
            labels: BTreeMap::new(),
            rules,
        };
        files.entry(human::text(group, "file").to_owned()).or_default().push(spec);
    }
    files
        .into_iter()
        .map(|(path, groups)| RuleInput {
            path: path.clone(),
            text: String::new(),
            rules: Ok(RuleFile { path, groups }),
            loaded: true,
        })
        .collect()
}

fn texts(json: &Value, name: &str) -> BTreeMap<String, String> {
    let all = json.get(name).and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(n, v)| Some((n.clone(), v.as_str()?.to_owned()))).collect()
}

fn rule(json: &Value) -> RuleSpec {
    let seconds = |name: &str| {
        let s = json.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        DurationMs((s * 1000.0) as i64)
    };
    let name = human::text(json, "name").to_owned();
    let kind = match human::text(json, "type") {
        "alerting" => RuleKind::Alert(AlertSpec {
            name,
            hold: seconds("duration"),
            keep_firing: seconds("keepFiringFor"),
            annotations: texts(json, "annotations"),
        }),
        _ => RuleKind::Record { name },
    };
    RuleSpec {
        kind,
        expr: human::text(json, "query").to_owned(),
        labels: texts(json, "labels"),
        line: 0,
    }
}

async fn dashboards(client: &Client) -> anyhow::Result<Vec<DashboardInput>> {
    let listed = client.get("/obs/dashboards", &Parameters::new()).await?.json;
    let mut out = Vec::new();
    for board in human::list(&listed, "dashboards") {
        let id = human::text(board, "id");
        let path = format!("/obs/dashboards/{}/grafana", encoded(id));
        let json = client.get(&path, &Parameters::new()).await?.json;
        out.push(DashboardInput {
            path: format!("dashboard {id}"),
            text: format!("{json:#}"),
            ..DashboardInput::default()
        });
    }
    Ok(out)
}

pub(super) async fn targets(client: &Client) -> anyhow::Result<Vec<TargetInput>> {
    let json = client.get("/api/v1/targets", &Parameters::new()).await?.json;
    let all = json.pointer("/data/activeTargets").and_then(Value::as_array).into_iter().flatten();
    Ok(all
        .map(|t| TargetInput {
            job: human::text(t, "scrapePool").to_owned(),
            instance: t
                .pointer("/labels/instance")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            health: human::text(t, "health").to_owned(),
            last_error: human::text(t, "lastError").to_owned(),
            // A year before 1970 stands for never.
            last_scrape: parse_time(human::text(t, "lastScrape")).filter(|t| t.0 > 0),
            interval_ms: parse_duration(human::text(t, "scrapeInterval")).map_or(15_000, |d| d.0),
        })
        .collect())
}

fn silence(json: &Value) -> Option<SilenceInput> {
    if human::text(json, "status") != "active" {
        return None;
    }
    let matchers = human::list(json, "matchers")
        .iter()
        .map(|m| {
            let value = Value::from(human::text(m, "value"));
            format!("{}{}{value}", human::text(m, "name"), human::text(m, "op"))
        })
        .collect();
    Some(SilenceInput {
        id: human::text(json, "id").to_owned(),
        matchers,
        ends_at: parse_time(human::text(json, "ends_at"))?,
        by: human::text(json, "created_by").to_owned(),
    })
}

fn objective(json: &Value, uptime_seconds: f64) -> ObjectiveInput {
    let no_data = human::text(json, "status") == "no_data";
    let young = uptime_seconds < OBJECTIVES_AFTER_SECONDS;
    ObjectiveInput {
        id: human::text(json, "slo_id").to_owned(),
        has_data: if no_data && young { None } else { Some(!no_data) },
        error: json.get("error").and_then(Value::as_str).map(str::to_owned),
        settling: young,
        queries: human::list(json, "queries")
            .iter()
            .filter_map(|q| q.as_str().map(str::to_owned))
            .collect(),
        recomputed: None,
    }
}

/// Counts events again, as long as [`RECOMPUTING`] lasts. `Err` says why none was.
async fn recompute(client: &Client, objectives: &mut [ObjectiveInput]) -> Result<(), String> {
    let start = std::time::Instant::now();
    for o in objectives.iter_mut().filter(|o| o.has_data == Some(true)) {
        if start.elapsed() > RECOMPUTING {
            break;
        }
        let path = format!("/obs/slos/{}/recompute", encoded(&o.id));
        let json = client.get(&path, &Parameters::new()).await.map_err(|e| format!("{e:#}"))?.json;
        let Some(window) = json.get("window").filter(|w| w.is_object()) else {
            return Err("nothing is sealed yet".to_owned());
        };
        let events = |name: &str| {
            let part = |of: &str| json.pointer(&format!("/{name}/{of}")).and_then(Value::as_f64);
            Some((part("good")?, part("total")?))
        };
        if let (Some(engine), Some(sealed)) = (events("engine"), events("sealed")) {
            let window =
                format!("{} to {}", human::text(window, "start"), human::text(window, "end"));
            o.recomputed = Some(Recomputed { engine, sealed, window });
        }
    }
    match objectives.iter().any(|o| o.recomputed.is_some()) {
        true => Ok(()),
        false => Err("no objective counts events yet".to_owned()),
    }
}

async fn ledger(client: &Client, health: &Value) -> anyhow::Result<LedgerInput> {
    let answer = client.post("/obs/ledger/verify", &Value::Null).await?.json;
    let size = health.pointer("/ledger/size").and_then(Value::as_u64).unwrap_or(0);
    let problems = match human::text(&answer, "verdict") {
        // Without a witness a policy is unmet, which is no damage.
        "ok" | "policy_unmet" => Vec::new(),
        verdict => {
            let lines = human::text(&answer, "text").lines().take(5);
            std::iter::once(verdict.to_owned()).chain(lines.map(str::to_owned)).collect()
        }
    };
    Ok(LedgerInput { size, problems })
}

/// The server's configuration file, where it has one.
async fn config(client: &Client) -> Option<Value> {
    let answer = client.get("/api/v1/status/config", &Parameters::new()).await.ok()?;
    let text = answer.json.pointer("/data/yaml")?.as_str()?.to_owned();
    serde_saphyr::from_str(&text).ok()
}

/// Hours that are over for long enough and have no seal.
fn unsealed_hours(health: &Value, config: Option<&Value>, now: TimestampMs) -> Option<u64> {
    let delay = config.and_then(|c| c.get("seal_delay")?.as_str());
    let delay = delay.map_or(Ok(DurationMs(300_000)), parse_duration).ok()?;
    let time = |json: &Value, name: &str| parse_time(human::text(json, name)).map(|t| t.0);
    let sealed = health.pointer("/storage/sealed_metrics")?;
    let (end, missing) = if sealed.is_object() {
        (time(sealed, "end")?, sealed.get("missing_hours")?.as_u64()?)
    } else {
        let up = health.get("uptime_seconds")?.as_f64()? * 1000.0;
        ((now.0 - up as i64).div_euclid(DurationMs::HOUR.0) * DurationMs::HOUR.0, 0)
    };
    let late = (now.0 - delay.0 - SEALING_MS - end).div_euclid(DurationMs::HOUR.0).max(0);
    Some(missing + late.unsigned_abs())
}

fn storage(health: &Value, config: Option<&Value>, now: TimestampMs) -> StorageInput {
    let number = |name: &str| {
        let found = health.get("storage").and_then(|s| s.get(name));
        found.and_then(Value::as_u64).unwrap_or(0)
    };
    StorageInput {
        sealed_files: number("sealed_files"),
        unreadable_files: number("unreadable_sealed_files"),
        unsealed_hours: unsealed_hours(health, config, now),
        damaged_blocks: number("damaged_blocks"),
        restore: None,
        backup_age_ms: None,
    }
}

/// Has the server restore its newest backup on trial, where its configuration names a place.
pub(super) async fn restore(client: &Client, world: &mut World) {
    let named = config(client).await.and_then(|c| Some(c.get("storage")?.get("backup").is_some()));
    let Some(storage) = &mut world.storage else { return };
    if named != Some(true) {
        let why = "the server's configuration names no storage.backup";
        world.absent.insert("restore", why.to_owned());
        return;
    }
    let json = match client.post("/obs/storage/probe", &Value::Null).await {
        Ok(answer) => answer.json,
        Err(e) => {
            storage.restore = Some(Err(format!("{e:#}")));
            return;
        }
    };
    let (id, created) = (human::text(&json, "id"), human::text(&json, "created"));
    storage.backup_age_ms = parse_time(created).map(|t| world.now.0.saturating_sub(t.0));
    if json.get("restored").and_then(Value::as_bool) == Some(true) {
        let number = |name: &str| human::plain(human::number(json.get(name)).unwrap_or(0.0));
        storage.restore = Some(Ok(format!(
            "backup {id} of {created} was restored on trial: {} files, {} receipts verified",
            number("files"),
            number("receipts")
        )));
    } else {
        let why = format!("{id}: {}; `vm-obs storage probe` does it", human::text(&json, "why"));
        world.absent.insert("restore", why);
    }
}

async fn headroom(
    client: &Client,
    health: &Value,
    now: TimestampMs,
    here_ms: i64,
) -> HeadroomInput {
    let tsdb =
        client.get("/api/v1/status/tsdb", &vec![("limit", LARGEST_METRICS.to_owned())]).await;
    let tsdb = tsdb.map_or(Value::Null, |a| a.json);
    let largest = tsdb.pointer("/data/seriesCountByMetricName").and_then(Value::as_array);
    let lost = "sum(increase(vmobs_ingest_rejected_total[5m]))";
    let rejected = client.get("/api/v1/query", &vec![("query", lost.to_owned())]).await.ok();
    let rejected = rejected
        .and_then(|a| a.json.pointer("/data/result/0/value/1")?.as_str()?.parse::<f64>().ok());
    HeadroomInput {
        clock_skew_ms: Some(now.0 - here_ms),
        disk_free_bytes: health.pointer("/storage/free_bytes").and_then(Value::as_u64),
        disk_bytes_per_day: None,
        series: tsdb.pointer("/data/headStats/numSeries").and_then(Value::as_u64),
        series_max: None,
        largest_metrics: largest
            .into_iter()
            .flatten()
            .filter_map(|m| Some((human::text(m, "name").to_owned(), m.get("value")?.as_u64()?)))
            .collect(),
        rejected,
    }
}

/// The routes, where this machine can read the file that the server's configuration names.
fn notify(
    client: &Client,
    health: &Value,
    config: Option<&Value>,
    config_folder: Option<&Path>,
    world: &mut World,
) {
    let named = config.and_then(|y| y.get("notify")?.as_str().map(str::to_owned));
    let Some(path) = named else {
        if health.get("demo").and_then(Value::as_bool) == Some(true) {
            let why = "the demo world notifies nobody; `notify:` in the configuration names routes";
            world.absent.insert("notify", why.to_owned());
        } else {
            world.absent.insert("notify", "no `notify` in the server's configuration".to_owned());
            world.found_by_reader.push(
                Finding::critical(Check::Alerts, "notify-none", client.to_string())
                    .asked("GET /api/v1/status/config", "no `notify`")
                    .cause("alerts fire, are shown and recorded, and nobody is told")
                    .mend("name a file with route and receivers: `notify: notify.yml`"),
            );
        }
        return;
    };
    let here = config_folder.unwrap_or(Path::new(".")).join(&path);
    let read = std::fs::read_to_string(here).map_err(|e| e.to_string());
    match read.and_then(|text| read_notify(&path, &text)) {
        Ok(input) => world.notify = Some(input),
        Err(e) => {
            world
                .absent
                .insert("notify", format!("{path} is read on the server's machine only: {e}"));
        }
    }
}

/// How long a canary may take to come back.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
