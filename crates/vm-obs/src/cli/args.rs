//! Arguments that several verbs share.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use obs_disk::{Clock, SystemClock};
use obs_types::{DurationMs, TimestampNs};

use super::out::Out;

/// Which server answers.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServerArgs {
    /// Address of the server [default: $VMOBS_URL, else http://127.0.0.1:9470]
    #[arg(long, value_name = "URL", help_heading = "Source")]
    pub(crate) url: Option<String>,
}

/// Who answers: a server, or a data folder that is read without one.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SourceArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Read this data folder instead of asking a server
    #[arg(long, value_name = "DIR", conflicts_with = "url", help_heading = "Source")]
    pub(crate) data: Option<PathBuf>,
}

/// The window of a query. Times are RFC 3339, a date, Unix seconds, `now` or `now-2h`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct WindowArgs {
    /// How far back from now (or from --to), such as 15m, 24h, 7d
    #[arg(long, value_name = "DURATION", help_heading = "Window", conflicts_with = "from")]
    pub(crate) last: Option<String>,
    /// Start, as RFC 3339 or date
    #[arg(long, value_name = "TIME", help_heading = "Window")]
    pub(crate) from: Option<String>,
    /// End, as RFC 3339 or date [default: now]
    #[arg(long, value_name = "TIME", help_heading = "Window")]
    pub(crate) to: Option<String>,
}

impl WindowArgs {
    /// As parameters; `default_last` where nothing says where the window starts.
    pub(crate) fn parameters(&self, default_last: &str) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        match (&self.from, &self.last) {
            (Some(from), _) => out.push(("from", from.clone())),
            (None, Some(last)) => out.push(("last", last.clone())),
            (None, None) if default_last.is_empty() => {}
            (None, None) => out.push(("last", default_last.to_owned())),
        }
        if let Some(to) = &self.to {
            out.push(("to", to.clone()));
        }
        out
    }

    /// The instants themselves; `default_back` where nothing says where the window starts.
    pub(crate) fn resolve(
        &self,
        default_back: DurationMs,
    ) -> anyhow::Result<(TimestampNs, TimestampNs)> {
        Ok(obs_query::parse_window(
            self.last.as_deref(),
            self.from.as_deref(),
            self.to.as_deref(),
            default_back,
            SystemClock::new().now(),
        )?)
    }
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    /// The server's JSON as it came
    Json,
    Csv,
    Markdown,
}

#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct FormatArgs {
    /// How to write the answer
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// What a verb that asks a server takes.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AskServer {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What a verb that asks a server or a data folder takes.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AskSource {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// What a verb that asks for a window of time takes.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AskWindow {
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Where a document goes.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct OutputArgs {
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl OutputArgs {
    /// The file, unless standard output is meant.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.output.as_deref()
    }

    pub(crate) fn write(&self, document: &[u8], out: &mut Out) -> anyhow::Result<()> {
        match &self.output {
            Some(file) => std::fs::write(file, document)
                .with_context(|| format!("cannot write {}", file.display())),
            None => Ok(out.write_all(document)?),
        }
    }
}
