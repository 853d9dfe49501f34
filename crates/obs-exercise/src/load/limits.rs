//! What this machine can carry: a profile beyond it is refused before the first request.

use std::time::Duration;

use super::profile::Profile;

/// Memory of a user with its connection and buffers, bytes.
const VU_BYTES: u64 = 128 * 1024;
/// Descriptors kept for everything else.
const DESCRIPTORS_KEPT: u64 = 64;
/// More than one thread can begin.
const RATE_MAX: f64 = 200_000.0;
const DURATION_MAX: Duration = Duration::from_secs(31 * 86_400);

/// What the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Descriptors that this process may still open.
    pub descriptors: u64,
    /// Memory that can be had without swapping, bytes.
    pub memory_bytes: u64,
}

/// Why a profile is not run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("refused: {0}")]
pub struct Refusal(pub String);

impl Machine {
    /// As the kernel says; what it does not say counts as plenty.
    pub fn here() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |d| d.count() as u64);
        let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        Self {
            descriptors: limit.unwrap_or(u64::MAX).saturating_sub(open),
            memory_bytes: memory.unwrap_or(u64::MAX / 1024).saturating_mul(1024),
        }
    }

    /// Err says which limit the profile passes and by how much.
    pub fn check(&self, profile: &Profile) -> Result<(), Refusal> {
        let vus: u64 = profile.scenarios.iter().map(|s| u64::from(s.executor.vus_max())).sum();
        let places = self.descriptors.saturating_sub(DESCRIPTORS_KEPT);
        if vus > places {
            return Err(Refusal(format!(
                "{vus} users need as many descriptors, and this process may open {places} more \
                 (ulimit -n)"
            )));
        }
        let bytes = vus.saturating_mul(VU_BYTES);
        if bytes > self.memory_bytes / 2 {
            return Err(Refusal(format!(
                "{vus} users need about {} MiB, more than half of the {} MiB that are free",
                bytes >> 20,
                self.memory_bytes >> 20
            )));
        }
        let rate: f64 = profile.scenarios.iter().filter_map(|s| s.executor.rate_max()).sum();
        if rate > RATE_MAX {
            return Err(Refusal(format!(
                "{rate} iterations a second are above the limit of {RATE_MAX}"
            )));
        }
        if profile.duration() > DURATION_MAX {
            return Err(Refusal(format!(
                "it would run {} days, the limit is {}",
                profile.duration().as_secs() / 86_400,
                DURATION_MAX.as_secs() / 86_400
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_cannot_carry_is_refused_with_the_reason() {
        let profile = |rest: &str| {
            let text = format!("scenarios: [{{name: a, steps: [{{url: /}}], executor: {rest}}}]");
            Profile::parse(&text, Some("http://127.0.0.1:1")).unwrap()
        };
        let machine = Machine { descriptors: 1_064, memory_bytes: 64 << 20 };
        let says = |rest: &str| machine.check(&profile(rest)).unwrap_err().to_string();
        assert_eq!(machine.check(&profile("constant-vus, vus: 100, duration: 1h")), Ok(()));
        assert!(says("constant-vus, vus: 1001, duration: 1s").contains("descriptors"));
        assert!(says("constant-vus, vus: 900, duration: 1s").contains("112 MiB"));
        assert!(says("constant-arrival-rate, rate: 1e9, duration: 1s").contains("iterations"));
        assert!(says("constant-vus, vus: 1, duration: 9999d").contains("days"));
        assert!(Machine::here().descriptors > 0);
    }
}
