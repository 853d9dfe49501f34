//! `/obs/storage`: tiers, what retention would do, and backups to the configured place.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use obs_archive::Step;
use obs_disk::{Clock, Disk};
use obs_ledger::Ledger;
use obs_ops::OpsError;
use obs_ops::storage::{Catalog, StorageService, StorageStatus, TierRow, backup, newest, probe};
use obs_types::{BlobStore, ErrorKind, RetentionRules};
use serde_json::{Value, json};

use super::retention::rules_json;
use super::room::{Level, Room};
use crate::config::StoreConfig;
use crate::storage::{folder_bytes, open_store};

/// What the routes work with.
pub(super) struct Storage {
    pub(super) data: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) service: Arc<StorageService>,
    pub(super) room: Arc<Room>,
    pub(super) boundary: Arc<AtomicI64>,
    pub(super) backup: Option<StoreConfig>,
    pub(super) retention: Arc<RetentionRules>,
    /// Held while a backup is restored on trial.
    pub(super) probing: Mutex<()>,
}

pub(super) fn router(storage: Storage) -> Router {
    Router::new()
        .route("/obs/storage", get(status))
        .route("/obs/storage/plan", get(plan))
        .route("/obs/storage/cleanup", post(cleanup))
        .route("/obs/storage/backup", post(take_backup))
        .route("/obs/storage/probe", post(probe_backup))
        .with_state(Arc::new(storage))
}

/// Bytes of the engines, as rows of the table.
pub(crate) fn hot_rows(
    data: &std::path::Path,
    disk: &dyn Disk,
    since: Option<i64>,
) -> Vec<TierRow> {
    ["metrics", "logs", "traces"]
        .into_iter()
        .map(|signal| TierRow {
            tier: "hot",
            signal,
            kept: "all",
            files: 0,
            bytes: [data.join(signal), data.join("wal").join(signal)]
                .iter()
                .map(|folder| folder_bytes(disk, folder))
                .sum(),
            hours: 0,
            oldest: since,
            newest: None,
        })
        .collect()
}

/// Runs on a thread that may block.
async fn answer(
    storage: Arc<Storage>,
    work: impl FnOnce(&Storage) -> Result<Value, OpsError> + Send + 'static,
) -> Response {
    let outcome = tokio::task::spawn_blocking(move || work(&storage)).await;
    let (status, body) = match outcome {
        Ok(Ok(body)) => (StatusCode::OK, body),
        Ok(Err(e)) => {
            let status = match e.kind() {
                ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
                ErrorKind::NotFound => StatusCode::NOT_FOUND,
                ErrorKind::Conflict => StatusCode::CONFLICT,
                ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, json!({"error": {"message": e.to_string()}}))
        }
        Err(e) => {
            let message = format!("request failed: {e}");
            (StatusCode::INTERNAL_SERVER_ERROR, json!({"error": {"message": message}}))
        }
    };
    (status, Json(body)).into_response()
}

async fn status(State(storage): State<Arc<Storage>>) -> Response {
    answer(storage, |s| {
        let mut status = s.service.status()?;
        let since = s.boundary.load(Ordering::Acquire);
        let mut rows = hot_rows(&s.data, s.disk.as_ref(), Some(since));
        rows.append(&mut status.rows);
        let room = s.room.bytes();
        let status = StorageStatus {
            rows,
            free_bytes: room.map(|r| r.0),
            total_bytes: room.map(|r| r.1),
            watermark: s.room.level().as_str(),
            ..status
        };
        let mut json = status.to_json();
        json["metric_retention"] = rules_json(&s.retention, s.clock.now());
        Ok(json)
    })
    .await
}

pub(crate) fn steps_json(steps: &[Step]) -> Value {
    let days = |age: &obs_types::DurationMs| format!("older than {} days", age.0 / 86_400_000);
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| match step {
            Step::Move(name) => {
                json!({"action": "move", "files": [name.storage_path()], "why": "older than storage.warm"})
            }
            Step::Reduce { hour, age } => json!({
                "action": "keep errors",
                "files": hour.iter().map(|n| n.storage_path()).collect::<Vec<_>>(),
                "why": days(age),
            }),
            Step::Delete { name, age } => {
                json!({"action": "delete", "files": [name.storage_path()], "why": days(age)})
            }
        })
        .collect();
    json!({"steps": steps})
}

async fn plan(State(storage): State<Arc<Storage>>) -> Response {
    answer(storage, |s| Ok(steps_json(&s.service.plan(s.clock.now())?))).await
}

async fn cleanup(State(storage): State<Arc<Storage>>) -> Response {
    answer(storage, |s| done_json(&s.service, s.clock.as_ref())).await
}

/// Steps until nothing is left to do.
pub(crate) fn done_json(service: &StorageService, clock: &dyn Clock) -> Result<Value, OpsError> {
    let mut all = obs_ops::storage::Done::default();
    loop {
        let done = service.step(clock.now())?;
        let more = !done.moved.is_empty() || !done.deleted.is_empty();
        all.moved.extend(done.moved);
        all.deleted.extend(done.deleted);
        all.kept.extend(done.kept);
        all.bytes_freed += done.bytes_freed;
        if !more {
            break;
        }
    }
    Ok(json!({
        "moved": all.moved, "deleted": all.deleted, "kept": all.kept,
        "bytes_freed": all.bytes_freed,
    }))
}

async fn take_backup(
    State(storage): State<Arc<Storage>>,
    Query(parameters): Query<std::collections::BTreeMap<String, String>>,
) -> Response {
    answer(storage, move |s| {
        // A client must not choose where the server writes.
        if !parameters.is_empty() {
            let text = "a backup of a running server goes to storage.backup of its configuration";
            return Err(OpsError::Invalid(text.to_owned()));
        }
        let store = backup_store(s)?;
        let catalog = Catalog::read(&s.ledger)?;
        let report = s.service.undisturbed(|| {
            backup(&s.data, s.disk.as_ref(), &catalog, store.as_ref(), s.clock.now())
        })?;
        Ok(json!({
            "id": report.id, "to": store.address(), "files": report.files, "bytes": report.bytes,
            "new_files": report.new_files, "new_bytes": report.new_bytes,
        }))
    })
    .await
}

fn backup_store(s: &Storage) -> Result<Arc<dyn BlobStore>, OpsError> {
    let Some(config) = &s.backup else {
        let text = "the server's configuration names no storage.backup";
        return Err(OpsError::Invalid(text.to_owned()));
    };
    open_store(config).map_err(|e| OpsError::Invalid(format!("{e:#}")))
}

/// A larger backup takes longer to restore than anybody waits for an answer.
const PROBE_BYTES_MAX: u64 = 2 << 30;

/// Restores the newest backup beside the data, verifies it and removes it again. A backup of more
/// than [`PROBE_BYTES_MAX`] is told and not tried (`restored: false`).
async fn probe_backup(State(storage): State<Arc<Storage>>) -> Response {
    answer(storage, |s| {
        let Ok(_one_at_a_time) = s.probing.try_lock() else {
            return Err(OpsError::Conflict("another trial restore runs".to_owned()));
        };
        let store = backup_store(s)?;
        let facts = newest(store.as_ref())?;
        let (from, too_large) = (store.address(), facts.bytes > PROBE_BYTES_MAX);
        let room = s.room.bytes().map_or(u64::MAX, |(free, _)| free);
        if too_large || s.room.level() != Level::Enough || facts.bytes > room / 2 {
            let why = match too_large {
                true => format!("it has {} MiB", facts.bytes >> 20),
                false => "the disk has no room for it".to_owned(),
            };
            return Ok(json!({
                "id": facts.id, "from": from, "created": facts.created, "bytes": facts.bytes,
                "restored": false, "why": why,
            }));
        }
        let scratch = s.data.join("cache");
        s.disk
            .create_dir_all(&scratch)
            .map_err(|e| OpsError::State { path: scratch.clone(), reason: e.to_string() })?;
        let found = probe(store.as_ref(), &scratch)?;
        Ok(json!({
            "id": found.id, "from": from, "created": found.created, "bytes": found.bytes,
            "restored": true, "files": found.files, "receipts": found.receipts,
        }))
    })
    .await
}
