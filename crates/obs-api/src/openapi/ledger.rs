//! Receipts and the ledger.

use super::{LIMIT, NODE, Route, WINDOW, get, post};

pub(super) const ROUTES: &[Route] = &[
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
    get("/obs/ledger/proof", "ledgerProof", "Inclusion proof of a receipt (C2SP tlog-proof)")
        .parameters(&[&[("seq", 'q', "integer", "sequence number of the receipt")]]),
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
