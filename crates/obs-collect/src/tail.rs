//! Follows log files: globs, rotation, truncation, offsets that survive a restart.
//!
//! A file is known by its device and inode, so a renamed file is read to its end under its new
//! name before the fresh one is begun. The offset is saved only after the sink has taken the
//! lines: a crash may repeat lines, it never loses one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use obs_disk::Clock;
use obs_types::{IngestError, LabelSet, LogRecord, LogSink};
use serde::{Deserialize, Serialize};

use crate::scrape::expand_glob;

/// Bytes read from one file in one round, so that one busy file does not starve the others.
const ROUND_BYTES_MAX: u64 = 4 << 20;
/// A longer line is cut here and goes on as the next entry.
const LINE_BYTES_MAX: usize = 256 << 10;

/// What to follow and how its lines are labelled.
#[derive(Clone, Debug)]
pub struct TailConfig {
    /// Paths whose last component may hold `*`.
    pub paths: Vec<PathBuf>,
    /// Stream labels; `filename` is added.
    pub labels: LabelSet,
    /// Read files from their beginning when they are seen for the first time.
    pub from_start: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct FileId {
    device: u64,
    inode: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Position {
    device: u64,
    inode: u64,
    path: PathBuf,
    offset: u64,
}

/// Follows the files of one configuration.
#[derive(Debug)]
pub struct FileTailer {
    config: TailConfig,
    state_path: PathBuf,
    positions: BTreeMap<FileId, Position>,
    first_round: bool,
    /// Bytes that were not UTF-8 and were replaced.
    pub invalid_lines: u64,
}

impl FileTailer {
    /// `state_path` keeps the offsets between runs.
    pub fn new(config: TailConfig, state_path: PathBuf) -> Self {
        let saved: Vec<Position> = std::fs::read(&state_path)
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok())
            .unwrap_or_default();
        let positions = saved
            .into_iter()
            .map(|p| (FileId { device: p.device, inode: p.inode }, p))
            .collect::<BTreeMap<_, _>>();
        let first_round = positions.is_empty();
        Self { config, state_path, positions, first_round, invalid_lines: 0 }
    }

    /// Reads what is new in every file, once; gives how many lines the sink took. `Err` leaves the
    /// offsets where they were: the same lines come again.
    pub fn round(&mut self, sink: &dyn LogSink, clock: &dyn Clock) -> Result<u64, IngestError> {
        let mut lines = 0;
        let mut alive = Vec::new();
        for path in self.config.paths.clone().iter().flat_map(|p| expand_glob(p)) {
            let Ok(meta) = std::fs::metadata(&path) else { continue };
            if !meta.is_file() {
                continue;
            }
            let id = FileId { device: meta.dev(), inode: meta.ino() };
            alive.push(id);
            let skip_old = self.first_round && !self.config.from_start;
            let position = self.positions.entry(id).or_insert_with(|| Position {
                device: id.device,
                inode: id.inode,
                path: path.clone(),
                offset: if skip_old { meta.len() } else { 0 },
            });
            position.path = path;
            if meta.len() < position.offset {
                tracing::info!(path = %position.path.display(), "file was truncated, reading from its start");
                position.offset = 0;
            }
            lines += self.read_file(id, sink, clock)?;
        }
        self.first_round = false;
        self.positions.retain(|id, _| alive.contains(id));
        self.save();
        Ok(lines)
    }

    fn read_file(
        &mut self,
        id: FileId,
        sink: &dyn LogSink,
        clock: &dyn Clock,
    ) -> Result<u64, IngestError> {
        let Some(position) = self.positions.get_mut(&id) else { return Ok(0) };
        let Ok((bytes, whole)) = read_lines(&position.path, position.offset) else { return Ok(0) };
        if whole == 0 {
            return Ok(0);
        }
        let labels = self.config.labels.with("filename", &position.path.to_string_lossy());
        let mut records = Vec::new();
        for line in bytes.get(..whole).unwrap_or_default().split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            for piece in line.chunks(LINE_BYTES_MAX) {
                let text = String::from_utf8_lossy(piece);
                if matches!(text, std::borrow::Cow::Owned(_)) {
                    self.invalid_lines += 1;
                }
                records.push(LogRecord {
                    timestamp: clock.now_ns(),
                    stream: labels.clone(),
                    line: text.into_owned(),
                    metadata: LabelSet::empty(),
                });
            }
        }
        let count = records.len() as u64;
        if count > 0 {
            sink.append(records)?;
        }
        position.offset += whole as u64;
        Ok(count)
    }

    fn save(&self) {
        let all: Vec<&Position> = self.positions.values().collect();
        let saved = serde_json::to_vec(&all).map_err(std::io::Error::other).and_then(|bytes| {
            let temporary = self.state_path.with_extension("tmp");
            std::fs::write(&temporary, bytes)?;
            std::fs::rename(&temporary, &self.state_path)
        });
        if let Err(e) = saved {
            tracing::warn!(path = %self.state_path.display(), error = %e, "offsets not saved");
        }
    }

    /// Runs rounds until `stop` says so. Blocks; give it a thread of its own.
    pub fn run(
        mut self,
        sink: &Arc<dyn LogSink>,
        clock: &Arc<dyn Clock>,
        pause: Duration,
        stop: &dyn Fn() -> bool,
    ) {
        while !stop() {
            if let Err(e) = self.round(sink.as_ref(), clock.as_ref()) {
                tracing::warn!(error = %e, "log lines of files wait");
            }
            std::thread::sleep(pause);
        }
    }
}

/// New bytes and how many of them are whole lines. A line longer than a round counts as whole.
fn read_lines(path: &Path, offset: u64) -> std::io::Result<(Vec<u8>, usize)> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(ROUND_BYTES_MAX).read_to_end(&mut bytes)?;
    let whole = match bytes.iter().rposition(|b| *b == b'\n') {
        Some(at) => at + 1,
        None if bytes.len() as u64 == ROUND_BYTES_MAX => bytes.len(),
        None => 0,
    };
    Ok((bytes, whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::ManualClock;
    use obs_types::{IngestOutcome, TimestampMs};
    use std::io::Write;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>, Mutex<bool>);

    impl LogSink for Kept {
        fn append(&self, records: Vec<LogRecord>) -> Result<IngestOutcome, IngestError> {
            if *self.1.lock().unwrap() {
                return Err(IngestError::Unavailable { reason: "full".into() });
            }
            self.0.lock().unwrap().extend(records.into_iter().map(|r| r.line));
            Ok(IngestOutcome::default())
        }
    }

    fn append(path: &Path, text: &str) {
        let mut f = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        f.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn follows_rotation_truncation_and_restarts_without_losing_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("app.log");
        let config = TailConfig {
            paths: vec![dir.path().join("app.log*")],
            labels: LabelSet::from_pairs([("service_name", "app")]),
            from_start: true,
        };
        let clock = ManualClock::new(TimestampMs(1));
        let kept = Kept::default();
        let state = dir.path().join("state.json");
        let mut tailer = FileTailer::new(config.clone(), state.clone());
        append(&log, "one\ntwo\nhal");
        tailer.round(&kept, &clock).unwrap();
        append(&log, "f\n");
        tailer.round(&kept, &clock).unwrap();
        // Rotation: what was still written to the old file comes first or second, never lost.
        append(&log, "old\n");
        std::fs::rename(&log, dir.path().join("app.log.1")).unwrap();
        append(&log, "new\n");
        let mut tailer = FileTailer::new(config, state);
        *kept.1.lock().unwrap() = true;
        assert!(tailer.round(&kept, &clock).is_err());
        *kept.1.lock().unwrap() = false;
        tailer.round(&kept, &clock).unwrap();
        std::fs::write(&log, "cut\n").unwrap();
        append(&dir.path().join("app.log.1"), "");
        tailer.round(&kept, &clock).unwrap();
        let mut lines = kept.0.lock().unwrap().clone();
        lines.sort();
        assert_eq!(lines, ["half", "new", "old", "one", "two"]);
        std::fs::write(&log, "x\n").unwrap();
        tailer.round(&kept, &clock).unwrap();
        assert!(kept.0.lock().unwrap().contains(&"x".to_owned()));
    }
}
