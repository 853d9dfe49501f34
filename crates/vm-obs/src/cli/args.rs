//! Arguments that several verbs share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

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
