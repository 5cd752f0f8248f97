//! Whole conversations at once: machines that are known by their hardware addresses alone are offered a
//! boot, and led to their own WinPE on port 4011, with whatever lease they have by then.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;

use anyhow::{Result, ensure};
use proxydhcp_clients::{Conversation, converse};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{CLIENT_INTERFACE, Expected, RequestFrame};

const CLIENTS: u16 = 10_000;

#[test]
fn of_ten_thousand_whole_conversations_at_once_none_is_lost() -> Result<()> {
    let nodes = || (0..CLIENTS).map(|number| (number, format!("node{number}")));
    let clients: Vec<Conversation> = nodes()
        .map(|(number, _)| {
            let [high, low] = number.to_be_bytes();
            let lease = Ipv4Addr::new(10, 77, 100 + high, low);
            let mut request = RequestFrame::edk2(lease, UEFI_X64);
            request.chaddr = [0; 16];
            request.chaddr[..6].copy_from_slice(&[2, 0, 0, 9, high, low]);
            Conversation {
                discover: request.discover(),
                request,
                expected: Some(Expected::new("winboot/a/", UEFI_X64)),
            }
        })
        .collect();
    for datapath in Datapath::ALL {
        let files = Files::usual()?;
        let records: Vec<_> = nodes().map(|(_, name)| name).collect();
        let records: Vec<_> = records
            .iter()
            .map(|name| (name.as_str(), "winboot/a"))
            .collect();
        files.write_config(&records)?;
        let hardware = nodes().map(|(number, name)| {
            let [high, low] = number.to_be_bytes();
            format!("{name} mac=02:00:00:09:{high:02x}:{low:02x}\n")
        });
        fs::write(
            files.path("proxydhcp.cfg.hardware"),
            hardware.collect::<String>(),
        )?;
        let site = Site::start(datapath, files, &["--offers", "known"])?;
        let go_on = &mut |_| ControlFlow::Continue(());
        let report = converse(&site.lab.client, CLIENT_INTERFACE, &clients, go_on)?;
        ensure!(
            report.fault().is_none(),
            "{datapath:?}: {:?}",
            report.fault()
        );
        ensure!(
            report.lost() == 0 && report.duplicates == 0,
            "{datapath:?}: {} lost",
            report.lost()
        );
        println!("{datapath:?}: {CLIENTS} conversations in {:?}", report.took);
    }
    Ok(())
}
