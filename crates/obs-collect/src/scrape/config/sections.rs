//! Sections of `prometheus.yml` that vm-obs does not act on. What Prometheus would refuse in them is
//! refused here too, so that a mistake is not found out only when the file goes back to Prometheus.

use super::forms::Yaml;
use super::http::check_header;
use super::relabel::relabel_rules;
use super::units::duration;

/// `Err` names the section and the mistake.
pub(super) fn check(section: &str, value: &Yaml) -> Result<(), String> {
    let checked = match section {
        "alerting" => alerting(value),
        "remote_write" => endpoints(value, remote_write),
        "remote_read" => endpoints(value, |_| Ok(())),
        "storage" => storage(value),
        "tracing" => tracing(value),
        "otlp" => otlp(value),
        _ => Ok(()),
    };
    checked.map_err(|e| format!("{section}: {e}"))
}

fn list<'v>(value: &'v Yaml, key: &str) -> &'v [Yaml] {
    value.get(key).and_then(Yaml::as_array).map_or(&[], Vec::as_slice)
}

fn relabeling(value: &Yaml, key: &str) -> Result<(), String> {
    let forms = list(value, key).iter().map(|rule| {
        if rule.is_null() {
            return Err(format!("empty or null relabeling rule in {key}"));
        }
        serde_json::from_value(rule.clone()).map_err(|e| format!("{key}: {e}"))
    });
    relabel_rules(Some(forms.collect::<Result<_, _>>()?)).map(drop)
}

fn alerting(value: &Yaml) -> Result<(), String> {
    relabeling(value, "alert_relabel_configs")?;
    list(value, "alertmanagers").iter().try_for_each(|manager| {
        if manager.is_null() {
            return Err("empty or null alertmanager section".to_owned());
        }
        relabeling(manager, "relabel_configs")?;
        relabeling(manager, "alert_relabel_configs")
    })
}

fn headers(value: &Yaml) -> Result<(), String> {
    let names = value.get("headers").and_then(Yaml::as_object).into_iter().flatten();
    names.map(|(name, _)| name).try_for_each(|name| check_header(name))
}

/// What `remote_write` and `remote_read` have in common.
fn endpoints(value: &Yaml, check: fn(&Yaml) -> Result<(), String>) -> Result<(), String> {
    let mut names: Vec<&str> = Vec::new();
    for endpoint in value.as_array().map_or(&[][..], Vec::as_slice) {
        if endpoint.is_null() {
            return Err("empty or null section".into());
        }
        if endpoint.get("url").and_then(Yaml::as_str).is_none_or(str::is_empty) {
            return Err("url is empty".into());
        }
        if let Some(name) = endpoint.get("name").and_then(Yaml::as_str) {
            if names.contains(&name) {
                return Err(format!("found multiple configs with name {name:?}"));
            }
            names.push(name);
        }
        headers(endpoint)?;
        check(endpoint)?;
    }
    Ok(())
}

fn remote_write(value: &Yaml) -> Result<(), String> {
    relabeling(value, "write_relabel_configs")?;
    let message = value.get("protobuf_message").and_then(Yaml::as_str);
    let known = ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"];
    if let Some(message) = message.filter(|m| !known.contains(m)) {
        return Err(format!("unknown protobuf_message {message:?}, expected one of {known:?}"));
    }
    let Some(queue) = value.get("queue_config") else { return Ok(()) };
    let number = |key: &str| queue.get(key).and_then(Yaml::as_u64);
    for key in ["capacity", "max_samples_per_send", "max_shards", "min_shards"] {
        if number(key) == Some(0) {
            return Err(format!("queue_config: {key} must be greater than zero"));
        }
    }
    if number("min_shards").unwrap_or(1) > number("max_shards").unwrap_or(50) {
        return Err("queue_config: min_shards is greater than max_shards".into());
    }
    let time = |key: &str, default| {
        queue.get(key).and_then(Yaml::as_str).map_or(duration(key, default), |t| duration(key, t))
    };
    if time("min_backoff", "30ms")? > time("max_backoff", "5s")? {
        return Err("queue_config: max_backoff is less than min_backoff".into());
    }
    Ok(())
}

fn storage(value: &Yaml) -> Result<(), String> {
    let Some(tsdb) = value.get("tsdb") else { return Ok(()) };
    let floats = tsdb.get("chunk_encoding").and_then(|c| c.get("floats"));
    if let Some(encoding) = floats
        && !matches!(encoding.as_str(), Some("xor" | "xor2"))
    {
        return Err(format!("chunk_encoding: floats {encoding} is neither xor nor xor2"));
    }
    let Some(retention) = tsdb.get("retention") else { return Ok(()) };
    if let Some(time) = retention.get("time").and_then(Yaml::as_str) {
        duration("retention time", time)?;
    }
    let size = retention.get("size");
    if size.is_some_and(|s| s.as_str().is_none_or(|s| s.starts_with('-'))) {
        return Err("retention size is not a size such as 10GB".into());
    }
    let percentage = retention.get("percentage");
    if percentage.is_some_and(|p| !p.as_f64().is_some_and(|p| (0.0..=100.0).contains(&p))) {
        return Err("retention percentage must be between 0 and 100".into());
    }
    Ok(())
}

fn tracing(value: &Yaml) -> Result<(), String> {
    if value.get("endpoint").and_then(Yaml::as_str).is_none_or(str::is_empty) {
        return Err("endpoint must be set".into());
    }
    let compression = value.get("compression").and_then(Yaml::as_str).unwrap_or("");
    if !["", "gzip"].contains(&compression) {
        return Err(format!("invalid compression type {compression}, expected gzip"));
    }
    headers(value)
}

fn otlp(value: &Yaml) -> Result<(), String> {
    let known = [
        "UnderscoreEscapingWithSuffixes",
        "UnderscoreEscapingWithoutSuffixes",
        "NoUTF8EscapingWithSuffixes",
        "NoTranslation",
    ];
    let strategy = value.get("translation_strategy").and_then(Yaml::as_str);
    if let Some(strategy) = strategy.filter(|s| !known.contains(s)) {
        return Err(format!("unsupported translation_strategy {strategy:?}, expected {known:?}"));
    }
    let all = value.get("promote_all_resource_attributes").and_then(Yaml::as_bool);
    let all = all.unwrap_or(false);
    let (promoted, ignored) =
        (list(value, "promote_resource_attributes"), list(value, "ignore_resource_attributes"));
    if all && !promoted.is_empty() {
        return Err(
            "promote_all_resource_attributes goes without promote_resource_attributes".into()
        );
    }
    if !all && !ignored.is_empty() {
        return Err("ignore_resource_attributes needs promote_all_resource_attributes".into());
    }
    let mut names: Vec<&str> = Vec::new();
    for name in promoted.iter().chain(ignored) {
        let name = name.as_str().unwrap_or("").trim();
        if name.is_empty() {
            return Err("empty resource attribute".into());
        }
        if names.contains(&name) {
            return Err(format!("duplicated resource attribute {name:?}"));
        }
        names.push(name);
    }
    Ok(())
}
