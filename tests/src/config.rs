//! Writers of the daemon's input files: xCAT's `proxydhcp.cfg` and a hosts file.

use std::fmt::Write;
use std::net::Ipv4Addr;

use anyhow::{Result, bail};

/// The bytes of a node name in a record.
pub const NAME_LENGTH: usize = 50;
/// The bytes of a WinPE path in a record.
pub const PATH_LENGTH: usize = 150;

/// A whole `proxydhcp.cfg`: for each node its name and path, NUL padded to 50 and 150 bytes. A
/// name or path that fills its field has no NUL.
///
/// # Errors
/// When a name or path is longer than its field.
pub fn cfg_bytes<N, P>(nodes: impl IntoIterator<Item = (N, P)>) -> Result<Vec<u8>>
where
    N: AsRef<[u8]>,
    P: AsRef<[u8]>,
{
    let mut file = Vec::new();
    for (name, path) in nodes {
        for (field, length) in [(name.as_ref(), NAME_LENGTH), (path.as_ref(), PATH_LENGTH)] {
            if field.len() > length {
                bail!(
                    "{:?} is longer than its {length} bytes",
                    String::from_utf8_lossy(field)
                );
            }
            file.extend_from_slice(field);
            file.resize(file.len() + length - field.len(), 0);
        }
    }
    Ok(file)
}

/// A hosts file: one line for each address with its names.
pub fn hosts_text<N: AsRef<str>>(hosts: impl IntoIterator<Item = (Ipv4Addr, N)>) -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    for (address, names) in hosts {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{address} {}", names.as_ref());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::data_path;

    #[test]
    fn records_are_those_of_the_original_writer() {
        let original = std::fs::read(data_path("golden.cfg")).unwrap();
        let nodes: Vec<(Vec<u8>, Vec<u8>)> = original
            .chunks_exact(200)
            .map(|record| {
                let text = |field: &[u8]| field.split(|b| *b == 0).next().unwrap().to_vec();
                (text(&record[..50]), text(&record[50..]))
            })
            .collect();
        assert_eq!(cfg_bytes(nodes).unwrap(), original);
    }

    #[test]
    fn too_long_fields_are_refused() {
        assert!(cfg_bytes([("n".repeat(51), "")]).is_err());
        assert!(cfg_bytes([("n", "p".repeat(151))]).is_err());
        assert_eq!(
            cfg_bytes([("n".repeat(50), "p".repeat(150))])
                .unwrap()
                .len(),
            200
        );
    }
}
