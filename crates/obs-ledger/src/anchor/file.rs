use std::path::PathBuf;
use std::sync::Arc;

use obs_disk::{Disk, write_durable};

use super::{Anchor, Anchored, Subject};

/// One file for each checkpoint, `<size>.note`, in a folder that should be on another machine:
/// a share that takes new files and lets none be changed.
#[derive(Debug)]
pub struct FileAnchor {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
}

impl FileAnchor {
    pub fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { dir, disk }
    }
}

impl Anchor for FileAnchor {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn target(&self) -> String {
        self.dir.display().to_string()
    }

    fn extension(&self) -> &'static str {
        "note"
    }

    /// A file of that size that is there with other bytes is never replaced, unless it says the
    /// same with other signatures.
    fn submit(&self, subject: &Subject) -> Result<Anchored, String> {
        self.disk.create_dir_all(&self.dir).map_err(|e| e.to_string())?;
        let path = self.dir.join(format!("{}.note", subject.size));
        let proof = match self.disk.read(&path) {
            Ok(there) if there.starts_with(subject.text.as_bytes()) => there,
            Ok(_other) => return Err(format!("{} holds another checkpoint", path.display())),
            Err(e) if e.is_not_found() => {
                let bytes = subject.note.as_bytes();
                write_durable(&*self.disk, &path, bytes).map_err(|e| e.to_string())?;
                self.disk.read(&path).map_err(|e| e.to_string())?
            }
            Err(e) => return Err(e.to_string()),
        };
        Ok(Anchored::Done { proof, at: None })
    }

    fn newest(&self) -> Result<Option<String>, String> {
        if !self.disk.exists(&self.dir) {
            return Ok(None);
        }
        let files = self.disk.list(&self.dir).map_err(|e| e.to_string())?;
        let size = |name: &str| name.strip_suffix(".note")?.parse::<u64>().ok();
        let Some(newest) = files.iter().filter_map(|f| size(&f.name)).max() else {
            return Ok(None);
        };
        let path = self.dir.join(format!("{newest}.note"));
        let bytes = self.disk.read(&path).map_err(|e| e.to_string())?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}
