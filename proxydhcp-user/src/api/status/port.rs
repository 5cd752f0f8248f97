//! What is told of other programs that hold UDP port 4011.

use proxydhcp_common::PORT;

use crate::sys::port_holder::Holder;

/// The programs by name, with a way to find those whose name is hidden.
pub fn named(holders: &[Holder]) -> String {
    let mut named: Vec<_> = holders.iter().map(ToString::to_string).collect();
    named.dedup();
    if named.is_empty() {
        named.push("another program".to_owned());
    }
    let are_known = !holders.is_empty() && holders.iter().all(|it| it.process.is_some());
    let remedy = if are_known {
        String::new()
    } else {
        format!(" (`sudo ss -lunp 'sport = :{PORT}'` shows which)")
    };
    named.join(", ") + &remedy
}

/// What it means that these programs hold the port, and the remedy.
pub fn port_held(holders: &[Holder]) -> String {
    let (named, them) = (
        named(holders),
        if holders.len() > 1 { "them" } else { "it" },
    );
    if holders.iter().any(Holder::is_service) {
        format!(
            "UDP port {PORT} is held by {named}: a second PXE server would answer the same clients; \
             stop {them}"
        )
    } else {
        format!(
            "UDP port {PORT} is held by {named}: requests are answered all the same, because they are \
             seen before they get there; this daemon takes the port as soon as it is free"
        )
    }
}
