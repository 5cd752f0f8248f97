//! The file with the user and the password for etcd: `USER:PASSWORD` on its first line.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;

/// The longest file, in bytes.
const LIMIT: u64 = 4 << 10;
/// What a group may change, and all that others may do.
const TOO_OPEN: u32 = 0o027;

/// A user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl Login {
    /// Reads the file, which root or this user must own, and others may not read.
    ///
    /// # Errors
    /// If it cannot be read, others can, or it has no user and password.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("{shown}: cannot be read"))?;
        let metadata = file.metadata()?;
        ensure!(metadata.is_file(), "{shown}: not a file");
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if ![0, geteuid().as_raw()].contains(&owner) || mode & TOO_OPEN != 0 {
            bail!(
                "{shown}: it belongs to user {owner}, with mode {mode:o}; a password belongs to root, and \
                 nobody else reads it: `chown root {shown}; chmod 600 {shown}`"
            );
        }
        let mut text = String::new();
        let read = file.take(LIMIT).read_to_string(&mut text);
        read.with_context(|| format!("{shown}: cannot be read"))?;
        Self::parse(&text).with_context(|| format!("{shown}: its first line is USER:PASSWORD"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.lines().next()?.split_once(':')?;
        let is_there = !user.is_empty() && !password.is_empty();
        is_there.then(|| Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_password_that_others_can_read_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login");
        fs::write(&path, "fleet:a:b\nmore").unwrap();
        let with_mode = |mode| {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            Login::read(&path)
        };
        let login = with_mode(0o600).unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.as_str()),
            ("fleet", "a:b")
        );
        assert!(with_mode(0o640).is_ok());
        for mode in [0o644, 0o604, 0o660, 0o602] {
            let error = with_mode(mode).err().unwrap().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        with_mode(0o600).unwrap();
        for text in ["", "fleet", ":b", "fleet:"] {
            fs::write(&path, text).unwrap();
            let error = Login::read(&path).err().unwrap().to_string();
            assert!(error.contains("USER:PASSWORD"), "{error}");
        }
        assert!(Login::read(&folder.path().join("none")).is_err());
    }
}
