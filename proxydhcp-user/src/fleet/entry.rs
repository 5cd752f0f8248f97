//! A node as a fleet's source has it: a JSON object, the value of the node's key.

use std::net::Ipv4Addr;

use proxydhcp_common::wire::is_client;
use serde::{Deserialize, Serialize};

use crate::fleet::wire::parsed;
use crate::nodes::hardware::Id;

/// The most addresses of a kind.
const MANY: usize = 64;

/// A node. It has no field that `proxydhcp.cfg` and the files beside it could not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The path of its WinPE, as a record has it; empty: the default one. `None`: it has no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winpe: Option<String>,
    /// Whether it gets no answer: `supportproxydhcp=no`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// The addresses that it has whatever the hosts file says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Ipv4Addr>,
    /// The addresses of its network cards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    /// Its machine's UUID; more than one where it stands for several machines in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uuids: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a field so")]
fn is_false(so: &bool) -> bool {
    !so
}

impl Entry {
    /// Parses the value of a node's key. Whether the WinPE's path can be served depends on the service
    /// node, and is judged where it is turned into a record.
    ///
    /// # Errors
    /// If it is no such object, or an address in it is none: why.
    pub fn parse(value: &[u8]) -> Result<Self, String> {
        // Without names, serde takes a list for the fields in their order.
        if value.trim_ascii_start().first() == Some(&b'[') {
            return Err("it is a list, and should be an object".to_owned());
        }
        let entry: Self = parsed(value)?;
        let counts = [entry.addresses.len(), entry.macs.len(), entry.uuids.len()];
        if let Some(count) = counts.into_iter().find(|&count| count > MANY) {
            return Err(format!("{count} addresses of a kind, more than {MANY}"));
        }
        let is_nobodys = |address: &&Ipv4Addr| !is_client(address.octets());
        if let Some(address) = entry.addresses.iter().find(is_nobodys) {
            return Err(format!("no client has the address {address}"));
        }
        entry.ids().map(|ids| ids.len())?;
        Ok(entry)
    }

    /// What it is known by besides its addresses.
    ///
    /// # Errors
    /// If one is neither the MAC address of a card nor the UUID of a machine: which.
    pub fn ids(&self) -> Result<Vec<Id>, String> {
        let macs = self.macs.iter().map(|text| {
            let mac = Id::parse(text).filter(|id| matches!(id, Id::Mac(_)));
            mac.ok_or_else(|| format!("{text:?} is not the MAC address of a card"))
        });
        let uuids = self.uuids.iter().map(|text| {
            let uuid = Id::parse(text).filter(|id| matches!(id, Id::Uuid(_)));
            uuid.ok_or_else(|| format!("{text:?} is no machine's UUID"))
        });
        macs.chain(uuids).collect()
    }

    /// The value of the node's key.
    pub fn value(&self) -> Vec<u8> {
        // An object of texts and numbers has no reason to fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::wire::LONGEST_VALUE;

    #[test]
    fn a_node_is_read_as_it_was_written() {
        let text = r#"{"winpe":"winboot/x","disabled":true,"addresses":["10.0.0.1"],"macs":["52:54:00:12:34:56"],"uuids":["4c4c4544-0042-3510-8054-b9c04f4d3233"]}"#;
        let entry = Entry::parse(text.as_bytes()).unwrap();
        assert_eq!(entry.value(), text.as_bytes());
        assert_eq!(entry.ids().unwrap().len(), 2);
        let default = Entry::parse(br#"{"winpe":""}"#).unwrap();
        assert_eq!(default.winpe.as_deref(), Some(""));
        assert_eq!(default.value(), br#"{"winpe":""}"#);
        assert_eq!(Entry::parse(b"{}").unwrap(), Entry::default());
    }

    #[test]
    fn what_is_no_node_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "EOF"),
            ("[]", "should be an object"),
            (" [\"winboot/x\"]", "should be an object"),
            ("null", "invalid"),
            (r#"{"winpe":1}"#, "invalid type"),
            (
                r#"{"winpe":"a","tftp_root":"/"}"#,
                "unknown field `tftp_root`",
            ),
            (r#"{"winpe":"a","winpe":"b"}"#, "duplicate field"),
            (r#"{"addresses":["10.0.0"]}"#, "invalid"),
            (
                r#"{"addresses":["0.0.0.0"]}"#,
                "no client has the address 0.0.0.0",
            ),
            (r#"{"macs":["ff:ff:ff:ff:ff:ff"]}"#, "MAC address of a card"),
            (
                r#"{"macs":["4c4c4544-0042-3510-8054-b9c04f4d3233"]}"#,
                "MAC address",
            ),
            (r#"{"uuids":["52:54:00:12:34:56"]}"#, "UUID"),
            (r#"{"winpe":"a"} {"winpe":"b"}"#, "trailing"),
        ] {
            let error = Entry::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let long = format!(r#"{{"winpe":"{}"}}"#, "x".repeat(LONGEST_VALUE));
        assert!(Entry::parse(long.as_bytes()).unwrap_err().contains("bytes"));
        let many = format!(
            r#"{{"addresses":[{}"10.0.0.1"]}}"#,
            r#""10.0.0.1","#.repeat(MANY)
        );
        assert!(
            Entry::parse(many.as_bytes())
                .unwrap_err()
                .contains("of a kind")
        );
    }
}
