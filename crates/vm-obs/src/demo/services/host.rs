//! A machine, under node_exporter's names; the pack `host` turns them into ENGINE's fields.

use obs_types::TimestampMs;

use crate::demo::faults::{Fault, Faults};
use crate::demo::instances::{GENESIS_NODE, HOSTS, LOST_NODE};
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::Wander;

const CPUS: [&str; 4] = ["0", "1", "2", "3"];
/// Name, and its share of the time that is not idle.
const BUSY_MODES: [(&str, f64); 3] = [("iowait", 0.08), ("system", 0.27), ("user", 0.65)];
const MEMORY_BYTES: f64 = 16.0 * 1024.0 * 1024.0 * 1024.0;
const DISK_BYTES: f64 = 200e9;
/// How long the machines have been up when the world begins, seconds: counters of a machine
/// rarely begin with 0, and a rate over the first minute would be too low if they did.
const UPTIME: f64 = 3.0 * 86_400.0;

/// Where memory and disk run full.
const FULL_NODE: &str = "brick-03";
/// Where the clock goes wrong.
const SKEWED_NODE: &str = "portal-01";

#[derive(Clone, Debug)]
pub(in crate::demo) struct Host {
    node: &'static str,
    random: Random,
    boot: TimestampMs,
    healthy_cpu: Wander,
    /// Per cent.
    pub(in crate::demo) cpu: f64,
    /// Seconds spent per CPU, idle first, then as in [`BUSY_MODES`].
    cpu_seconds: [f64; 1 + BUSY_MODES.len()],
    /// Per cent.
    memory: Wander,
    /// Per cent, with what a fault adds.
    used_memory: f64,
    disk: f64,
    /// Per cent, with what a fault adds.
    used_disk: f64,
    /// Seconds by which the clock is ahead.
    clock_ahead: f64,
    load: [f64; 3],
    received: f64,
    sent: f64,
    descriptors: Wander,
}

impl Host {
    pub(in crate::demo) fn new(index: usize, random: Random, now: TimestampMs) -> Self {
        let cpu = [34.0, 28.0, 24.0, 19.0][index % 4];
        let memory = [67.2, 61.0, 55.0, 48.0][index % 4];
        Self {
            node: HOSTS[index % HOSTS.len()],
            random,
            boot: TimestampMs(now.0.saturating_sub((UPTIME * 1e3) as i64)),
            healthy_cpu: Wander::new(cpu, 15.0, 45.0),
            cpu,
            cpu_seconds: shares_of(UPTIME, cpu),
            memory: Wander::new(memory, memory - 4.0, memory + 4.0),
            used_memory: memory,
            disk: [45.8, 38.0, 52.0, 23.0][index % 4],
            used_disk: [45.8, 38.0, 52.0, 23.0][index % 4],
            clock_ahead: 0.0,
            load: [cpu / 25.0; 3],
            received: UPTIME * 180_000.0,
            sent: UPTIME * 120_000.0,
            descriptors: Wander::new(342.0 * 8.0, 2_400.0, 3_100.0),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        self.healthy_cpu.step(dt, &mut self.random);
        self.memory.step(dt, &mut self.random);
        self.descriptors.step(dt, &mut self.random);
        let jitter = self.random.between(-1.5, 1.5);
        // The backlog is worked on where ENGINE's story has it.
        let (cpu, memory) = (self.healthy_cpu.value, self.memory.value);
        (self.cpu, self.used_memory) = match self.node {
            LOST_NODE => (faults.blend(Fault::AnchorBacklog, cpu, 87.3 + jitter), memory),
            GENESIS_NODE => (
                faults.blend(Fault::GenesisHost, cpu, 92.0 + jitter),
                faults.blend(Fault::GenesisHost, memory, 86.0 + 0.3 * jitter),
            ),
            FULL_NODE => (cpu, faults.blend(Fault::HostMemory, memory, 95.0 + 0.3 * jitter)),
            _ => (cpu, memory),
        };
        self.used_disk = match self.node {
            FULL_NODE => faults.blend(Fault::HostDisk, self.disk, 96.0),
            _ => self.disk,
        };
        self.clock_ahead = match self.node {
            SKEWED_NODE => faults.blend(Fault::HostClock, 0.0, 60.0),
            _ => 0.0,
        };
        for (seconds, share) in self.cpu_seconds.iter_mut().zip(shares_of(dt, self.cpu)) {
            *seconds += share;
        }
        for (load, minutes) in self.load.iter_mut().zip([1.0, 5.0, 15.0]) {
            let target = self.cpu / 100.0 * CPUS.len() as f64;
            *load += (target - *load) * (dt / (60.0 * minutes)).min(1.0);
        }
        self.received += dt * 180_000.0 * self.random.between(0.7, 1.3);
        self.sent += dt * 120_000.0 * self.random.between(0.7, 1.3);
    }

    pub(in crate::demo) fn page(&self, page: &mut Page, now: TimestampMs) {
        let modes = ["idle"].into_iter().chain(BUSY_MODES.map(|(mode, _)| mode));
        for (mode, seconds) in modes.zip(self.cpu_seconds) {
            for cpu in CPUS {
                page.count_of(
                    "node_cpu_seconds_total",
                    "Seconds the CPUs spent in each mode.",
                    &[("cpu", cpu), ("mode", mode)],
                    seconds,
                );
            }
        }
        let available = MEMORY_BYTES * (1.0 - self.used_memory / 100.0);
        page.gauge(
            "node_memory_MemTotal_bytes",
            "Memory information field MemTotal_bytes.",
            MEMORY_BYTES,
        );
        page.gauge(
            "node_memory_MemAvailable_bytes",
            "Memory information field MemAvailable_bytes.",
            available.round(),
        );
        page.gauge(
            "node_memory_MemFree_bytes",
            "Memory information field MemFree_bytes.",
            (available * 0.6).round(),
        );
        let root = [("device", "/dev/vda1"), ("fstype", "ext4"), ("mountpoint", "/")];
        page.gauge_of("node_filesystem_size_bytes", "Filesystem size in bytes.", &root, DISK_BYTES);
        page.gauge_of(
            "node_filesystem_avail_bytes",
            "Filesystem space available to non-root users in bytes.",
            &root,
            (DISK_BYTES * (1.0 - self.used_disk / 100.0)).round(),
        );
        let device = [("device", "eth0")];
        page.count_of(
            "node_network_receive_bytes_total",
            "Network device statistic receive_bytes.",
            &device,
            self.received.round(),
        );
        page.count_of(
            "node_network_transmit_bytes_total",
            "Network device statistic transmit_bytes.",
            &device,
            self.sent.round(),
        );
        page.gauge(
            "node_filefd_allocated",
            "File descriptor statistics: allocated.",
            self.descriptors.value.round(),
        );
        for (name, load) in ["node_load1", "node_load5", "node_load15"].into_iter().zip(self.load) {
            page.gauge(name, "Load average.", (load * 100.0).round() / 100.0);
        }
        page.gauge(
            "node_time_seconds",
            "System time in seconds since epoch.",
            now.as_seconds_f64() + self.clock_ahead,
        );
        page.gauge(
            "node_boot_time_seconds",
            "Node boot time, in unixtime.",
            self.boot.as_seconds_f64(),
        );
    }
}

/// How one CPU spends `seconds` when it is busy for `cpu` per cent of them, idle first.
fn shares_of(seconds: f64, cpu: f64) -> [f64; 1 + BUSY_MODES.len()] {
    let busy = seconds * cpu / 100.0;
    let mut shares = [seconds - busy; 1 + BUSY_MODES.len()];
    for (share, (_, part)) in shares.iter_mut().skip(1).zip(BUSY_MODES) {
        *share = busy * part;
    }
    shares
}
