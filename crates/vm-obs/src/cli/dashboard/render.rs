//! Pictures of dashboards and panels.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::cli::args::{OutputArgs, SourceArgs, WindowArgs};
use crate::cli::client::{Client, Parameters, encoded};
use crate::cli::out::Out;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Theme {
    #[default]
    Dark,
    Light,
}

#[derive(Args, Debug)]
pub(crate) struct RenderArgs {
    /// Id of the dashboard, such as system-overview
    id: String,
    /// Number of one panel; the whole dashboard otherwise
    #[arg(long, value_name = "N")]
    panel: Option<i64>,
    /// Pixels [default: 1000]
    #[arg(long)]
    width: Option<u32>,
    /// Pixels; a dashboard takes what its panels need
    #[arg(long)]
    height: Option<u32>,
    #[arg(long, value_enum, default_value_t)]
    theme: Theme,
    /// Pixels of the file for each pixel of the page, 1 to 4
    #[arg(long, default_value = "1")]
    scale: String,
    /// Value of a variable; repeat it for several values
    #[arg(long = "var", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    source: SourceArgs,
}

/// The dashboard's own range where no window is given.
pub(super) async fn run(args: &RenderArgs, out: &mut Out) -> anyhow::Result<()> {
    if args.output.file().is_none() && out.terminal {
        bail!("a picture is no text for a terminal: name a file with -o FILE.png");
    }
    let client = Client::source(&args.source)?;
    let id = encoded(&args.id);
    let path = match args.panel {
        Some(panel) => format!("/obs/dashboards/{id}/panels/{panel}.png"),
        None => format!("/obs/dashboards/{id}/render.png"),
    };
    let mut query: Vec<String> = Vec::new();
    let theme = if args.theme == Theme::Dark { "dark" } else { "light" };
    query.push(format!("theme={theme}&scale={}", encoded(&args.scale)));
    for (name, side) in [("width", args.width), ("height", args.height)] {
        query.extend(side.map(|v| format!("{name}={v}")));
    }
    for variable in &args.variables {
        let (name, value) = variable
            .split_once('=')
            .with_context(|| format!("--var {variable:?} is not NAME=VALUE"))?;
        query.push(format!("var-{}={}", encoded(name), encoded(value)));
    }
    for (name, value) in args.window.parameters("") {
        query.push(format!("{name}={}", encoded(&value)));
    }
    let png = client.bytes(&format!("{path}?{}", query.join("&")), &Parameters::new()).await?;
    args.output.write(&png, out)
}
