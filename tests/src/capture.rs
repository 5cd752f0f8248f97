//! The real frames and the golden exchanges under `tests/data`.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pcap_parser::{LegacyPcapSlice, Linktype, PcapBlockOwned};
use serde::{Deserialize, Deserializer};

/// One request and what the original daemon answered: UDP payloads.
#[derive(Debug, Deserialize)]
pub struct Golden {
    /// The client's address.
    pub client: Ipv4Addr,
    /// The UDP port that the request came from.
    #[serde(rename = "sport")]
    pub source_port: u16,
    /// Which firmware's shape the request has: `edk2`, `ipxe` or `legacy`.
    pub kind: String,
    /// The client's architecture.
    #[serde(rename = "arch")]
    pub architecture: u16,
    /// The UDP payload of the request.
    #[serde(deserialize_with = "hex")]
    pub request: Vec<u8>,
    /// The UDP payload of the original's reply.
    #[serde(deserialize_with = "hex")]
    pub reply: Vec<u8>,
    /// The UDP port that the reply went to.
    pub reply_port: u16,
}

/// The path of a file under `tests/data`.
pub fn data_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(name)
}

/// All exchanges of `golden.jsonl`.
///
/// # Errors
/// When the file cannot be read or a line is not an exchange.
pub fn golden() -> Result<Vec<Golden>> {
    let path = data_path("golden.jsonl");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}, line {}", path.display(), index + 1))
        })
        .collect()
}

/// The whole Ethernet frames of a capture under `tests/data`, in order.
///
/// # Errors
/// When the file cannot be read or is not an Ethernet capture.
pub fn frames(name: &str) -> Result<Vec<Vec<u8>>> {
    frames_of(&data_path(name))
}

/// The whole Ethernet frames of any capture, in order.
///
/// # Errors
/// When the file cannot be read or is not an Ethernet capture.
pub fn frames_of(path: &Path) -> Result<Vec<Vec<u8>>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let capture = LegacyPcapSlice::from_slice(&bytes)
        .map_err(|error| anyhow::anyhow!("{}: not a capture: {error}", path.display()))?;
    let mut frames = Vec::new();
    for block in capture {
        match block {
            Ok(PcapBlockOwned::LegacyHeader(header)) if header.network != Linktype::ETHERNET => {
                bail!("{}: not an Ethernet capture", path.display());
            }
            Ok(PcapBlockOwned::Legacy(record)) => frames.push(record.data.to_vec()),
            Ok(_) => {}
            Err(error) => bail!("{}: {error}", path.display()),
        }
    }
    Ok(frames)
}

fn hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(serde::de::Error::custom("not pairs of hexadecimal digits"));
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| {
            let digits = std::str::from_utf8(pair).map_err(serde::de::Error::custom)?;
            u8::from_str_radix(digits, 16).map_err(serde::de::Error::custom)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_and_golden_exchanges_are_whole() {
        assert_eq!(frames("edk2-uefi.pcap").unwrap().len(), 12);
        assert_eq!(frames("ipxe-bios.pcap").unwrap().len(), 6);
        let golden = golden().unwrap();
        assert_eq!(golden.len(), 120);
        assert!(golden.iter().all(|exchange| exchange.request.len() > 240));
    }
}
