//! `vm-obs pack …`

use clap::Subcommand;
use serde_json::{Value, json};

use super::args::{AskServer, Format};
use super::client::{Client, Parameters};
use super::human;
use super::out::Out;
use super::table::Table;
use crate::packs::{self, Pack};

#[derive(Debug, Subcommand)]
pub(crate) enum PackCommand {
    /// Packs of this binary, and which of them the server runs with
    List(AskServer),
}

pub(crate) async fn run(command: PackCommand, out: &mut Out) -> anyhow::Result<()> {
    let PackCommand::List(args) = command;
    let client = Client::server(&args.server)?;
    // The binary knows its packs without a server; what a server runs with is extra.
    let health = client.get("/obs/health", &Parameters::new()).await.ok().map(|a| a.json);
    let running: Option<Vec<&str>> =
        health.as_ref().map(|h| human::list(h, "packs").iter().filter_map(Value::as_str).collect());
    let mut listed = Vec::new();
    for name in packs::shipped() {
        let pack = Pack::load(&name, None)?;
        let rules: usize = pack.rules.iter().flat_map(|f| &f.groups).map(|g| g.rules.len()).sum();
        listed.push(json!({
            "name": name,
            "version": pack.manifest.version,
            "description": pack.manifest.description,
            "rules": rules,
            "slos": pack.slos.len(),
            "dashboards": pack.dashboards.len(),
            "active": running.as_ref().map(|r| r.contains(&name.as_str())),
        }));
    }
    let shipped = packs::shipped();
    for name in running.iter().flatten().filter(|n| !shipped.iter().any(|s| s == *n)) {
        listed.push(json!({"name": name, "description": "from the packs folder", "active": true}));
    }
    if args.format.format == Format::Json {
        return Ok(out.line(&json!({"packs": listed}).to_string())?);
    }
    let mut table =
        Table::new(&["pack", "version", "active", ">rules", ">slos", ">dashboards", "description"]);
    for pack in &listed {
        let active = match pack.get("active").and_then(Value::as_bool) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "no server",
        };
        table.row([
            human::text(pack, "name").to_owned(),
            human::text(pack, "version").to_owned(),
            active.to_owned(),
            human::cell(pack.get("rules")),
            human::cell(pack.get("slos")),
            human::cell(pack.get("dashboards")),
            human::text(pack, "description").to_owned(),
        ]);
    }
    Ok(table.write(args.format.format, "no packs", out)?)
}
