//! The journal of systemd, where it takes what this process writes to stderr.
//!
//! It adds the time itself, and reads a line's priority from its beginning: `<4>` and the like, as in
//! sd-daemon(3). Without one, all lines have the same.

use std::env;
use std::io::stderr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::fstat;

/// The priority of a line, by syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// `LOG_ERR`.
    Error = 3,
    /// `LOG_WARNING`.
    Warning = 4,
    /// `LOG_INFO`.
    Info = 6,
    /// `LOG_DEBUG`.
    Debug = 7,
}

/// Whether stderr is a stream of the journal: the one that `JOURNAL_STREAM` names by its device and
/// inode, as in systemd.exec(5). A process may have inherited the variable, and write elsewhere.
pub fn is_stderr() -> bool {
    let Some(stream) = env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    fstat(stderr()).is_ok_and(|file| {
        let name = format!("{}:{}", file.st_dev, file.st_ino);
        stream.as_bytes() == name.as_bytes()
    })
}

/// The text as the journal takes it: each of its lines begins with the priority.
pub fn marked(priority: Priority, text: &str) -> String {
    let mark = |line| format!("<{}>{line}", priority as u8);
    text.lines().map(mark).collect::<Vec<_>>().join("\n")
}

/// The text as stderr takes it: with its priority if that is the journal.
pub fn for_stderr(priority: Priority, text: &str) -> String {
    if is_stderr() {
        marked(priority, text)
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_can_take_another_priority() {
        let text = "a node\n<0>of this name";
        assert_eq!(
            marked(Priority::Warning, text),
            "<4>a node\n<4><0>of this name"
        );
    }
}
