//! What a service node has served last, on the disk: it is what is served when etcd does not answer.
//!
//! It is a folder with `proxydhcp.cfg` and the files beside it, which is replaced as a whole, and a file
//! that says which revision they are of. Whatever happens to the fleet, an administrator has files to
//! serve by `--config`.

use std::fs::{self, DirBuilder, File, FileTimes};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::nodes::cfg::texts::Texts;
use crate::sys::new_folder::NewFolder;
use crate::sys::trusted::TrustedFolder;

/// The folder of the files, in the folder of the state.
const FOLDER: &str = "last";
const CONFIG: &str = "proxydhcp.cfg";
const ORIGIN: &str = "origin.json";

/// Where the files are from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The prefix of the fleet's keys.
    pub prefix: String,
    /// The revision of the manifest.
    pub revision: i64,
    /// The number of nodes.
    pub nodes: usize,
    /// Their hash.
    pub hash: String,
}

/// The state on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// The state in this folder.
    pub fn within(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The path of `proxydhcp.cfg` in it.
    pub fn config(&self) -> PathBuf {
        self.folder.join(FOLDER).join(CONFIG)
    }

    fn origin(&self) -> PathBuf {
        self.folder.join(FOLDER).join(ORIGIN)
    }

    /// Makes the folder where it is missing: nobody but its owner may change what is in it.
    ///
    /// # Errors
    /// If it cannot be made, or others may change it.
    pub fn provide(&self) -> Result<()> {
        let mut make = DirBuilder::new();
        let made = make.recursive(true).mode(0o755).create(&self.folder);
        made.with_context(|| format!("{}: cannot be made", self.folder.display()))?;
        TrustedFolder::open(&self.folder)?;
        Ok(())
    }

    /// The files, where they are from, and when they were last known to be what etcd has; `None`: none
    /// have been written.
    ///
    /// # Errors
    /// If they cannot be read, or are of another fleet.
    pub fn read(&self, prefix: &str) -> Result<Option<(Texts, Origin, SystemTime)>> {
        let path = self.origin();
        let shown = path.display();
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("{shown}: cannot be read"))?,
        };
        TrustedFolder::open(&self.folder)?;
        let origin: Origin = serde_json::from_slice(&text).with_context(|| format!("{shown}"))?;
        if origin.prefix != prefix {
            bail!(
                "{}: what was served last is of the fleet {}, and not served to that of {prefix}; remove \
                 the folder, or name another by fleet-state",
                self.folder.display(),
                origin.prefix
            );
        }
        let known = fs::metadata(&path)?.modified()?;
        Ok(Some((Texts::read(&self.config())?, origin, known)))
    }

    /// Writes the files, all of them in one step, and brings them to the disk.
    ///
    /// # Errors
    /// If they cannot be written, as on a full disk. What was there stays.
    pub fn write(&self, texts: &Texts, origin: &Origin) -> Result<()> {
        let place = self.folder.join(FOLDER);
        let new = NewFolder::begin(&place)?;
        let config = new.path().join(CONFIG);
        write(&new.path().join(ORIGIN), &serde_json::to_vec(origin)?)?;
        write(&config, &texts.records)?;
        for (path, text) in texts.files(&config) {
            if let Some(text) = text {
                write(&path, text)?;
            }
        }
        new.put()
    }

    /// Notes that the files are what etcd has now.
    pub fn confirm(&self) {
        // It is for a message only.
        let now = FileTimes::new().set_modified(SystemTime::now());
        let _ = File::open(self.origin()).and_then(|file| file.set_times(now));
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("{}: cannot be written", path.display()))
}

/// How long ago this was; none if a clock was set.
pub fn since(time: SystemTime) -> Duration {
    time.elapsed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::within(&folder.path().join("a/fleet"));
        assert!(kept.read("p").unwrap().is_none());
        kept.provide().unwrap();
        let mut texts = Texts {
            records: vec![b'n'; 200],
            disabled: "n2\n".to_owned(),
            hardware: String::new(),
            hosts: b"10.0.0.1 n1\n".to_vec(),
            groups: Some("rack1: n1\n".to_owned()),
            settings: Some("unknown = \"default\"\n".to_owned()),
        };
        let mut origin = Origin {
            prefix: "p".to_owned(),
            revision: 7,
            nodes: 1,
            hash: "0".to_owned(),
        };
        kept.write(&texts, &origin).unwrap();
        texts.disabled.clear();
        origin.revision = 8;
        kept.write(&texts, &origin).unwrap();
        kept.confirm();
        let (read, from, _) = kept.read("p").unwrap().unwrap();
        assert_eq!((read, from), (texts, origin));
        let error = kept.read("other").unwrap_err().to_string();
        assert!(error.contains("of the fleet p"), "{error}");
        // What others may have written is not served.
        fs::set_permissions(&kept.folder, Permissions::from_mode(0o777)).unwrap();
        assert!(kept.read("p").is_err());
    }
}
