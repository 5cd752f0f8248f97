//! What xCAT's tables say about the nodes that boot Windows.
//!
//! The tables are read with xCAT's own `tabdump`, so it does not matter in which database xCAT
//! keeps them. [`Tables`] are its answers, [`Site`] looks up the attributes of a node as xCAT does,
//! [`records`](mod@records) and [`addresses`] are what follows for `proxydhcp.cfg` and for a hosts
//! file.

pub(crate) mod addresses;
pub(crate) mod interfaces;
mod pattern;
pub(crate) mod records;
mod site;
mod table;

pub(crate) use site::Site;
pub(crate) use table::{TABDUMP, Tabdump};
