//! What is served: the table of nodes, and the generation made from it.

pub(crate) mod client_message;
pub(crate) mod explain;
pub mod followed;
pub mod generation;
pub mod policy;
pub mod table;
pub mod template;
