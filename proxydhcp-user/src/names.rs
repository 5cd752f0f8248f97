//! Which address belongs to which name: the hosts file, and what the system's resolver says.

pub(crate) mod ask;
pub mod forward;
pub mod hosts;
pub mod resolver;
pub mod reverse;
pub(crate) mod saved;
