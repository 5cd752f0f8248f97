//! The WinPEs: their paths, their loaders, and the files that clients fetch.

pub(crate) mod activate;
pub mod architecture;
pub mod bcd;
pub mod check;
pub(crate) mod content;
pub(crate) mod create;
mod find;
pub mod finding;
pub(crate) mod image;
pub mod loaders;
pub mod path;
pub mod signature;
pub mod wim;
