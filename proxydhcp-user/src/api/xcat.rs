//! What xCAT and its daemon agree on, in xCAT's words.

use crate::sys;

/// The program's name, by which `makedhcp` looks for the process.
pub const NAME: &str = sys::xcat::DAEMON;
/// The program that xcatd starts.
pub const PROGRAM: &str = "/opt/xcat/sbin/proxydhcp-xcat";
/// The file in which xCAT looks for the process to signal.
pub const PID_FILE: &str = "/var/run/xcat/proxydhcp-xcat.pid";
