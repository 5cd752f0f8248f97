//! The operating system: files, interfaces, privileges, memory.

pub mod ethtool;
pub mod file;
pub(crate) mod heap;
pub mod interface;
pub(crate) mod output;
pub mod privileges;
pub(crate) mod replace;
pub mod trusted;
