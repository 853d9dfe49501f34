//! `vm-obs demo …`

use clap::Subcommand;
use serde_json::{Value, json};

use super::args::{AskServer, Format, ServerArgs};
use super::client::{Client, Parameters, encoded};
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum DemoCommand {
    /// Faults of the demo world
    List(AskServer),
    /// Break something, for example `pod-drift`; `demo list` names all faults
    Break {
        /// Name of the fault
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Mend everything, or one fault
    Heal {
        /// Name of the fault
        name: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

pub(crate) async fn run(command: DemoCommand, out: &mut Out) -> anyhow::Result<()> {
    let (answer, format) = match command {
        DemoCommand::List(args) => {
            let client = Client::server(&args.server)?;
            (client.get("/obs/demo", &Parameters::new()).await?, args.format.format)
        }
        DemoCommand::Break { name, server } => {
            let path = format!("/obs/demo/break/{}", encoded(&name));
            (Client::server(&server)?.post(&path, &json!({})).await?, Format::Table)
        }
        DemoCommand::Heal { name, server } => {
            let only = name.map_or_else(String::new, |n| format!("?fault={}", encoded(&n)));
            let path = format!("/obs/demo/heal{only}");
            (Client::server(&server)?.post(&path, &json!({})).await?, Format::Table)
        }
    };
    if format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&["fault", "active", "alerts", "description"]);
    for fault in human::list(&answer.json, "faults") {
        let alerts: Vec<&str> =
            human::list(fault, "alerts").iter().filter_map(Value::as_str).collect();
        let active = fault.get("active").and_then(Value::as_bool).unwrap_or(false);
        table.row([
            human::text(fault, "name").to_owned(),
            if active { "yes" } else { "no" }.to_owned(),
            alerts.join(", "),
            human::text(fault, "description").to_owned(),
        ]);
    }
    let empty = "the demo world is not running; start with `vm-obs serve --demo`";
    Ok(table.write(format, empty, out)?)
}
