//! Receipts and the ledger.

use super::{LIMIT, NODE, Route, WINDOW, get, post};

pub(super) const ROUTES: &[Route] = &[
    get("/obs/exercises", "listExercises", "Load tests, chaos experiments, gates and transactions")
        .parameters(&[&WINDOW])
        .answer(&[("exercises", "array")]),
    post(
        "/obs/exercises",
        "recordExercise",
        "Say that an exercise began or ended; leaves a receipt",
    )
    .body(&[
        ("exercise", "string"),
        ("run_id", "string"),
        ("name", "string"),
        ("target", "string"),
        ("by", "string"),
        ("started_at", "string"),
        ("ended_at", "string"),
        ("outcome", "string"),
        ("summary", "string"),
        ("report_hash", "string"),
    ])
    .answer(&[("receipt_seq", "integer")]),
    get("/obs/receipts", "queryReceipts", "Receipts of the ledger, newest first")
        .parameters(&[
            &[
                ("type", 'q', "string", "comma list, obs_ may be left out"),
                ("filter", 'q', "string", "e.g. log_counts.error > 0"),
                NODE,
            ],
            &WINDOW,
            &[LIMIT, ("order", 'q', "string", "asc or desc")],
        ])
        .answer(&[("receipts", "array"), ("total", "integer")]),
    get("/obs/ledger", "ledgerHead", "Head of the ledger").answer(&[
        ("origin", "string"),
        ("size", "integer"),
        ("root_hash", "string"),
        ("checkpoint", "string"),
        ("log_vkey", "string"),
    ]),
    get("/obs/ledger/checkpoint", "ledgerCheckpoint", "Signed checkpoint (C2SP signed note)"),
    get(
        "/obs/ledger/file",
        "ledgerFile",
        "A file that a receipt speaks for, such as a sealed hour",
    )
    .parameters(&[&[("path", 'q', "string", "storage_path of the receipt")]]),
    get("/obs/ledger/actors", "ledgerActors", "Registry of actors, one key a line"),
    get("/obs/ledger/keys", "ledgerKeys", "The log's keys, the current one last")
        .answer(&[("keys", "array")]),
    post(
        "/obs/ledger/keys",
        "changeLedgerKeys",
        "Statements about the log's keys, signed by them (made by vm-obs ledger rotate-key)",
    )
    .answer(&[("keys", "array"), ("receipt_seq", "array")]),
    get("/obs/ledger/proof", "ledgerProof", "Inclusion proof of a receipt (C2SP tlog-proof)")
        .parameters(&[&[("seq", 'q', "integer", "sequence number of the receipt")]]),
    get(
        "/obs/ledger/tile/{*path}",
        "ledgerTile",
        "Tile or entry bundle of the log (C2SP tlog-tiles)",
    )
    .parameters(&[&[("path", 'p', "string", "L/N, L/N.p/W or entries/N")]]),
    get("/obs/anchors", "listAnchors", "Anchors of the ledger and their Scheduler").answer(&[
        ("enabled", "boolean"),
        ("anchors", "array"),
        ("queue_depth", "integer"),
        ("backoff_level", "integer"),
    ]),
    post(
        "/obs/witness/add-checkpoint",
        "witnessAddCheckpoint",
        "Cosign a checkpoint of another log (C2SP tlog-witness)",
    ),
    get(
        "/obs/witness/{origin}/checkpoint",
        "witnessCheckpoint",
        "Last checkpoint that was cosigned of a log",
    )
    .parameters(&[&[("origin", 'p', "string", "lower-case hex SHA-256 of the log's origin")]]),
    get("/obs/proof/log", "proveLog", "Proof file of a log line in a sealed hour").parameters(&[
        &[
            ("time", 'q', "string", "instant of the line, to the nanosecond"),
            ("query", 'q', "string", "stream selector"),
            ("line", 'q', "string", "the line, where several have that instant"),
            ("contains", 'q', "string", "a part of the line"),
        ],
    ]),
    get("/obs/proof/sample", "proveSample", "Proof file of a series' samples in a sealed hour")
        .parameters(&[&[
            ("time", 'q', "string", "an instant in the hour"),
            ("series", 'q', "string", "selector that matches one series"),
            ("revision", 'q', "integer", "file of late data; 0 is the hour's own"),
        ]]),
    get("/obs/proof/span", "proveSpan", "Proof file of a span in a sealed hour").parameters(&[&[
        ("trace", 'q', "string", "trace id"),
        ("span", 'q', "string", "span id"),
        ("time", 'q', "string", "end of the span; without it all hours are looked through"),
    ]]),
    get("/obs/proof/receipt", "proveReceipt", "Proof file of a receipt").parameters(&[&[(
        "seq",
        'q',
        "integer",
        "sequence number of the receipt",
    )]]),
    get("/obs/ledger/receipts.jsonl", "ledgerLines", "Raw lines of the log")
        .parameters(&[&[("from", 'q', "integer", "first sequence number"), LIMIT]]),
    post("/obs/ledger/verify", "verifyLedger", "Verify ledger and sealed files on the server")
        .answer(&[
            ("exit_code", "integer"),
            ("verdict", "string"),
            ("text", "string"),
            ("findings", "array"),
        ]),
];
