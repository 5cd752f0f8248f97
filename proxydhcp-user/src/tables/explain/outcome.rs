//! Explains what the tables in service make of what a client sends.

use std::net::Ipv4Addr;
use std::time::Duration;

use proxydhcp_common::verdict::{Reason, Stop};

use super::simulate::{Machine, simulate, simulate_discover};
use super::{Looked, Question};
use crate::tables::policy::Unknown;

impl Question<'_> {
    /// Explains what the tables in service make of a request from the machine.
    pub(super) fn verdict(&self, machine: Machine, looked: &mut Looked) {
        let Some(&server) = self.local.first() else {
            looked
                .steps
                .push("This host has no IPv4 address that a client could ask.".into());
            return;
        };
        let arch = self.arch;
        match simulate(&machine, server, arch.0, self.generation) {
            Ok(answer) => {
                let root = self.sources.tftp_root.display();
                let path = |path: &Option<String>| match path {
                    Some(path) => format!("{path} ({root}/{path})"),
                    None => "none".to_owned(),
                };
                looked.answered = true;
                looked.next_server = self.policy.next_server;
                let next = match self.policy.next_server {
                    Some(next) => next.to_string(),
                    None => "the address that the client asks".to_owned(),
                };
                looked.steps.push(format!(
                    "Loader for {arch}: {}, by TFTP from {next}.",
                    path(&answer.loader)
                ));
                looked.steps.push(format!("BCD: {}.", path(&answer.bcd)));
                looked.loader = answer.loader;
                looked.bcd = answer.bcd;
            }
            Err(Stop::Refuse(Reason::Architecture)) => looked.steps.push(format!(
                "There is no loader for {arch}; boot the node by BIOS or x64 UEFI PXE, or name a \
                 loader under [loaders] in the settings file."
            )),
            // The case of clients without a record has been explained already.
            Err(Stop::Refuse(Reason::Unknown))
                if looked.record.is_none() && !matches!(self.policy.unknown, Unknown::Default) => {}
            Err(Stop::Refuse(reason)) => looked.steps.push(format!(
                "A request from it is refused as {}, which `proxydhcp status` counts.",
                reason.name()
            )),
            // The simulation applies no rate limit.
            Err(Stop::NotOurs | Stop::SlowPath | Stop::Limited) => {
                looked.steps.push("A request from it is left alone.".into());
            }
        }
        self.offered(&machine, server, looked);
    }

    /// Explains what comes of a DISCOVER of the machine, after what comes of its request.
    pub(super) fn offered(&self, machine: &Machine, server: Ipv4Addr, looked: &mut Looked) {
        let Some(offers) = self.offers else {
            looked.steps.push(
                "When it asks for an address, it gets no offer (--offers off): the DHCP server has to \
                 send it here, by option 60."
                    .into(),
            );
            return;
        };
        let made = simulate_discover(machine, server, offers.to_all, self.arch.0, self.generation);
        looked.offered = made.is_ok();
        let setting = if offers.to_all { "all" } else { "known" };
        // The node that its address is of, unless a DISCOVER, which has no address, shows that it is it.
        let hidden = looked.node.as_deref();
        let hidden = hidden.filter(|node| self.table.hardware_of(node).is_empty());
        let step = match (looked.offered, hidden) {
            (true, hidden) => {
                let after = match offers.delay {
                    Duration::ZERO => String::new(),
                    delay => format!(" after {delay:?}"),
                };
                let as_others = hidden.map_or_else(String::new, |node| {
                    format!(
                        ", as any client without a record: {node} is known by no hardware address"
                    )
                });
                format!(
                    "When it asks for an address, it gets an offer{after} (--offers {setting}){as_others}."
                )
            }
            (false, Some(node)) if looked.answered => format!(
                "When it asks for an address, it gets no offer (--offers {setting}), because {node} is \
                 known by no hardware address; run \
                 `proxydhcp node set {node} mac=...`, and reload."
            ),
            (false, _) if looked.answered => format!(
                "When it asks for an address, it gets no offer (--offers {setting}): it has no record."
            ),
            (false, _) => format!(
                "When it asks for an address, it gets no offer either (--offers {setting})."
            ),
        };
        looked.steps.push(step);
    }
}
