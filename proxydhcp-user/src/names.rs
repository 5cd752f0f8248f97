//! Which address belongs to which name, by the hosts file and the system's resolver.

pub(crate) mod ask;
pub mod forward;
pub mod hosts;
pub mod resolver;
pub mod reverse;
pub(crate) mod saved;
