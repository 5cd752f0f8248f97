//! The fleet: many service nodes that serve the nodes of one source, which is in etcd.
//!
//! What is in etcd is a [`content::Content`], whose nodes, groups and settings are in pages or in a key each,
//! and a [`manifest::Manifest`], which names the content in force. Each change of a node also changes the
//! manifest, so that its revisions are the history, and that two writers cannot both take themselves for the
//! last. See `docs/fleet.md`.

pub mod address;
pub mod changed;
pub mod client;
pub mod content;
pub mod entry;
pub mod followed;
pub mod group;
pub mod item;
pub mod kept;
pub mod keys;
pub mod login;
pub mod manifest;
pub mod page;
pub mod portion;
pub mod serving;
pub mod settings;
pub mod store;
pub mod transport;
pub mod watch;
pub mod wire;
