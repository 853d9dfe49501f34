//! Durations, sizes and file patterns as Prometheus writes them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::forms::Yaml;

/// A duration as Prometheus writes it: units in falling order, each once.
pub(crate) fn duration(key: &str, text: &str) -> Result<Duration, String> {
    let wrong = || format!("{key}: not a valid duration string: {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last = u64::MAX;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let length = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(length).ok_or_else(wrong)?;
        let factor: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_e| wrong())?;
        if factor >= last {
            return Err(wrong());
        }
        last = factor;
        total = number.checked_mul(factor).and_then(|n| n.checked_add(total)).ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// `15MB` and the like (powers of 1024); a number without a unit is a mistake, except 0.
pub(super) fn size_limit(value: &Yaml) -> Result<u64, String> {
    let wrong = || format!("body_size_limit {value} is not a size such as 15MB");
    if value.as_u64() == Some(0) {
        return Ok(0);
    }
    let text = value.as_str().ok_or_else(wrong)?;
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let shift = match unit {
        "B" => 0,
        "KB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        "TB" | "TiB" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_e| wrong())?;
    Ok((number * (1_u64 << shift) as f64) as u64)
}

/// The files of a path whose last component may hold `*`; sorted. A path without one is itself.
pub fn expand_glob(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().and_then(|n| n.to_str()).unwrap_or("").to_owned();
    if !name.contains('*') {
        return if pattern.exists() { vec![pattern.to_owned()] } else { Vec::new() };
    }
    let parts: Vec<&str> = name.split('*').collect();
    let folder = pattern.parent().unwrap_or(Path::new("."));
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.file_name().to_str().is_some_and(|n| matches_parts(n, &parts)))
        .map(|e| e.path())
        .collect();
    found.sort();
    found
}

fn matches_parts(name: &str, parts: &[&str]) -> bool {
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return false };
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    for part in parts.get(1..parts.len() - 1).unwrap_or_default() {
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(tail) => rest = tail,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_strict() {
        assert_eq!(duration("x", "1h30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "5", "30m1h", "1h1h", "-5s", "1.5h"] {
            assert!(duration("x", bad).is_err(), "{bad}");
        }
    }
}
