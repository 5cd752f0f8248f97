//! The nodes of the golden exchanges: those with the default WinPE and with others, and one whose record
//! is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxydhcp::tables::table::{Files, Sources, Table};
use proxydhcp::winpe::loaders::Loaders;

/// Their table. `hardware` is the text of their hardware addresses, if they have any.
pub(super) fn table(hardware: Option<&str>) -> Table {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let folder = tempfile::tempdir().expect("there is room");
    let config = folder.path().join("golden.cfg");
    std::fs::copy(data.join("golden.cfg"), &config).expect("there is room");
    if let Some(text) = hardware {
        let hardware = folder.path().join("golden.cfg.hardware");
        std::fs::write(hardware, text).expect("there is room");
    }
    let sources = Sources {
        config,
        hosts: data.join("golden.hosts"),
        tftp_root: PathBuf::from("/tftpboot"),
        loaders: Loaders::default(),
        suffixes: Vec::new(),
        ethers: None,
    };
    let files = Files::read(&sources).expect("the golden files are sound");
    Table::of_files(Arc::new(files))
}
