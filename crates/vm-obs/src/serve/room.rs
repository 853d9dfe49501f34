//! Room on the data folder's disk: below the high mark the oldest sealed hours go, below the
//! critical mark nothing new is taken, so that what is there can still be read, sealed and recorded.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use obs_disk::Disk;
use obs_types::IngestError;

use crate::config::StorageConfig;

const GB: u64 = 1_000_000_000;
/// Shares of the disk, and what they are at most.
const HIGH: (u64, u64) = (10, 10 * GB);
/// The alert `StorageAlmostFull` of the pack `host` fires at the same 256 MiB.
const CRITICAL: (u64, u64) = (3, 256 << 20);

/// How much is left, seen from the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Enough,
    High,
    Critical,
}

impl Level {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Enough => "ok",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// The last measurement, and why nothing is taken.
#[derive(Debug)]
pub(super) struct Room {
    data: PathBuf,
    disk: Arc<dyn Disk>,
    high_free: Option<u64>,
    critical_free: Option<u64>,
    level: AtomicU8,
    reason: Mutex<String>,
}

impl Room {
    pub(super) fn new(data: PathBuf, disk: Arc<dyn Disk>, config: &StorageConfig) -> Self {
        Self {
            data,
            disk,
            high_free: config.high_free,
            critical_free: config.critical_free,
            level: AtomicU8::new(0),
            reason: Mutex::default(),
        }
    }

    pub(super) fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::Enough,
            1 => Level::High,
            _ => Level::Critical,
        }
    }

    /// Free bytes and bytes of the disk.
    pub(super) fn bytes(&self) -> Option<(u64, u64)> {
        let free = self.disk.free_bytes(&self.data).ok()?;
        Some((free, self.disk.total_bytes(&self.data).ok()?))
    }

    /// Measures again; gives how many bytes are missing to the high mark.
    pub(super) fn measure(&self) -> u64 {
        let Some((free, total)) = self.bytes() else { return 0 };
        let mark = |own: Option<u64>, (percent, at_most): (u64, u64)| {
            own.unwrap_or_else(|| (total / 100 * percent).min(at_most))
        };
        let critical = mark(self.critical_free, CRITICAL);
        let high = mark(self.high_free, HIGH).max(critical);
        let level = match free {
            free if free < critical => 2,
            free if free < high => 1,
            _ => 0,
        };
        if level == 2 {
            *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = format!(
                "{free} bytes are free on the disk of {}, fewer than storage.critical_free ({critical})",
                self.data.display()
            );
        }
        let before = self.level.swap(level, Ordering::Relaxed);
        if before != level {
            tracing::warn!(free, high, critical, level = self.level().as_str(), "room on the disk");
        }
        high.saturating_sub(free)
    }

    /// `Err(Unavailable)` with the reason while nothing is taken.
    pub(super) fn admit(&self) -> Result<(), IngestError> {
        if self.level() < Level::Critical {
            return Ok(());
        }
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(IngestError::Unavailable { reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use obs_disk::FakeDisk;
    use std::path::Path;

    #[test]
    fn marks_are_crossed_both_ways() {
        let disk = FakeDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let file = disk.create(Path::new("/d/x")).unwrap();
        disk.set_budget(Some(1_000));
        let room = |yaml: &str| {
            let config = Config::parse(yaml, Path::new(".")).unwrap().storage;
            Room::new("/d".into(), Arc::new(disk.clone()), &config)
        };
        let standard = room("");
        assert_eq!((standard.measure(), standard.level()), (0, Level::Enough));
        file.append(&[0; 920]).unwrap();
        assert_eq!((standard.measure(), standard.level()), (20, Level::High));
        assert!(standard.admit().is_ok());
        file.append(&[0; 60]).unwrap();
        standard.measure();
        assert_eq!(standard.level(), Level::Critical);
        let refused = standard.admit().unwrap_err().to_string();
        assert!(
            refused.contains("20 bytes are free") && refused.contains("critical_free"),
            "{refused}"
        );
        file.truncate(0).unwrap();
        standard.measure();
        assert!(standard.admit().is_ok() && standard.level() == Level::Enough);
        let own = room("storage: {high_free: 2kB, critical_free: 1B}");
        assert_eq!((own.measure(), own.level()), (1_000, Level::High));
    }
}
