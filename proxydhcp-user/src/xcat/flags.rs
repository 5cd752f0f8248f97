//! The flags of xCAT's daemon.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The flags that it was started with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// `-d`: into the background.
    pub(super) detach: bool,
    /// `-V`: log each node's files.
    pub(super) verbose: bool,
}

impl Flags {
    /// Parses the flags in the arguments, alone or bundled (`-dV`). Like xCAT's daemon and unlike
    /// clap, it ignores unknown flags and other arguments.
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut flags = Self::default();
        for argument in arguments {
            let [b'-', letters @ ..] = argument.as_bytes() else {
                continue;
            };
            match letters {
                // No flags follow.
                b"-" => break,
                [b'-', ..] => {}
                letters => {
                    flags.detach |= letters.contains(&b'd');
                    flags.verbose |= letters.contains(&b'V');
                }
            }
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_alone_or_together_and_others_are_ignored() {
        let parse = |line: &str| {
            let Flags { detach, verbose } = Flags::parse(line.split(' ').map(OsString::from));
            (detach, verbose)
        };
        for line in [
            "-d",
            "-d -x",
            "--debug -d file",
            "-xd",
            "-d --Verbose",
            "-d -- -V",
        ] {
            assert_eq!(parse(line), (true, false), "{line}");
        }
        for line in ["-dV", "-Vd", "-d -V", "-V x -d", "-dVx", "-V -d -d"] {
            assert_eq!(parse(line), (true, true), "{line}");
        }
        for line in ["", "d", "V", "-", "--", "--dV", "-v", "-D", "-- -dV"] {
            assert_eq!(parse(line), (false, false), "{line}");
        }
    }
}
