//! What of the offers keeps clients from booting, and what to do about it.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::offer::Offer;
use crate::winpe::architecture::Architecture;

/// What becomes of clients that are sent to port 4011.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HandOff {
    /// It is sent to these files.
    Answered {
        loader: Option<String>,
        bcd: Option<String>,
    },
    /// No program listens there.
    Nobody,
    /// It is a server that answers nodes alone, and this host may be none.
    Unknown,
}

/// Something that keeps clients from booting, or may do so.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) arch: Architecture,
    /// Whether clients cannot boot.
    pub(super) is_fatal: bool,
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_fatal { "error" } else { "warning" };
        let Self {
            arch,
            problem,
            remedy,
            ..
        } = self;
        write!(f, "{kind}: {arch}: {problem}\n  remedy: {remedy}")
    }
}

/// The findings about the offers to one architecture.
pub(super) fn judge(
    arch: Architecture,
    offers: &[Offer],
    hand_off: &dyn Fn(&Offer) -> HandOff,
) -> Vec<Finding> {
    let offers = || offers.iter().filter(|offer| offer.arch == arch);
    let leases: Vec<&Offer> = offers().filter(|it| it.address.is_some()).collect();
    let proxies: Vec<&Offer> = offers().filter(|it| it.is_proxy()).collect();
    let mut findings = Findings {
        arch,
        list: Vec::new(),
    };
    if leases.is_empty() {
        findings.error(
            "no DHCP server has offered an address".to_owned(),
            "is a DHCP server running, on this network or behind a relay? One that knows its clients \
             offers nothing to others: ask for a node's with --mac. dnsmasq and ISC dhcpd look first \
             whether an address is in use: try --timeout 10"
                .to_owned(),
        );
    }
    for lease in &leases {
        findings.lease(lease, &proxies, hand_off);
    }
    findings.proxies(&proxies, hand_off);
    if proxies.is_empty() && !leases.iter().any(|lease| lease.is_for_pxe()) && !leases.is_empty() {
        findings.error(
            "no server sends PXE clients to proxydhcp: there is neither an offer of a proxy nor option \
             60 in a DHCP server's"
                .to_owned(),
            "set offers = \"known\" for `proxydhcp serve`, or have the DHCP server send them: `proxydhcp \
             dhcp-conf isc`, `kea` or `dnsmasq` prints what it needs"
                .to_owned(),
        );
    }
    findings.list
}

struct Findings {
    arch: Architecture,
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, is_fatal: bool, problem: String, remedy: String) {
        self.list.push(Finding {
            arch: self.arch,
            is_fatal,
            problem,
            remedy,
        });
    }

    fn error(&mut self, problem: String, remedy: String) {
        self.add(true, problem, remedy);
    }

    fn warning(&mut self, problem: String, remedy: String) {
        self.add(false, problem, remedy);
    }

    /// What is wrong with the offer of a DHCP server.
    fn lease(&mut self, lease: &Offer, proxies: &[&Offer], hand_off: &dyn Fn(&Offer) -> HandOff) {
        let server = lease.name();
        if let Some(file) = &lease.boot_file {
            let fatal = proxies.is_empty();
            let otherwise = if fatal {
                "and ask no further"
            } else {
                "or ask the proxy, as their firmware likes"
            };
            self.add(
                fatal,
                format!(
                    "{server} sends the boot file {file} (file field or option 67): clients load it, \
                     {otherwise}"
                ),
                format!(
                    "take the boot file of PXE clients out of the configuration of {server}: \
                     `filename` and `bootfile-name` of ISC dhcpd, `boot-file-name` of Kea, `dhcp-boot` \
                     of dnsmasq, options 66 and 67 of Windows and of routers"
                ),
            );
        }
        if !lease.is_for_pxe() {
            return;
        }
        let Some(asked) = lease.port_4011() else {
            return;
        };
        let stale = format!(
            "take option 60 out of the configuration of {server}, or start `proxydhcp serve` on {asked}"
        );
        let others = proxies
            .iter()
            .filter(|proxy| proxy.port_4011() != Some(asked));
        let others: BTreeSet<String> = others.map(|proxy| proxy.name()).collect();
        if !others.is_empty() {
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            self.error(
                format!(
                    "{server} sends option 60 (PXEClient) besides an address: clients ask {asked} on \
                     port 4011, and not the proxy {others}"
                ),
                stale,
            );
            return;
        }
        match hand_off(lease) {
            HandOff::Answered { .. } => {}
            HandOff::Nobody => self.error(
                format!(
                    "{server} sends a stale option 60 (PXEClient): clients ask {asked} on port 4011, \
                     where nobody listens"
                ),
                stale,
            ),
            HandOff::Unknown => self.warning(
                format!(
                    "{server} sends option 60 (PXEClient): clients ask {asked} on port 4011, which has \
                     not answered this host"
                ),
                format!(
                    "if proxydhcp serves nodes there, all is well: `proxydhcp status` there shows it, \
                     and `proxydhcp probe {asked}` from a node's address; else {stale}"
                ),
            ),
        }
    }

    /// Two proxies are harmless when they agree.
    fn proxies(&mut self, proxies: &[&Offer], hand_off: &dyn Fn(&Offer) -> HandOff) {
        let contents: BTreeSet<_> = proxies
            .iter()
            .map(|proxy| (proxy.server, proxy.next_server, proxy.boot_file.clone()))
            .collect();
        if contents.len() < 2 {
            return;
        }
        let names: BTreeSet<_> = proxies.iter().map(|proxy| proxy.name()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(" and ");
        // Those whose offers only lead to port 4011 may say the same there.
        let leads_there = |proxy: &&Offer| proxy.boot_file.is_none() && !proxy.has_vendor_options;
        if proxies.iter().all(leads_there) {
            let said: Vec<_> = proxies.iter().map(|proxy| hand_off(proxy)).collect();
            if said.contains(&HandOff::Unknown) {
                self.warning(
                    format!("several proxies offer, {names}: a client asks any of them on port 4011"),
                    "all is well if they are proxydhcp with the same files, which --mac with a node's \
                     hardware address finds out; else stop all but one: dnsmasq's \
                     `dhcp-range=...,proxy`, Windows Deployment Services and FOG are proxies, too"
                        .to_owned(),
                );
                return;
            }
            if said.iter().all(|it| said.first() == Some(it)) {
                return;
            }
        }
        self.error(
            format!(
                "proxies disagree: {names} offer different things, and a client takes whichever comes \
                 first"
            ),
            "stop all but one: dnsmasq's `dhcp-range=...,proxy`, Windows Deployment Services and FOG \
             are proxies, too"
                .to_owned(),
        );
    }
}
