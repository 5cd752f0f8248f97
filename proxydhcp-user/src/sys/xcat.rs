//! Whether xCAT is on this host: remedies are in its words then, because it writes the files.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::LazyLock;

/// xCAT's programs.
const HOME: &str = "/opt/xcat";

/// The name of xCAT's own daemon, by which xCAT starts this program in its place.
pub(crate) const DAEMON: &str = "proxydhcp-xcat";

static IS_HERE: LazyLock<bool> =
    LazyLock::new(|| is_daemon(env::args_os().next().as_deref()) || Path::new(HOME).is_dir());

/// Whether the program was started by the name of xCAT's daemon.
pub(crate) fn is_daemon(program: Option<&OsStr>) -> bool {
    program.and_then(|program| Path::new(program).file_name()) == Some(OsStr::new(DAEMON))
}

/// The command that gives a node its WinPE.
pub(crate) fn node_set() -> &'static str {
    if *IS_HERE {
        "nodeset"
    } else {
        "`proxydhcp node set`"
    }
}

/// The command that writes the whole file, before another choice.
pub(crate) fn write_anew_or() -> &'static str {
    if *IS_HERE {
        "nodeset again to have it written anew, or "
    } else {
        ""
    }
}

/// What makes a WinPE.
pub(crate) fn winpe_maker() -> &'static str {
    if *IS_HERE {
        "genimage.cmd"
    } else {
        "`proxydhcp winpe create`"
    }
}
