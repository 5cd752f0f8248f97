//! The daemon's end of the control socket.

mod replies;
mod sessions;
mod slots;
mod socket;

pub(crate) use socket::{Server, judge};
