//! `vm-obs actor …`: keys of people and services, and what they sign with them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use obs_disk::{Clock, RealDisk, SystemClock, write_durable};
use obs_ops::ACTORS_FILE;
use obs_proof::actor::{Actor, Contract, Registry, is_did};
use obs_proof::note::{KeyKind, SignerKey};
use obs_proof::time::format_rfc3339;
use serde_json::{Value, json};

use super::args::FormatArgs;
use super::client::{Client, Parameters};
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum ActorCommand {
    /// Make a key for an actor and enter it in the registry
    New(NewArgs),
    /// Actors of the registry with their keys
    List(ListArgs),
    /// What a key signs from now on counts for nothing
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct NewArgs {
    /// Name, as did:vm:human:alice
    did: String,
    /// File for the private key, made with mode 0600
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Data folder, whose registry gets the public key
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// Name, for all its keys, or the id of one, as did:vm:human:alice#1f2e3d4c
    actor: String,
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
}

/// Who asks, with the key to show for it.
#[derive(Args, Debug, Default)]
pub(crate) struct ActAs {
    /// Sign as this actor, such as did:vm:human:alice
    #[arg(long = "as", value_name = "DID", requires = "key", help_heading = "Actor")]
    did: Option<String>,
    /// The actor's private key
    #[arg(long, value_name = "FILE", requires = "did", help_heading = "Actor")]
    key: Option<PathBuf>,
}

impl ActAs {
    pub(crate) fn is_given(&self) -> bool {
        self.did.is_some()
    }

    /// Puts the actor's name, as `by_field`, and its signed contract into a request; nothing if
    /// nobody signs.
    pub(crate) async fn sign(
        &self,
        client: &Client,
        operation_type: &str,
        subject: Value,
        by_field: &str,
        body: &mut Value,
    ) -> anyhow::Result<()> {
        let (Some(did), Some(path)) = (&self.did, &self.key) else { return Ok(()) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let key = SignerKey::parse(&text).with_context(|| path.display().to_string())?;
        if key.name() != did {
            bail!("{} is the key of {}, not of {did}", path.display(), key.name());
        }
        let ledger = client.get("/obs/ledger", &Parameters::new()).await?;
        let contract = Contract {
            origin: human::text(&ledger.json, "origin").to_owned(),
            operation_type: operation_type.to_owned(),
            initiated_by: did.clone(),
            issued_at: SystemClock::new().now().0,
            subject: subject.as_object().cloned().unwrap_or_default(),
        };
        if let Some(map) = body.as_object_mut() {
            map.insert(by_field.to_owned(), json!(did));
            map.insert("contract".to_owned(), Value::Object(contract.sign(&key)?));
        }
        Ok(())
    }
}

pub(crate) fn run(command: ActorCommand, out: &mut Out) -> anyhow::Result<()> {
    match command {
        ActorCommand::New(args) => new(&args, out),
        ActorCommand::List(args) => {
            let (_text, registry) = registry(&args.data)?;
            let mut table = Table::new(&["actor", "key id", "revoked", "key"]);
            for a in registry.actors() {
                table.row([
                    a.key.name().to_owned(),
                    format!("{:08x}", a.key.id()),
                    a.revoked.map(format_rfc3339).unwrap_or_default(),
                    a.key.to_string(),
                ]);
            }
            Ok(table.write(args.format.format, "no actors", out)?)
        }
        ActorCommand::Revoke(args) => revoke(&args, out),
    }
}

/// The registry's text, which may hold comments, and what it says. None is an empty one.
fn registry(data: &Path) -> anyhow::Result<(String, Registry)> {
    let path = data.join(ACTORS_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    let registry = Registry::parse(&text).with_context(|| path.display().to_string())?;
    Ok((text, registry))
}

fn store(data: &Path, text: &str) -> anyhow::Result<()> {
    Registry::parse(text)?;
    let path = data.join(ACTORS_FILE);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    Ok(write_durable(&RealDisk, &path, text.as_bytes())?)
}

fn new(args: &NewArgs, out: &mut Out) -> anyhow::Result<()> {
    if !is_did(&args.did) {
        bail!("{:?} is not a name such as did:vm:human:alice", args.did);
    }
    let (mut text, _registry) = registry(&args.data)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| anyhow::anyhow!("no random bytes: {e}"))?;
    let key = SignerKey::from_seed(&args.did, KeyKind::Ed25519, &seed)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.output)
        .with_context(|| format!("cannot make {}", args.output.display()))?;
    writeln!(file, "{}", key.to_secret_text())?;
    file.sync_all()?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let actor = Actor { key: key.verifier(), revoked: None };
    text.push_str(&format!("{actor}\n"));
    store(&args.data, &text)?;
    out.line(&format!("{} in {}", actor.keyid(), args.output.display()))?;
    Ok(out.line(&actor.to_string())?)
}

fn revoke(args: &RevokeArgs, out: &mut Out) -> anyhow::Result<()> {
    let (text, registry) = registry(&args.data)?;
    let meant = |a: &&Actor| a.key.name() == args.actor || a.keyid() == args.actor;
    let revoked: Vec<&Actor> =
        registry.actors().iter().filter(meant).filter(|a| a.revoked.is_none()).collect();
    if revoked.is_empty() {
        bail!("the registry has no key of {:?} that counts", args.actor);
    }
    let now = format_rfc3339(SystemClock::new().now().0);
    let lines: Vec<String> = text
        .lines()
        .map(|line| match revoked.iter().any(|a| a.to_string() == line.trim()) {
            true => format!("{} revoked {now}", line.trim()),
            false => line.to_owned(),
        })
        .collect();
    store(&args.data, &format!("{}\n", lines.join("\n")))?;
    for a in revoked {
        out.line(&format!("{} is revoked since {now}", a.keyid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::testing::memory;

    fn said(command: ActorCommand) -> anyhow::Result<String> {
        let (mut out, written) = memory();
        run(command, &mut out)?;
        Ok(written.text())
    }

    #[test]
    fn actors_come_and_go() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_owned();
        let new = |did: &str, file: &str| {
            let output = dir.path().join(file);
            said(ActorCommand::New(NewArgs { did: did.to_owned(), output, data: data.clone() }))
        };
        new("did:vm:human:alice", "alice.key").unwrap();
        new("did:vm:human:bob", "bob.key").unwrap();
        assert!(new("did:vm:human:bob", "bob.key").is_err(), "no key is written over");
        assert!(new("alice", "x.key").unwrap_err().to_string().contains("did:vm:human:alice"));
        let mode = std::fs::metadata(dir.path().join("alice.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let revoke = |actor: &str| {
            said(ActorCommand::Revoke(RevokeArgs { actor: actor.to_owned(), data: data.clone() }))
        };
        revoke("did:vm:human:alice").unwrap();
        assert!(revoke("did:vm:human:alice").is_err(), "once");
        let (_text, registry) = registry(&data).unwrap();
        let revoked: Vec<bool> = registry.actors().iter().map(|a| a.revoked.is_some()).collect();
        assert_eq!(revoked, [true, false]);
        let format = FormatArgs::default();
        let list = said(ActorCommand::List(ListArgs { data: data.clone(), format })).unwrap();
        assert!(list.contains("did:vm:human:bob"), "{list}");
    }
}
