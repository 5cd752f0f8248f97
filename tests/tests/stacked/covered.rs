//! Of interfaces that stand on each other, one answers each request.

use std::net::Ipv4Addr;

use anyhow::Result;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Files, NODE_A, Site};
use proxydhcp_lab::stack::Upper;
use proxydhcp_lab::{
    Daemon, Expected, Lab, RequestFrame, SERVER_INTERFACE, SERVER_MAC, binary, check_reply, link,
};
use serde_json::Value;

const UPPER: &str = "up0";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

/// Both are named, and both see the request.
fn has_one_reply(upper: Upper, serving: &str) -> Result<()> {
    for path in ["kernel", "af-xdp", "raw"] {
        let lab = Lab::new()?;
        upper.make(&lab.server, SERVER_INTERFACE, UPPER)?;
        link::add_address(&lab.server, UPPER, (ADDRESS, 16))?;
        let files = Files::usual()?;
        let args = ["serve", "-i", UPPER, "-i", SERVER_INTERFACE, "--path", path];
        let mut all: Vec<_> = args.map(str::to_owned).into();
        all.extend(files.args());
        let daemon = Daemon::start(&lab.server, &binary()?, &all)?;
        let mut site = Site::of(lab, daemon, files)?;
        let request = RequestFrame {
            destination_mac: upper.mac(SERVER_MAC),
            destination: ADDRESS,
            // The XDP program leaves it to the daemon, whose packet rings see it on both.
            ip_options: vec![0x94, 4, 0, 0],
            ..RequestFrame::edk2(NODE_A, UEFI_X64)
        };
        for _ in 0..2 {
            let reply = site.tap.ask(&request)?;
            let expected = Expected {
                siaddr: ADDRESS,
                ..Expected::new("winboot/a/", UEFI_X64)
            };
            // A second reply to the first request would come before that to the second.
            check_reply(&request.bytes(), &reply, &expected)?;
        }
        let status = site.status()?;
        assert_eq!(status["interfaces"][0]["name"], serving, "{path}");
        assert_eq!(status["interfaces"][1], Value::Null, "{path}");
        assert_eq!(status["interfaces"][0]["counters"]["answered"], 2, "{path}");
    }
    Ok(())
}

#[test]
fn a_bridge_answers_for_its_ports() -> Result<()> {
    has_one_reply(Upper::Bridge, UPPER)
}

#[test]
fn a_macvlan_leaves_it_to_what_it_is_part_of() -> Result<()> {
    has_one_reply(Upper::MacVlan, SERVER_INTERFACE)
}

#[test]
#[ignore = "takes a kernel with bonds"]
fn a_bond_answers_for_its_members() -> Result<()> {
    has_one_reply(Upper::Bond, UPPER)
}

#[test]
#[ignore = "takes a kernel with teams"]
fn a_team_answers_for_its_members() -> Result<()> {
    has_one_reply(Upper::Team, UPPER)
}
