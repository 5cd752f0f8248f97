//! The file that keeps the resolver's last answers beyond the daemon's life, so that a restart
//! while the resolver is down takes no node out of service.
//!
//! It is a separate hosts file beside the control socket, which the hosts reader reads back and an
//! administrator can inspect. It is only a help: if something is wrong with it, that is logged, and
//! the daemon continues without it.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rustix::process::geteuid;
use tracing::{info, warn};

use crate::names::forward::Names;
use crate::names::hosts::{self, Hosts};
use crate::sys::replace::{self, Lasting};
use crate::text::{count, with_causes};

/// The file's name.
const NAME: &str = "resolved.hosts";

const HEADER: &str = "\
# The system resolver's last answers for nodes that the hosts file lacks, written by proxydhcp. It reads\n\
# them at its start, until the resolver has answered anew. What is changed here is overwritten.\n";

/// The maximum size in bytes, enough for a million names.
const LIMIT: u64 = 64 << 20;

/// The path of the file, which is in the folder of the control socket.
pub(crate) fn beside(socket: &Path) -> PathBuf {
    socket.with_file_name(NAME)
}

/// Gives the addresses in the file to names about which nothing is known.
pub(crate) fn restore(path: &Path, names: &mut Names) {
    if names.unheard() == 0 {
        return;
    }
    match read(path, names) {
        Ok(0) => {}
        Ok(restored) => info!(
            "{} from the resolver's last answers, in {}",
            count(restored, "name"),
            path.display()
        ),
        Err(error) => warn!(
            "the resolver's last answers are lost: {}",
            with_causes(&error)
        ),
    }
}

fn read(path: &Path, names: &mut Names) -> Result<usize> {
    let shown = path.display();
    // A link is not followed, because another user may have put it there.
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        metadata => metadata?,
    };
    if !metadata.is_file() {
        bail!("{shown}: not a regular file; remove it");
    }
    if ![0, geteuid().as_raw()].contains(&metadata.uid()) {
        bail!("{shown}: is another user's; remove it");
    }
    if metadata.len() > LIMIT {
        bail!("{shown}: more than {LIMIT} bytes; remove it");
    }
    let bytes = hosts::read(path)?.unwrap_or_default();
    let mut hosts = Hosts::new(&bytes);
    let mut kept: HashMap<&str, BTreeSet<_>> = HashMap::new();
    for host in hosts.by_ref() {
        for name in host.names().filter_map(|name| str::from_utf8(name).ok()) {
            kept.entry(name).or_default().insert(host.address);
        }
    }
    if let Some(malformed) = hosts.malformed() {
        let (count, first) = (malformed.count, malformed.first);
        warn!("{shown}: malformed lines are left out: {count}, the first is line {first}");
    }
    let before = names.unheard();
    for (name, addresses) in kept {
        names.keep(name, addresses.into_iter().collect());
    }
    Ok(before.saturating_sub(names.unheard()))
}

/// The contents of the file for these names.
pub(crate) fn text(names: &Names) -> String {
    let mut text = String::from(HEADER);
    for (name, addresses) in names.with_addresses().filter(|(name, _)| is_a_word(name)) {
        for address in addresses {
            // Writing into a string does not fail.
            let _ = writeln!(text, "{address} {name}");
        }
    }
    text
}

/// Whether a hosts file can hold the name and give it back.
fn is_a_word(name: &str) -> bool {
    let is_apart = |c: char| c == '#' || c.is_whitespace() || c.is_control();
    !name.contains(is_apart)
}

/// Writes the text to the file in one step, if the contents differ. If there are no addresses, the
/// file is removed.
///
/// # Errors
///
/// If the file, or its folder, cannot be written. The file is then unchanged.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    if text == HEADER {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        };
    }
    let is_so = fs::metadata(path).is_ok_and(|now| now.len() == text.len() as u64)
        && fs::read(path).is_ok_and(|now| now == text.as_bytes());
    if is_so {
        return Ok(());
    }
    // The file serves the next process. It need not survive a power cut, which /run does not
    // either.
    Ok(replace::write(path, text.as_bytes(), Lasting::No)?)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::Instant;

    use super::*;
    use crate::names::resolver::Resolution;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn names(wanted: &[&str]) -> Names {
        Names::default().of(wanted.iter().copied(), Instant::now())
    }

    fn answered() -> Names {
        let mut names = names(&["a", "B.x", "c", "d #e"]);
        names.answer("a", Resolution::Found(vec![A, B]));
        names.answer("b.x", Resolution::Found(vec![B]));
        names.answer("d #e", Resolution::Found(vec![B]));
        names
    }

    #[test]
    fn what_was_answered_is_kept_for_the_names_that_are_still_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = beside(&folder.path().join("control.sock"));
        write(&path, &text(&answered())).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert!(
            written.starts_with("# The system resolver's last answers"),
            "{written}"
        );
        assert!(
            written.ends_with("overwritten.\n10.0.0.2 B.x\n10.0.0.1 a\n10.0.0.2 a\n"),
            "{written}"
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !0o644, 0, "{mode:o}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);

        let mut next = names(&["A", "c"]);
        restore(&path, &mut next);
        assert_eq!(next.addresses("a"), [A, B]);
        assert!(next.addresses("c").is_empty() && next.addresses("b.x").is_empty());
        assert_eq!((next.unheard(), next.asked().len()), (1, 2));

        write(&path, &text(&names(&["a"]))).unwrap();
        assert!(!path.exists(), "nothing is left to say");
        write(&path, &text(&names(&["a"]))).unwrap();
    }

    #[test]
    fn a_file_that_says_the_same_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = beside(&folder.path().join("control.sock"));
        let inode = || fs::metadata(&path).unwrap().ino();
        write(&path, &text(&answered())).unwrap();
        let before = inode();
        write(&path, &text(&answered())).unwrap();
        assert_eq!(inode(), before);
        // The new text has the same length.
        fs::write(&path, text(&answered()).replace("10.0.0.1", "10.0.0.9")).unwrap();
        write(&path, &text(&answered())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text(&answered()));
    }

    #[test]
    fn no_file_is_an_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = beside(&folder.path().join("control.sock"));
        let kept = || {
            let mut names = names(&["a"]);
            restore(&path, &mut names);
            names.addresses("a").to_vec()
        };
        assert!(kept().is_empty());
        for bytes in [
            &b""[..],
            b"\xff\xfe\0",
            b"10.0.0.1\nword\n10.0.0.300 a\n127.0.0.1 a",
        ] {
            fs::write(&path, bytes).unwrap();
            assert!(kept().is_empty());
        }
        fs::write(&path, b"rubbish\n10.0.0.1 a \xe9 b\n").unwrap();
        assert_eq!(kept(), [A]);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(LIMIT + 1).unwrap();
        assert!(kept().is_empty());
        fs::remove_file(&path).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "10.0.0.1 a\n").unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(kept().is_empty());
        // A link is replaced; nothing is written through it.
        write(&path, &text(&answered())).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "10.0.0.1 a\n");
        assert_eq!(kept(), [A, B]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(kept().is_empty());
        assert!(write(&path, &text(&answered())).is_err());
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            2,
            "nothing beside it"
        );
    }
}
