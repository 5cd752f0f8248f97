//! Requests captured from real firmware get the right reply.

use anyhow::{Context, Result};
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::capture::frames;
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::site::{Files, Site};
use proxydhcp_lab::{Expected, check_reply};

use crate::exchange::{PATIENCE, handed_up, left_to_daemon, on_every_datapath};

/// The first datagram of a capture that is wanted.
fn captured(name: &str, wanted: impl Fn(&Datagram) -> bool) -> Result<Vec<u8>> {
    frames(name)?
        .into_iter()
        .find(|frame| Datagram::parse(frame).is_ok_and(|datagram| wanted(&datagram)))
        .with_context(|| format!("{name} has no such frame"))
}

#[test]
fn real_firmware_is_served() -> Result<()> {
    const BOOT_REQUEST: u8 = 1;
    const BOOT_REPLY: u8 = 2;
    on_every_datapath(|datapath| {
        let files = Files::new()?;
        files.write_config(&[("node", "winboot/new/")])?;
        files.write_hosts(&[("10.77.1.1", "node")])?;
        let mut site = Site::start(datapath, files, &[])?;
        let mut replies = Vec::new();
        for (name, arch) in [("edk2-uefi.pcap", UEFI_X64), ("ipxe-bios.pcap", BIOS)] {
            let request = captured(name, |d| {
                d.destination_port == 4011 && d.payload[0] == BOOT_REQUEST
            })?;
            let original = captured(name, |d| {
                d.source_port == 4011 && d.payload[0] == BOOT_REPLY
            })?;
            site.tap.send(&request)?;
            let reply = site.tap.reply(PATIENCE)?;
            let reply = reply.with_context(|| format!("{name}: {}", site.describe()))?;
            check_reply(&request, &reply, &Expected::new("winboot/new/", arch)).context(name)?;
            let file = |frame: &[u8]| Datagram::parse(frame).unwrap().payload[108..236].to_vec();
            assert_eq!(file(&reply), file(&original), "{name}");
            replies.push((name.to_owned(), reply));
        }
        let left = left_to_daemon(datapath, 2, 0);
        assert_eq!(handed_up(&site)?, left, "{datapath:?}");
        Ok(replies)
    })
}
