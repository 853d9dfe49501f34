//! Tiles and proof files that the ledger hands out, checked with what an outsider has.

use std::path::Path;
use std::sync::Arc;

use obs_disk::{Disk, FakeDisk};
use obs_ledger::{Ledger, LedgerMode, SealLink, SealRelation, TilesWritten};
use obs_proof::checkpoint::Checkpoint;
use obs_proof::note::Note;
use obs_proof::record::{LEAF_LOG, RecordScope, RecordTreeBuilder, salt};
use obs_proof::tile::{TileName, TileReader};
use obs_proof::tree::{inclusion_proof, verify_inclusion};
use obs_proof::verify::{Code, Parsed, VerifyOptions, verify};
use obs_proof::vmproof::ProvenRecord;
use obs_proof::{Sha256Tree, TreeHash};

use crate::support::{
    DATA, alert, clock, config, hash, lines, log_batch, open_fake, seal, verify_fake,
};

const DIR: &str = "/data/receipts/observability";
const PATH: &str = "telemetry/logs/2025-12-06/hour-14.jsonl.gz";

/// The tree as somebody sees it who has nothing but the files.
fn root_from_files(disk: &FakeDisk) -> (Checkpoint, obs_proof::Hash) {
    let note = Note::parse(&disk.read(&Path::new(DIR).join("checkpoint")).unwrap()).unwrap();
    let checkpoint = Checkpoint::parse(&note.text).unwrap();
    let mut read = |path: &str| disk.read(&Path::new(DIR).join(path)).ok();
    let mut tiles = TileReader::<Sha256Tree>::new(checkpoint.size, &mut read);
    let root = tiles.root().unwrap();
    (checkpoint, root)
}

#[test]
fn tiles_give_the_signed_root_and_proofs() {
    let (disk, clock) = (FakeDisk::new(), clock());
    let ledger = open_fake(&disk, &clock).unwrap();
    assert_eq!(ledger.write_tiles(false).unwrap(), TilesWritten::default());
    for (until, written, removed, total) in
        [(1, 1, 0, 1), (200, 1, 0, 1), (256, 2, 2, 2), (300, 1, 0, 3), (600, 3, 1, 4)]
    {
        let more = until - ledger.head().size;
        ledger.append((0..more).map(alert).collect()).unwrap();
        let want = TilesWritten { written, removed, total };
        assert_eq!(ledger.write_tiles(false).unwrap(), want, "{until}");
        let (checkpoint, root) = root_from_files(&disk);
        assert_eq!((checkpoint.size, checkpoint.root), (until, root));
    }
    assert_eq!(ledger.write_tiles(false).unwrap().written, 0);

    let mut read = |path: &str| disk.read(&Path::new(DIR).join(path)).ok();
    let mut tiles = TileReader::<Sha256Tree>::new(600, &mut read);
    let proof = inclusion_proof::<Sha256Tree>(299, 600, &mut |l, i| tiles.node(l, i)).unwrap();
    let line = lines(&ledger).swap_remove(299);
    let leaf = Sha256Tree::leaf(line.as_bytes());
    verify_inclusion::<Sha256Tree>(299, 600, &leaf, &proof, &ledger.head().root).unwrap();

    // Served from memory, byte for byte as on disk.
    let name = |level, index, width| TileName { level: Some(level), index, width };
    for name in [name(0, 0, 256), name(0, 2, 88), name(1, 0, 2)] {
        assert_eq!(ledger.tile(name), disk.read(&Path::new(DIR).join(name.path())).ok());
    }
    assert_eq!(ledger.tile(name(0, 2, 89)), None);
    assert_eq!(ledger.tile(name(0, 3, 1)), None);
    assert_eq!(ledger.tile(name(9, 0, 1)), None);
    assert!(ledger.tile(name(0, 2, 1)).is_some(), "an earlier width is still known");

    // A cache: what is missing or wrong is made again.
    let first = Path::new(DIR).join("tile/0/000");
    let good = disk.read(&first).unwrap();
    disk.remove(&first).unwrap();
    assert_eq!(ledger.write_tiles(false).unwrap().written, 1);
    let mut bad = good.clone();
    bad[77] ^= 1;
    obs_disk::write_durable(&disk, &first, &bad).unwrap();
    let mut read = |path: &str| disk.read(&Path::new(DIR).join(path)).ok();
    let mut tiles = TileReader::<Sha256Tree>::new(600, &mut read);
    let proof = inclusion_proof::<Sha256Tree>(3, 600, &mut |l, i| tiles.node(l, i)).unwrap();
    let leaf = Sha256Tree::leaf(lines(&ledger).swap_remove(3).as_bytes());
    let root = ledger.head().root;
    assert!(verify_inclusion::<Sha256Tree>(3, 600, &leaf, &proof, &root).is_err());
    assert_eq!(ledger.write_tiles(true).unwrap().written, 1);
    assert_eq!(disk.read(&first).unwrap(), good);

    let read_only = Ledger::open(obs_ledger::LedgerConfig {
        mode: LedgerMode::ReadOnly,
        ..config(Arc::new(disk.clone()), clock, Path::new(DATA))
    })
    .unwrap();
    assert!(read_only.write_tiles(false).is_err());
    assert_eq!(read_only.tile(name(0, 0, 256)), Some(good));
}

/// A small ledger with one sealed hour of three records, and the proof of the third.
fn sealed_hour() -> (FakeDisk, Ledger, ProvenRecord) {
    let scope = RecordScope::new(LEAF_LOG, "logs", "2025-12-06T14:00:00Z");
    let key = [9; 32];
    let records: Vec<Vec<u8>> = (0..3).map(|i| format!("{{\"n\":{i}}}").into_bytes()).collect();
    let mut builder = RecordTreeBuilder::new(scope.clone(), key);
    records.iter().for_each(|r| builder.push(r));
    let tree = builder.finish();
    let leaves: Vec<_> = (0..3).zip(&records).map(|(i, r)| scope.leaf(&salt(&key, i), r)).collect();

    let (disk, clock) = (FakeDisk::new(), clock());
    let ledger = open_fake(&disk, &clock).unwrap();
    let mut fields = seal("logs", 0, 0, PATH, b"the file");
    fields.records.root = tree.root;
    ledger.append(vec![alert(1), log_batch(fields), alert(2)]).unwrap();

    let record = ProvenRecord {
        scope,
        proof: tree.prove(2, &key, &leaves).unwrap(),
        record: records[2].clone(),
    };
    (disk, ledger, record)
}

/// A proof file and the key that it is checked with.
pub(crate) fn log_line_proof() -> (String, String) {
    let (_disk, ledger, record) = sealed_hour();
    (ledger.proof_file(1, Some(record)).unwrap().to_string(), ledger.head().log_vkey)
}

#[test]
fn a_record_is_proven_through_the_receipt_of_its_hour() {
    let (_disk, ledger, record) = sealed_hour();
    let proof = ledger.proof_file(1, Some(record.clone())).unwrap();
    assert!(ledger.proof_file(0, Some(record.clone())).is_err(), "an alert seals nothing");
    assert_eq!(ledger.seal_of(PATH), Some(1));
    assert_eq!(ledger.seal_of("telemetry/logs/2025-12-06/hour-15.jsonl.gz"), None);
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let file = dir.path().join("line.vmproof");
        std::fs::write(&file, text).unwrap();
        let words = [file.display().to_string(), "--log-key".into(), ledger.head().log_vkey];
        let Ok(Parsed::Run(options)) = VerifyOptions::parse(words) else { panic!("refused") };
        verify(&options).unwrap()
    };
    let report = check(&proof.to_string());
    assert_eq!(report.exit_code(), 0, "{report}");
    let shown = report.proven.and_then(|p| p.record).unwrap();
    assert_eq!((shown.index, shown.record), (2, record.record));
    let receipt = ledger.proof_file(2, None).unwrap();
    assert_eq!(check(&receipt.to_string()).exit_code(), 0);
}

/// The bytes of a sealed file may change, its records may not: what was proven stays proven.
#[test]
fn an_hour_that_is_encoded_anew_satisfies_earlier_proofs() {
    let (disk, ledger, record) = sealed_hour();
    let before = ledger.proof_file(1, Some(record.clone())).unwrap();
    let packed = b"the same records, packed otherwise";
    let path = "telemetry/logs/2025-12-06/hour-14.r1.jsonl.gz";
    let mut fields = seal("logs", 0, 1, path, packed);
    fields.records.root = record.proof.root(&record.scope, &record.record).unwrap();
    fields.link = Some(SealLink {
        relation: SealRelation::Supersedes,
        content_hash: hash(b"the file"),
        reason: "compaction".into(),
    });
    let root = fields.records.root;
    // The old file may go once the receipt names the new one in its place.
    let full = Path::new(DATA).join(path);
    disk.create_dir_all(full.parent().unwrap()).unwrap();
    obs_disk::write_durable(&disk, &full, packed).unwrap();
    let seq = ledger.append(vec![log_batch(fields)]).unwrap()[0];
    let report = verify_fake(&disk);
    assert!(report.exit_code() == 0 && report.has(Code::DeclaredDeletion), "{report}");
    assert_eq!(report.files, 1);

    let after = ledger.proof_file(seq, Some(record)).unwrap();
    for proof in [before, after] {
        assert!(proof.check().is_ok());
        let record = proof.record.unwrap();
        assert_eq!(record.proof.root(&record.scope, &record.record).unwrap(), root);
    }
}
