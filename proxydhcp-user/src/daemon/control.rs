//! The control socket's end in the daemon.

mod replies;
mod sessions;
mod slots;
mod socket;

pub(crate) use replies::MadeReply;
pub use socket::Server;
