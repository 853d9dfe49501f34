//! Tiers and backups. The program serves them, above this crate.

use super::{Route, get, post};

pub(super) const ROUTES: &[Route] = &[
    get("/obs/storage", "storageStatus", "What lies in which tier, and the room on the disk")
        .answer(&[
            ("tiers", "array"),
            ("deleted_files", "integer"),
            ("cold_store", "string"),
            ("free_bytes", "integer"),
            ("total_bytes", "integer"),
            ("watermark", "string"),
            ("cold_backoff_level", "integer"),
            ("last_error", "string"),
        ]),
    get("/obs/storage/plan", "storagePlan", "What retention would move and delete now, and why")
        .answer(&[("steps", "array")]),
    post(
        "/obs/storage/cleanup",
        "storageCleanup",
        "Do what retention asks for now; leaves a receipt for each move and deletion",
    )
    .answer(&[
        ("moved", "array"),
        ("kept", "array"),
        ("deleted", "array"),
        ("bytes_freed", "integer"),
    ]),
    post("/obs/storage/backup", "storageBackup", "Back up to storage.backup of the configuration")
        .answer(&[
            ("id", "string"),
            ("to", "string"),
            ("files", "integer"),
            ("bytes", "integer"),
            ("new_files", "integer"),
            ("new_bytes", "integer"),
        ]),
    post(
        "/obs/storage/probe",
        "storageProbe",
        "Restore the newest backup on trial, verify it and remove it again",
    )
    .answer(&[
        ("id", "string"),
        ("from", "string"),
        ("created", "string"),
        ("bytes", "integer"),
        ("restored", "boolean"),
        ("files", "integer"),
        ("receipts", "integer"),
        ("why", "string"),
    ]),
];
