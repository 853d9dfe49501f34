//! What packs and configuration bring, read before anything is opened.

use std::sync::Arc;

use anyhow::{Context, bail};
use obs_analysis::slo::parse_slo_file;
use obs_api::{ReportOptions, Runbook};
use obs_collect::scrape::{PrometheusConfig, expand_glob};
use obs_dash::SourceTypes;
use obs_ops::{DashboardOrigin, InstalledDashboard, QueryChecker};
use obs_rules::{ReadOptions, RuleFile};

use super::probes::Objectives;
use crate::config::Config;
use crate::mcp::{Caller, McpSettings};
use crate::packs::{self, Pack};

/// Objectives, rules, dashboards and jobs of packs and configuration.
pub(super) struct Loaded {
    pub(super) rules: Vec<RuleFile>,
    pub(super) slos: Vec<obs_analysis::slo::Slo>,
    pub(super) dashboards: Vec<InstalledDashboard>,
    pub(super) runbooks: Vec<Runbook>,
    pub(super) scrape: PrometheusConfig,
    pub(super) watches: Vec<obs_ops::Watch>,
    /// What packs probe, with the names of their files.
    pub(super) probes: Vec<(String, String)>,
    pub(super) packs: Vec<String>,
    /// What each of them holds.
    pub(super) pack_contents: Vec<serde_json::Value>,
    /// What counts as the configuration, for its receipt.
    pub(super) texts: Vec<(String, String)>,
    pub(super) mcp: McpSettings,
}

pub(super) fn load(config: &Config) -> anyhow::Result<Loaded> {
    let packs: Vec<Pack> = packs::load_all(&config.packs, &config.pack_folders())?;
    let mut out = Loaded {
        rules: Vec::new(),
        slos: Vec::new(),
        dashboards: Vec::new(),
        runbooks: Vec::new(),
        scrape: PrometheusConfig::default(),
        watches: config.watches.clone(),
        probes: Vec::new(),
        packs: packs.iter().map(|p| p.manifest.name.clone()).collect(),
        pack_contents: packs.iter().map(packs::contents).collect(),
        texts: vec![("vm-obs.yaml".to_owned(), config.yaml.clone())],
        mcp: mcp_settings(config)?,
    };
    let files = config
        .prometheus
        .iter()
        .chain(&config.rule_files)
        .chain(&config.slo_files)
        .chain(&config.dashboards)
        .chain(&config.notify)
        .chain(&config.probes);
    for file in files.flat_map(|p| expand_glob(p)) {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        out.texts.push((file.display().to_string(), text));
    }
    if let Some(path) = &config.prometheus {
        out.scrape = PrometheusConfig::load(path)?;
        for notice in &out.scrape.notices {
            tracing::warn!(file = %path.display(), notice, "part of the Prometheus configuration is not used");
        }
        let files: Vec<_> = out.scrape.rule_files.iter().flat_map(|p| expand_glob(p)).collect();
        for file in files {
            out.rules.push(RuleFile::load(&file, ReadOptions::default())?);
        }
    }
    for pack in packs {
        out.runbooks.extend(pack.runbooks());
        out.probes.extend(pack.probes());
        let name = pack.manifest.name;
        tracing::info!(
            pack = name,
            version = pack.manifest.version,
            description = pack.manifest.description,
            "pack loaded"
        );
        out.texts.extend(pack.texts);
        out.rules.extend(pack.rules);
        out.slos.extend(pack.slos);
        out.scrape.jobs.extend(pack.jobs);
        out.watches.extend(pack.watches);
        out.dashboards.extend(
            pack.dashboards
                .into_iter()
                .map(|d| InstalledDashboard::new(d, DashboardOrigin::Pack(name.clone()))),
        );
    }
    for file in config.rule_files.iter().flat_map(|p| expand_glob(p)) {
        out.rules.push(RuleFile::load(&file, ReadOptions::default())?);
    }
    for file in config.slo_files.iter().flat_map(|p| expand_glob(p)) {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        out.slos.extend(parse_slo_file(&file.display().to_string(), &text)?);
    }
    let own = match &config.probes {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            vec![(path.display().to_string(), text)]
        }
        None => Vec::new(),
    };
    for (shown, text) in out.probes.iter().chain(&own) {
        let objectives = Objectives::of_file(shown, text)?;
        out.slos.extend(objectives.slos);
        out.rules.extend(objectives.rules);
    }
    // A dashboard of the configuration must be sound at the start; later a faulty one leaves the one
    // that runs.
    for file in config.dashboards.iter().flat_map(|p| expand_glob(p)) {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let check = query_checker();
        let linted = obs_dash::lint(&text, &SourceTypes::new(), &|l, e| check(l, e));
        if let Some(problem) = linted.problems.iter().find(|p| p.fatal) {
            bail!("{}:{}: {problem}", file.display(), problem.line);
        }
    }
    Ok(out)
}

/// When reports are made, and what they say about retention.
pub(super) fn report_options(config: &Config) -> ReportOptions {
    let days = |d: obs_types::DurationMs| format!("{}d", d.0 / obs_types::DurationMs::DAY.0);
    let policy = &config.storage.policy;
    let mut retention = vec![format!("engines: {}", days(config.hot_retention))];
    for (name, signal) in
        [("metrics", policy.metrics), ("logs", policy.logs), ("traces", policy.traces)]
    {
        retention.push(format!("sealed {name}: {}", days(signal.keep)));
    }
    for rule in config.metrics.limits.retention.iter() {
        let keep = obs_rules::format_duration(rule.keep);
        retention.push(format!("metrics {}: {keep}", rule.text.join(" or ")));
    }
    if let Some(kept) = config.aggregate_retention {
        retention.push(format!("1h aggregates: {}", days(kept)));
    }
    ReportOptions {
        schedules: config.reports.schedules.clone(),
        figures: config.reports.figures.clone(),
        retention,
    }
}

fn mcp_settings(config: &Config) -> anyhow::Result<McpSettings> {
    let mut settings = McpSettings {
        callers: Vec::new(),
        allow_writes: config.mcp.allow_writes,
        hosts: config.mcp.hosts.clone(),
    };
    if let Some(path) = &config.mcp.token_file {
        let shown = || format!("mcp.token_file {}", path.display());
        let text = std::fs::read_to_string(path).with_context(shown)?;
        settings.callers = Caller::read_all(&text).with_context(shown)?;
    }
    Ok(settings)
}

/// The languages of dashboards, as their parsers judge.
pub(crate) fn query_checker() -> QueryChecker {
    Arc::new(|language, expr| obs_query::check_expression(language.as_str(), expr))
}
