use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::durable::parent;
use crate::{Disk, DiskEntry, DiskError, DiskFile};

/// What happens to the operation that a [`FakeDisk`] was told to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing and reports an input/output error. A failed sync also loses the unsynced
    /// bytes for good, although they stay readable until the crash, as Linux does it.
    Fail,
    /// A write stores its first half, then reports an error; other operations fail.
    Tear,
    /// It takes effect and is durable, but reports an error.
    FailStored,
    /// Power goes in its middle (a write stores half). Everything fails until
    /// [`FakeDisk::crash`].
    Crash,
}

/// A disk in memory that breaks on request. Clones share it.
///
/// Counted operations are those that change something: create, open for append, append, sync,
/// truncate, rename, remove, sync of a folder. Folders are durable at once.
#[derive(Clone, Debug, Default)]
pub struct FakeDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, u64>,
    /// Names as a power cut would leave them.
    names_durable: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<u64, FakeBytes>,
    next_file: u64,
    operations: u64,
    fault: Option<(u64, Fault)>,
    fault_reached: bool,
    powerless: bool,
    budget: Option<u64>,
    /// Counts crashes; handles of an earlier life are dead.
    life: u64,
}

#[derive(Debug, Default)]
struct FakeBytes {
    data: Vec<u8>,
    durable_len: usize,
    /// A sync failed: what was unsynced then never becomes durable.
    sync_lost: bool,
}

#[derive(Debug)]
struct FakeFile {
    disk: FakeDisk,
    path: PathBuf,
    id: u64,
    life: u64,
    len: Mutex<u64>,
}

enum Step {
    Go,
    Half(io::Error),
    Stored(io::Error),
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("injected fault: {what}"))
}

impl FakeDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// Breaks the operation that comes after `n` more successful ones; replaces an earlier order.
    pub fn fault_after(&self, n: u64, fault: Fault) {
        let mut s = self.lock();
        s.fault = Some((s.operations + n, fault));
        s.fault_reached = false;
    }

    pub fn clear_fault(&self) {
        self.lock().fault = None;
    }

    /// Whether the ordered fault has happened.
    pub fn fault_reached(&self) -> bool {
        self.lock().fault_reached
    }

    /// Counted operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Most bytes that all files may hold together; `None` for no limit. A write that does not
    /// fit stores what fits and reports a full disk.
    pub fn set_budget(&self, bytes: Option<u64>) {
        self.lock().budget = bytes;
    }

    /// Bytes in all files.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used()
    }

    /// Power cut and restart: unsynced bytes and unsynced names are gone, open files are dead,
    /// an ordered fault is forgotten.
    pub fn crash(&self) {
        self.crash_with(|_, _| 0, false);
    }

    /// Power cut and restart where the system had written some unsynced bytes on its own: of each
    /// file's unsynced tail a part chosen by `seed` survives, and the names either all or not.
    pub fn crash_torn(&self, seed: u64) {
        let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        };
        let keep_names = next().is_multiple_of(2);
        self.crash_with(
            |tail, lost| if lost || tail == 0 { 0 } else { next() as usize % (tail + 1) },
            keep_names,
        );
    }

    fn crash_with(&self, mut keep: impl FnMut(usize, bool) -> usize, keep_names: bool) {
        let mut s = self.lock();
        if keep_names {
            s.names_durable = s.names.clone();
        } else {
            s.names = s.names_durable.clone();
        }
        let live: BTreeSet<u64> = s.names.values().copied().collect();
        s.files.retain(|id, _| live.contains(id));
        for file in s.files.values_mut() {
            let tail = file.data.len().saturating_sub(file.durable_len);
            file.data.truncate(file.durable_len + keep(tail, file.sync_lost));
            file.durable_len = file.data.len();
            file.sync_lost = false;
        }
        s.powerless = false;
        s.fault = None;
        s.life += 1;
    }

    /// Flips bits of one stored byte, as a bad sector would; `false` if there is no such byte.
    pub fn corrupt(&self, path: &Path, offset: usize, mask: u8) -> bool {
        let mut s = self.lock();
        let Some(&id) = s.names.get(path) else { return false };
        match s.files.get_mut(&id).and_then(|f| f.data.get_mut(offset)) {
            Some(byte) => {
                *byte ^= mask;
                true
            }
            None => false,
        }
    }

    /// All files with their lengths, sorted; for tests.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let s = self.lock();
        let len = |id: &u64| s.files.get(id).map_or(0, |f| f.data.len() as u64);
        s.names.iter().map(|(path, id)| (path.clone(), len(id))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

impl State {
    fn used(&self) -> u64 {
        self.files.values().map(|f| f.data.len() as u64).sum()
    }

    /// Counts an operation and says what is to happen to it.
    fn step(&mut self, op: &'static str, path: &Path) -> Result<Step, DiskError> {
        self.power(op, path)?;
        let number = self.operations;
        self.operations += 1;
        match self.fault {
            Some((at, fault)) if at == number => {
                self.fault_reached = true;
                match fault {
                    Fault::Fail => Err(DiskError::io(op, path, broken("failed"))),
                    Fault::Tear => Ok(Step::Half(broken("torn"))),
                    Fault::FailStored => Ok(Step::Stored(broken("stored, but failed"))),
                    Fault::Crash => {
                        self.powerless = true;
                        Ok(Step::Half(broken("power cut")))
                    }
                }
            }
            _ => Ok(Step::Go),
        }
    }

    fn power(&self, op: &'static str, path: &Path) -> Result<(), DiskError> {
        if self.powerless {
            return Err(DiskError::io(op, path, broken("no power")));
        }
        Ok(())
    }

    fn find(&self, op: &'static str, path: &Path) -> Result<u64, DiskError> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| DiskError::io(op, path, io::ErrorKind::NotFound.into()))
    }

    fn bytes(&self, op: &'static str, path: &Path) -> Result<&[u8], DiskError> {
        self.power(op, path)?;
        let id = self.find(op, path)?;
        Ok(self.files.get(&id).map_or(&[], |f| f.data.as_slice()))
    }

    fn need_dir(&self, op: &'static str, path: &Path) -> Result<(), DiskError> {
        let dir = parent(path);
        if dir.as_os_str().is_empty() || dir == Path::new("/") || self.dirs.contains(dir) {
            return Ok(());
        }
        Err(DiskError::io(op, path, io::ErrorKind::NotFound.into()))
    }

    /// Gives up bytes that neither a name nor a durable name reaches.
    fn collect(&mut self, id: u64) {
        if !self.names.values().any(|i| *i == id) && !self.names_durable.values().any(|i| *i == id)
        {
            self.files.remove(&id);
        }
    }

    fn set_names_durable(&mut self, dir: &Path) {
        let of_dir = |path: &PathBuf| parent(path) == dir;
        let before: Vec<u64> =
            self.names_durable.iter().filter(|(p, _)| of_dir(p)).map(|(_, id)| *id).collect();
        self.names_durable.retain(|path, _| !of_dir(path));
        for (path, id) in &self.names {
            if of_dir(path) {
                self.names_durable.insert(path.clone(), *id);
            }
        }
        for id in before {
            self.collect(id);
        }
    }
}

/// Ends an operation that has no half: a torn one has simply failed.
fn finish(
    step: Step,
    op: &'static str,
    path: &Path,
    act: impl FnOnce(bool),
) -> Result<(), DiskError> {
    match step {
        Step::Go => {
            act(false);
            Ok(())
        }
        Step::Half(e) => Err(DiskError::io(op, path, e)),
        Step::Stored(e) => {
            act(true);
            Err(DiskError::io(op, path, e))
        }
    }
}

impl Disk for FakeDisk {
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut s = self.lock();
        let step = s.step("create", path)?;
        s.need_dir("create", path)?;
        let mut id = 0;
        finish(step, "create", path, |stored| {
            id = s.next_file;
            s.next_file += 1;
            s.files.insert(id, FakeBytes::default());
            let old = s.names.insert(path.to_owned(), id);
            if stored {
                s.set_names_durable(parent(path));
            }
            if let Some(old) = old {
                s.collect(old);
            }
        })?;
        let (path, life) = (path.to_owned(), s.life);
        Ok(Arc::new(FakeFile { disk: self.clone(), path, id, life, len: Mutex::new(0) }))
    }

    fn open_append(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        if !self.exists(path) {
            return self.create(path);
        }
        let mut s = self.lock();
        let step = s.step("open", path)?;
        finish(step, "open", path, |_| ())?;
        let id = s.find("open", path)?;
        let len = s.files.get(&id).map_or(0, |f| f.data.len() as u64);
        let (path, life) = (path.to_owned(), s.life);
        Ok(Arc::new(FakeFile { disk: self.clone(), path, id, life, len: Mutex::new(len) }))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        Ok(self.lock().bytes("read", path)?.to_vec())
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let s = self.lock();
        let bytes = s.bytes("read", path)?;
        usize::try_from(offset)
            .ok()
            .and_then(|from| bytes.get(from..from.checked_add(len)?))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| DiskError::io("read", path, io::ErrorKind::UnexpectedEof.into()))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut s = self.lock();
        let step = s.step("rename", from)?;
        s.need_dir("rename", to)?;
        let id = s.find("rename", from)?;
        finish(step, "rename", from, |stored| {
            s.names.remove(from);
            let old = s.names.insert(to.to_owned(), id);
            if stored {
                s.set_names_durable(parent(from));
                s.set_names_durable(parent(to));
            }
            if let Some(old) = old {
                s.collect(old);
            }
        })
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let mut s = self.lock();
        let step = s.step("remove", path)?;
        let id = s.find("remove", path)?;
        finish(step, "remove", path, |stored| {
            s.names.remove(path);
            if stored {
                s.set_names_durable(parent(path));
            }
            s.collect(id);
        })
    }

    fn remove_dir(&self, path: &Path) -> Result<(), DiskError> {
        let mut s = self.lock();
        s.power("remove folder", path)?;
        if s.names.keys().any(|p| parent(p) == path) || s.dirs.iter().any(|p| parent(p) == path) {
            let full = io::ErrorKind::DirectoryNotEmpty.into();
            return Err(DiskError::io("remove folder", path, full));
        }
        if !s.dirs.remove(path) {
            return Err(DiskError::io("remove folder", path, io::ErrorKind::NotFound.into()));
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<DiskEntry>, DiskError> {
        let s = self.lock();
        s.power("list", dir)?;
        let name = |p: &Path| p.file_name().and_then(|n| n.to_str()).map(str::to_owned);
        let mut out: Vec<DiskEntry> = Vec::new();
        for (path, id) in s.names.iter().filter(|(p, _)| parent(p) == dir) {
            let len = s.files.get(id).map_or(0, |f| f.data.len() as u64);
            out.extend(name(path).map(|name| DiskEntry { name, is_dir: false, len }));
        }
        for path in s.dirs.iter().filter(|p| parent(p) == dir) {
            out.extend(name(path).map(|name| DiskEntry { name, is_dir: true, len: 0 }));
        }
        out.sort();
        Ok(out)
    }

    fn create_dir_all(&self, dir: &Path) -> Result<(), DiskError> {
        let mut s = self.lock();
        s.power("create folder", dir)?;
        for p in dir.ancestors().filter(|p| !p.as_os_str().is_empty() && *p != Path::new("/")) {
            s.dirs.insert(p.to_owned());
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        let mut s = self.lock();
        let step = s.step("sync folder", dir)?;
        finish(step, "sync folder", dir, |_| s.set_names_durable(dir))
    }

    fn len(&self, path: &Path) -> Result<u64, DiskError> {
        Ok(self.lock().bytes("inspect", path)?.len() as u64)
    }

    fn exists(&self, path: &Path) -> bool {
        let s = self.lock();
        s.names.contains_key(path) || s.dirs.contains(path)
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        let s = self.lock();
        s.power("measure free space of", path)?;
        Ok(s.budget.map_or(u64::MAX / 2, |b| b.saturating_sub(s.used())))
    }

    fn total_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        let s = self.lock();
        s.power("measure free space of", path)?;
        Ok(s.budget.unwrap_or(u64::MAX / 2))
    }
}

impl FakeFile {
    fn alive(&self, s: &State, op: &'static str) -> Result<(), DiskError> {
        if s.life != self.life {
            return Err(DiskError::io(op, &self.path, broken("file was open before the crash")));
        }
        Ok(())
    }
}

impl DiskFile for FakeFile {
    fn append(&self, bytes: &[u8]) -> Result<(), DiskError> {
        const OP: &str = "write to";
        let mut len = crate::lock(&self.len);
        let mut s = self.disk.lock();
        self.alive(&s, OP)?;
        let step = s.step(OP, &self.path)?;
        let room = s.budget.map_or(u64::MAX, |b| b.saturating_sub(s.used()));
        let Some(file) = s.files.get_mut(&self.id) else { return Ok(()) };
        // What an earlier failed append left behind is overwritten.
        let at = usize::try_from(*len).unwrap_or(usize::MAX).min(file.data.len());
        let left_behind = (file.data.len() - at) as u64;
        let room = usize::try_from(room.saturating_add(left_behind)).unwrap_or(usize::MAX);
        file.data.truncate(at);
        file.durable_len = file.durable_len.min(at);
        if bytes.len() > room {
            file.data.extend(bytes.iter().take(room));
            return Err(DiskError::io(OP, &self.path, io::ErrorKind::StorageFull.into()));
        }
        match step {
            Step::Go => {
                file.data.extend_from_slice(bytes);
                *len += bytes.len() as u64;
                Ok(())
            }
            Step::Half(e) => {
                file.data.extend(bytes.iter().take(bytes.len() / 2));
                Err(DiskError::io(OP, &self.path, e))
            }
            Step::Stored(e) => {
                file.data.extend_from_slice(bytes);
                file.durable_len = file.data.len();
                Err(DiskError::io(OP, &self.path, e))
            }
        }
    }

    fn sync(&self) -> Result<(), DiskError> {
        const OP: &str = "sync";
        let mut s = self.disk.lock();
        self.alive(&s, OP)?;
        let step = s.step(OP, &self.path);
        let Some(file) = s.files.get_mut(&self.id) else { return Ok(()) };
        if !matches!(step, Ok(Step::Go | Step::Stored(_))) {
            file.sync_lost = true;
        }
        finish(step?, OP, &self.path, |_| {
            if !file.sync_lost {
                file.durable_len = file.data.len();
            }
        })
    }

    fn truncate(&self, to: u64) -> Result<(), DiskError> {
        const OP: &str = "truncate";
        let mut len = crate::lock(&self.len);
        let mut s = self.disk.lock();
        self.alive(&s, OP)?;
        let step = s.step(OP, &self.path)?;
        let Some(file) = s.files.get_mut(&self.id) else { return Ok(()) };
        finish(step, OP, &self.path, |_| {
            file.data.truncate(usize::try_from(to).unwrap_or(usize::MAX));
            file.durable_len = file.durable_len.min(file.data.len());
            *len = to;
        })
    }

    fn len(&self) -> u64 {
        *crate::lock(&self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (FakeDisk, PathBuf) {
        let disk = FakeDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        (disk, PathBuf::from("/d/f"))
    }

    #[test]
    fn a_crash_drops_what_was_not_synced() {
        let (disk, path) = disk();
        let f = disk.create(&path).unwrap();
        f.append(b"one").unwrap();
        f.sync().unwrap();
        disk.crash();
        assert!(!disk.exists(&path), "the name was not synced");

        let f = disk.create(&path).unwrap();
        f.append(b"one").unwrap();
        f.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        f.append(b"two").unwrap();
        disk.rename(&path, Path::new("/d/g")).unwrap();
        disk.crash();
        assert_eq!(disk.read(&path).unwrap(), b"one");
        assert!(f.append(b"x").is_err(), "the handle died");
    }

    #[test]
    fn a_failed_sync_loses_bytes_even_if_the_next_one_succeeds() {
        let (disk, path) = disk();
        let f = disk.create(&path).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        f.append(b"gone").unwrap();
        disk.fault_after(0, Fault::Fail);
        assert!(f.sync().is_err());
        f.sync().unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"gone");
        disk.crash();
        assert_eq!(disk.read(&path).unwrap(), b"");
    }

    #[test]
    fn a_budget_makes_writes_fail_as_full() {
        let (disk, path) = disk();
        disk.set_budget(Some(5));
        let f = disk.create(&path).unwrap();
        f.append(b"abc").unwrap();
        let e = f.append(b"def").unwrap_err();
        assert!(e.is_full(), "{e}");
        assert_eq!(disk.read(&path).unwrap(), b"abcde");
        assert_eq!(disk.free_bytes(&path).unwrap(), 0);
        f.truncate(3).unwrap();
        f.append(b"xy").unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"abcxy");
    }

    #[test]
    fn a_torn_crash_keeps_a_prefix_of_the_unsynced_tail() {
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            let (disk, path) = disk();
            let f = disk.create(&path).unwrap();
            f.append(b"ab").unwrap();
            f.sync().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            f.append(b"cdef").unwrap();
            disk.crash_torn(seed);
            let have = disk.read(&path).unwrap();
            assert!(b"abcdef".starts_with(&have) && have.len() >= 2);
            seen.insert(have.len());
        }
        assert_eq!(seen.len(), 5);
    }
}
