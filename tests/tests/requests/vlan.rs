//! Requests with VLAN tags are answered into the same VLAN, at the same priority.

use anyhow::{Context, Result};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{NODE_A, Site};
use proxydhcp_lab::{RequestFrame, VlanTag};

use crate::exchange::{Case, handed_up, left_to_daemon, on_every_datapath};

const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88a8;

fn tagged(tags: &[(u16, u16)]) -> Case {
    let tags = tags
        .iter()
        .map(|&(protocol, control)| VlanTag { protocol, control });
    let request = RequestFrame {
        vlan_tags: tags.collect(),
        ..RequestFrame::edk2(NODE_A, UEFI_X64)
    };
    Case::new(
        format!("{:04x?}", request.vlan_tags),
        request,
        "winboot/a/",
        UEFI_X64,
    )
}

#[test]
fn one_tag_is_mirrored_without_leaving_the_kernel() -> Result<()> {
    on_every_datapath(|datapath| {
        let mut site = Site::usual(datapath)?;
        let mut replies = Vec::new();
        for protocol in [CUSTOMER, SERVICE] {
            // The lowest and the highest number, a priority alone, and all bits at once.
            for control in [0x0001, 0x0ffe, 0xe000, 0xffff] {
                replies.push(tagged(&[(protocol, control)]).ask(&mut site)?);
            }
        }
        let left = left_to_daemon(datapath, 8, 0);
        assert_eq!(handed_up(&site)?, left, "{datapath:?}");
        Ok(replies)
    })
}

#[test]
fn two_tags_are_mirrored() -> Result<()> {
    on_every_datapath(|datapath| {
        let mut site = Site::usual(datapath)?;
        let mut replies = Vec::new();
        for outer in [SERVICE, CUSTOMER] {
            for inner in [CUSTOMER, SERVICE] {
                let case = tagged(&[(outer, 0x6064), (inner, 0xa0c8)]);
                replies.push(case.ask(&mut site).context("of two tags")?);
            }
        }
        let left = left_to_daemon(datapath, 0, 4);
        assert_eq!(handed_up(&site)?, left, "{datapath:?}");
        Ok(replies)
    })
}
