//! Plain requests of known nodes get the right reply, on every datapath the same.

use anyhow::Result;
use proxydhcp_lab::RequestFrame;

use proxydhcp_lab::site::{Datapath, NODE_A, NODE_B, NODE_DEFAULT, Site};

#[test]
fn every_firmware_gets_its_node_s_winpe() -> Result<()> {
    let mut seen: Vec<Vec<Vec<u8>>> = Vec::new();
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        let mut replies = Vec::new();
        for (node, winpe) in [
            (NODE_A, "winboot/a/"),
            (NODE_B, "winboot/b/"),
            (NODE_DEFAULT, ""),
        ] {
            for arch in [0, 7, 9] {
                for request in [
                    RequestFrame::edk2(node, arch),
                    RequestFrame::ipxe(node, arch),
                    RequestFrame::legacy(node, arch),
                    RequestFrame::wdsmgfw(node, arch),
                ] {
                    replies.push(site.ask(&request, winpe, arch)?);
                }
            }
        }
        let counters = site.counters()?;
        assert_eq!(counters["answered"], 36, "{counters}");
        assert_eq!(counters["handed_up"], 0, "{datapath:?}: {counters}");
        assert_eq!(counters["refused"], serde_json::json!({}), "{counters}");
        seen.push(replies);
    }
    let [native, generic, raw] = &seen[..] else {
        unreachable!()
    };
    assert_eq!(native, generic);
    assert_eq!(native, raw);
    Ok(())
}
