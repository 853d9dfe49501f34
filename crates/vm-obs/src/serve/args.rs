use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use obs_disk::{Clock, ScaledClock, SystemClock};
use obs_exercise::chaos::SKEW_VARIABLE;
use obs_types::{DurationMs, TimestampMs};

use crate::config::Config;

/// Run the server
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ServeArgs {
    /// Configuration file (YAML); every key has a default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of portal and APIs; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// Address of OTLP over gRPC
    #[arg(long, value_name = "ADDR:PORT")]
    otlp_grpc: Option<SocketAddr>,
    /// Address of OTLP over HTTP
    #[arg(long, value_name = "ADDR:PORT")]
    otlp_http: Option<SocketAddr>,
    /// Switch a pack on, beside those of the configuration; may be repeated
    #[arg(long, value_name = "NAME")]
    pack: Vec<String>,
    /// Start the demo world too: the services of the packs that are on, or of all packs where only
    /// `host` is on
    #[arg(long)]
    pub(super) demo: bool,
    /// Existing Prometheus configuration to scrape by
    #[arg(long, value_name = "FILE")]
    prometheus_config: Option<PathBuf>,
    /// Switch a part of PromQL on, by the name of Prometheus' feature flag; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    enable_feature: Vec<String>,
    /// Name of this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Start of a simulated clock (RFC 3339), for demonstrations and tests
    #[arg(long, value_name = "TIME")]
    clock_start: Option<String>,
    /// How many times faster than real time the simulated clock runs
    #[arg(long, value_name = "FACTOR")]
    clock_speed: Option<f64>,
}

impl ServeArgs {
    /// The configuration with the flags laid over it.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::standard()?,
        };
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        config.http = self.http.unwrap_or(config.http);
        config.otlp_grpc = self.otlp_grpc.unwrap_or(config.otlp_grpc);
        config.otlp_http = self.otlp_http.unwrap_or(config.otlp_http);
        if let Some(node) = &self.node {
            config.node.clone_from(node);
        }
        if let Some(file) = &self.prometheus_config {
            config.prometheus = Some(file.clone());
        }
        for name in &self.enable_feature {
            obs_query::enable_feature(&mut config.promql_options, name)
                .map_err(|e| anyhow::anyhow!("--enable-feature: {e}"))?;
        }
        config.packs.extend(self.pack.iter().cloned());
        if self.demo && config.packs.iter().all(|p| p == "host") {
            config.packs = crate::packs::shipped();
        }
        Ok(config)
    }

    /// The machine's clock, or the simulated one that the flags ask for.
    pub(super) fn clock(&self) -> anyhow::Result<Arc<dyn Clock>> {
        let skew = clock_skew(std::env::var(SKEW_VARIABLE).ok().as_deref())?;
        if self.clock_start.is_none() && self.clock_speed.is_none() && skew.0 == 0 {
            return Ok(Arc::new(SystemClock::new()));
        }
        let now = SystemClock::new().now().saturating_add(skew);
        let start = self
            .clock_start
            .as_deref()
            .map_or(Ok(now.to_ns()), |t| obs_query::parse_time(t, now))
            .context("--clock-start")?;
        let speed = self.clock_speed.unwrap_or(1.0);
        anyhow::ensure!(
            speed.is_finite() && speed > 0.0 && speed <= 100_000.0,
            "--clock-speed {speed} must be above 0 and at most 100000"
        );
        Ok(Arc::new(ScaledClock::new(TimestampMs(start.floor_to_ms().0), speed)))
    }

    /// As the status page lists them.
    pub(super) fn shown(&self) -> Vec<(String, String)> {
        let text =
            |p: &Option<PathBuf>| p.as_ref().map_or(String::new(), |p| p.display().to_string());
        // Whoever reads the file beside this one must not depend on where the server was started.
        let config = self.config.as_ref().map(|p| p.canonicalize().unwrap_or_else(|_| p.clone()));
        vec![
            ("config".to_owned(), text(&config)),
            ("demo".to_owned(), self.demo.to_string()),
            ("pack".to_owned(), self.pack.join(",")),
            ("prometheus-config".to_owned(), text(&self.prometheus_config)),
        ]
    }
}

/// By how much a chaos experiment wants the clock to be wrong.
fn clock_skew(given: Option<&str>) -> anyhow::Result<DurationMs> {
    let Some(text) = given else { return Ok(DurationMs(0)) };
    let seconds: f64 = text.parse().ok().filter(|s: &f64| s.abs() < 1e9).with_context(|| {
        format!("{SKEW_VARIABLE} {text:?} is not a number of seconds below a billion")
    })?;
    tracing::warn!(seconds, "the clock is wrong on purpose");
    Ok(DurationMs((seconds * 1000.0) as i64))
}
