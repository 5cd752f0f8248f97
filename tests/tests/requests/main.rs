//! Requests and what becomes of them, in private networks: the real daemon, its XDP program in the
//! real kernel, and clients that are one network cable away.
//!
//! These tests need root, and the binary that `cargo xtask test` builds.

mod replies;
