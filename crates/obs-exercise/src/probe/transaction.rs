//! Several requests in order, each using what the earlier ones gave.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::result::ProbeResult;
use crate::exchange::{
    AllowedHosts, Step, StepError, StepForm, TlsForm, Variables, client_config, duration, exchange,
    traceparent,
};

const TIMEOUT: &str = "30s";
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 16 << 20;

/// A transaction as it stands in a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransactionForm {
    pub name: String,
    pub target: Option<String>,
    pub timeout: Option<String>,
    pub vars: Variables,
    pub tls: TlsForm,
    pub steps: Vec<StepForm>,
}

/// A checked transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub name: String,
    pub target: String,
    timeout: Duration,
    variables: Variables,
    tls: std::sync::Arc<rustls::ClientConfig>,
    steps: Vec<Step>,
}

impl Transaction {
    /// `place` begins the messages.
    pub fn check(form: TransactionForm, place: &str) -> Result<Self, StepError> {
        if form.name.is_empty() {
            return Err(StepError::new(format!("{place}.name"), "a transaction needs a name"));
        }
        if form.steps.is_empty() {
            return Err(StepError::new(format!("{place}.steps"), "at least one is needed"));
        }
        let mut steps = Vec::new();
        for (i, step) in form.steps.into_iter().enumerate() {
            let place = format!("{place}.steps[{i}]");
            steps.push(Step::check(step, form.target.as_deref(), &place)?);
        }
        Ok(Self {
            timeout: duration(
                &format!("{place}.timeout"),
                form.timeout.as_deref().unwrap_or(TIMEOUT),
            )?,
            tls: client_config(&form.tls, &["http/1.1"]).map_err(|e| e.within(place))?,
            target: form.target.unwrap_or_default(),
            variables: form.vars,
            steps,
            name: form.name,
        })
    }

    /// Runs every step until one fails.
    pub async fn run(&self, allowed: &AllowedHosts, trace: Option<(u128, u64)>) -> ProbeResult {
        let mut result = ProbeResult::default();
        let began = Instant::now();
        let success = match tokio::time::timeout(
            self.timeout,
            self.steps_in_order(allowed, trace, &mut result),
        )
        .await
        {
            Ok(success) => success,
            Err(_elapsed) => {
                result.say(format!("not done within {} s", self.timeout.as_secs_f64()));
                false
            }
        };
        let help = "Displays whether or not the probe was a success";
        result.set("probe_success", help, f64::from(u8::from(success)));
        let help = "Returns how long the probe took to complete in seconds";
        result.set("probe_duration_seconds", help, began.elapsed().as_secs_f64());
        result.success = success;
        result
    }

    async fn steps_in_order(
        &self,
        allowed: &AllowedHosts,
        trace: Option<(u128, u64)>,
        result: &mut ProbeResult,
    ) -> bool {
        let mut variables = self.variables.clone();
        for step in &self.steps {
            let began = Instant::now();
            let outcome = self.step(step, allowed, trace, &mut variables, result).await;
            result.phase(&step.name, began, began.elapsed(), outcome.is_err());
            result.set_with(
                "probe_step_success",
                "Whether a step of the transaction did what it should",
                &[("step", &step.name)],
                f64::from(u8::from(outcome.is_ok())),
            );
            if let Err(e) = outcome {
                result.say(format!("step {:?}: {e}", step.name));
                return false;
            }
            if let Some(pause) = step.pause {
                tokio::time::sleep(pause).await;
            }
        }
        true
    }

    async fn step(
        &self,
        step: &Step,
        allowed: &AllowedHosts,
        trace: Option<(u128, u64)>,
        variables: &mut Variables,
        result: &mut ProbeResult,
    ) -> Result<(), String> {
        let mut request = step.request(variables).map_err(|e| e.to_string())?;
        if let Some((trace_id, span_id)) = trace
            && let Ok(value) = traceparent(trace_id, span_id).parse()
        {
            request.headers.insert("traceparent", value);
        }
        let began = Instant::now();
        let timeout = step.timeout.unwrap_or(STEP_TIMEOUT);
        let reply = exchange(&request, &self.tls, allowed, timeout, BODY_BYTES_MAX).await?;
        let took = began.elapsed();
        let phases = reply.phases;
        for (phase, took) in [
            ("resolve", phases.resolve),
            ("connect", phases.connect),
            ("tls", phases.tls),
            ("processing", phases.processing),
            ("transfer", phases.transfer),
        ] {
            result.set_with(
                "probe_step_duration_seconds",
                "Duration of a step by phase",
                &[("step", &step.name), ("phase", phase)],
                took.as_secs_f64(),
            );
        }
        result.set_with(
            "probe_step_status_code",
            "HTTP status code of a step",
            &[("step", &step.name)],
            f64::from(reply.status.as_u16()),
        );
        let mut broken = Vec::new();
        for check in &step.checks {
            let holds = check.holds(reply.status, &reply.headers, &reply.body, took);
            result.set_with(
                "probe_check_success",
                "Whether an assertion of a step holds",
                &[("step", &step.name), ("check", &check.name)],
                f64::from(u8::from(holds)),
            );
            if !holds {
                broken.push(check.name.clone());
            }
        }
        // Whoever asserts about the status means that status.
        if step.checks.is_empty() && !step.expects(reply.status) {
            return Err(format!("status {}", reply.status.as_u16()));
        }
        if !broken.is_empty() {
            return Err(format!("status {}, not so: {}", reply.status.as_u16(), broken.join("; ")));
        }
        step.take(&reply.headers, &reply.body, variables)
            .map_err(|name| format!("nothing to extract for {name:?}"))
    }
}
