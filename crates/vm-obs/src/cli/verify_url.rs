//! `vm-obs verify URL`: what a running server holds, brought here and verified here.
//!
//! Nothing that the server says of itself counts: its checkpoint is read first, then the receipts
//! that it signs and the files that they name, and all of it goes through the same verifier as a
//! folder. What the server does not hand out is missing, as it would be in a folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use obs_proof::checkpoint::Checkpoint;
use obs_proof::note::{Note, VerifierKey};
use obs_proof::time::parse_rfc3339;
use obs_proof::verify::{Depth, VerifyOptions};
use serde_json::Value;

use super::client::{Client, Parameters, base_url};
use super::human;

const RECEIPTS: &str = "receipts/observability";
/// Receipts asked for at a time.
const PAGE: u64 = 20_000;

/// The address, if the argument is one and no folder or file of that name is there.
pub(super) fn address(argument: &Path) -> Option<String> {
    let text = argument.to_str()?;
    (text.contains("://") && !argument.exists()).then(|| base_url(Some(text)))
}

/// A temporary folder; removed with this value.
#[derive(Debug)]
pub(super) struct Fetched {
    dir: PathBuf,
}

impl Fetched {
    fn new() -> anyhow::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| anyhow::anyhow!("no random bytes: {e}"))?;
        let name = format!("vm-obs-verify-{:016x}", u64::from_be_bytes(random));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn write(&self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.dir.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.dir) {
            eprintln!("vm-obs verify: {} is left behind: {e}", self.dir.display());
        }
    }
}

/// Brings receipts and, unless the options want receipts only, files of the hours that are asked
/// for.
pub(super) async fn fetch(url: &str, options: &VerifyOptions) -> anyhow::Result<Fetched> {
    let client = Client::at(url.to_owned())?;
    let out = Fetched::new()?;
    // Checkpoint and root file of one moment.
    let head = client.get("/obs/ledger", &Parameters::new()).await?.json;
    let note = human::text(&head, "checkpoint");
    out.write(&format!("{RECEIPTS}/checkpoint"), note.as_bytes())?;
    out.write(
        "ROOT.observability.txt",
        format!("{}\n", human::text(&head, "root_hash")).as_bytes(),
    )?;
    if let Some(cosigned) = head.pointer("/cosigned/checkpoint").and_then(Value::as_str) {
        out.write(&format!("{RECEIPTS}/checkpoint.cosigned"), cosigned.as_bytes())?;
    }
    let keys = client.get("/obs/ledger/keys", &Parameters::new()).await?.json;
    for key in human::list(&keys, "keys") {
        if let Ok(key) = VerifierKey::parse(human::text(key, "key")) {
            let path = format!("{RECEIPTS}/keys/log-{:08x}.vkey", key.id());
            out.write(&path, format!("{key}\n").as_bytes())?;
        }
    }
    let actors = client.text("/obs/ledger/actors", &Parameters::new()).await?;
    out.write(&format!("{RECEIPTS}/actors.txt"), actors.as_bytes())?;
    let signed = Note::parse(note.as_bytes()).and_then(|n| Checkpoint::parse(&n.text));
    let size = signed.map_or(0, |c| c.size);
    let files = receipts(&client, &out, size, options).await?;
    if options.depth != Depth::Receipts {
        for path in files.into_keys() {
            file(&client, &out, &path).await?;
        }
    }
    Ok(out)
}

/// Writes the log and gives the paths that its receipts speak for.
async fn receipts(
    client: &Client,
    out: &Fetched,
    size: u64,
    options: &VerifyOptions,
) -> anyhow::Result<BTreeMap<String, ()>> {
    out.write(&format!("{RECEIPTS}/observability_events.jsonl"), b"")?;
    let path = out.dir.join(RECEIPTS).join("observability_events.jsonl");
    let mut log = fs::OpenOptions::new().append(true).open(path)?;
    let mut files = BTreeMap::new();
    let mut from = 0;
    while from < size {
        let limit = PAGE.min(size - from);
        let parameters = vec![("from", from.to_string()), ("limit", limit.to_string())];
        let text = client.text("/obs/ledger/receipts.jsonl", &parameters).await?;
        log.write_all(text.as_bytes())?;
        let lines = text.lines().count() as u64;
        if lines == 0 {
            break;
        }
        for line in text.lines().filter(|l| l.contains("_path\":\"")) {
            files.extend(wanted(line, options).map(|p| (p, ())));
        }
        from += lines;
    }
    Ok(files)
}

/// The file that a receipt speaks for, if its hour is asked for and the path stays in the folder.
fn wanted(line: &str, options: &VerifyOptions) -> Option<String> {
    let receipt: Value = serde_json::from_str(line).ok()?;
    let of = |name: &&str| receipt.get(*name).and_then(Value::as_str);
    let path = ["storage_path", "report_path", "proof_path"].iter().find_map(of)?;
    let time = |name: &str| parse_rfc3339(receipt.pointer(name)?.as_str()?);
    let before = time("/period/end").zip(options.from).is_some_and(|(end, from)| end <= from);
    let after = time("/period/start").zip(options.to).is_some_and(|(start, to)| start >= to);
    let plain = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    (plain && !before && !after).then(|| path.to_owned())
}

async fn file(client: &Client, out: &Fetched, path: &str) -> anyhow::Result<()> {
    out.write(path, b"")?;
    let target = out.dir.join(path);
    let mut to = fs::OpenOptions::new().append(true).open(&target)?;
    if !client.download("/obs/ledger/file", &vec![("path", path.to_owned())], &mut to).await? {
        // The verifier says whether it had to be there.
        fs::remove_file(target)?;
    }
    Ok(())
}
