//! The protocol core of proxydhcp: it recognises PXE requests on UDP port 4011, decides whether
//! they are answered, and turns them into their replies.
//!
//! The same code does this for every datapath. It accesses a frame through [`frame::Frame`], which
//! the XDP program implements with verifier-checked packet pointers and user space with a slice:
//!
//! ```text
//! frame ──> headers::find ──> judge::judge ──Ok(Answer)──> reply::write ──> the same frame, now the reply
//!               │                 │
//!               │                 └─Err(Stop)── NotOurs: pass · SlowPath: slow_path::judge · Refuse, Limited: drop
//!               └─None: not UDP to port 4011
//! ```
//!
//! The tables that a judgement reads ([`nodes`], [`template`]) also have only one layout: what user
//! space builds is copied into the kernel's maps byte for byte.
#![no_std]
// For the verifier and the branch predictor, a judgement should be one function.
#![allow(clippy::inline_always)]

#[cfg(test)]
extern crate std;

pub mod activity;
pub mod answer;
pub mod checksum;
pub mod counters;
pub mod frame;
pub mod hash;
pub mod headers;
pub mod judge;
pub mod limit;
pub mod nodes;
pub mod options;
pub mod reply;
pub mod slow_path;
pub mod source;
pub mod template;
pub mod vendor_class;
pub mod verdict;
pub mod wire;
mod words;

/// The UDP port of the proxyDHCP service (PXE 2.1, section 2.2.3).
pub const PORT: u16 = 4011;
