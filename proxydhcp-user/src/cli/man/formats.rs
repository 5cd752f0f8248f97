//! The pages about files: proxydhcp.toml(5) and proxydhcp.cfg(5), and the list of all files.

use clap::{Args, Command};
use clap_mangen::roff::{Roff, bold, roman};

use super::{DATE, Page, as_is, entry};
use crate::cli::serve::ServeArgs;
use crate::cli::settings::keys;

/// The pages, by name.
pub(super) const NAMES: [&str; 2] = ["proxydhcp.toml", "proxydhcp.cfg"];

/// The files that the commands read and write.
const FILES: [(&str, &str); 8] = [
    (
        "/etc/proxydhcp.toml",
        "The settings, see proxydhcp.toml(5). It may be missing.",
    ),
    (
        "/var/lib/xcat/proxydhcp.cfg",
        "Which node boots which WinPE, see proxydhcp.cfg(5).",
    ),
    (
        "/var/lib/xcat/proxydhcp.cfg.disabled",
        "The nodes with supportproxydhcp=no, one on each line.",
    ),
    (
        "/etc/hosts",
        "The addresses of the nodes. Names that it lacks go to the resolver.",
    ),
    (
        "/etc/proxydhcp.groups",
        "Groups of nodes, for ranges of nodes. It may be missing.",
    ),
    (
        "/tftpboot",
        "The folder that the TFTP server serves, with the WinPEs.",
    ),
    (
        "/run/proxydhcp",
        "The control socket, and the last answers of the resolver, for the next start.",
    ),
    (
        "/sys/fs/bpf/proxydhcp",
        "The XDP program and its tables, which go on answering if the daemon is killed.",
    ),
];

/// Adds the list of files.
pub(super) fn files(roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    for (file, meaning) in FILES {
        entry(roff, file, meaning);
    }
}

/// All pages about files.
pub(super) fn pages() -> [Page; 2] {
    [page(NAMES[0], toml()), page(NAMES[1], cfg())]
}

fn page(name: &str, body: Roff) -> Page {
    let mut roff = Roff::new();
    let source = concat!("proxydhcp ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [&name.to_uppercase(), "5", DATE, source, "proxydhcp"]);
    roff.extend([body]);
    Page {
        name: name.to_owned(),
        section: "5",
        text: roff.render(),
    }
}

fn head(roff: &mut Roff, name: &str, what: &str) {
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {what}"))]);
    roff.control("SH", ["DESCRIPTION"]);
}

fn toml() -> Roff {
    let mut roff = Roff::new();
    head(&mut roff, "proxydhcp.toml", "settings of proxydhcp");
    roff.text([roman(
        "The file is TOML. Its keys are the options of proxydhcp-serve(8) without their hyphens. An \
         option on the command line wins over the file, and the file over the default. The daemon \
         reads it at its start alone; other commands take from it what they share with serve. \
         proxydhcp serve --check finds mistakes in it.",
    )]);
    roff.control("SH", ["KEYS"]);
    let serve = ServeArgs::augment_args(Command::new("serve"));
    for key in keys(&serve) {
        let help = key.get_help().map(ToString::to_string).unwrap_or_default();
        let values = key.get_possible_values();
        let values: Vec<_> = values
            .iter()
            .map(clap::builder::PossibleValue::get_name)
            .collect();
        let values = match &values[..] {
            [] | ["true", "false"] => String::new(),
            values => format!(" One of {}.", values.join(", ")),
        };
        let defaults = key.get_default_values();
        let defaults: Vec<_> = defaults
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        let defaults = match &defaults[..] {
            [] => String::new(),
            defaults => format!(" Default: {}.", defaults.join(", ")),
        };
        let stop = if help.ends_with([']', '.']) { "" } else { "." };
        let meaning = format!("{help}{stop}{values}{defaults}");
        entry(&mut roff, key.get_long().unwrap_or_default(), &meaning);
    }
    entry(
        &mut roff,
        "[loaders]",
        "The last table of the file: the boot loader of each architecture, by its number, below the \
         WinPE's folder. An empty text switches an architecture off. Default: 0 = Boot/pxeboot.0, 7 \
         and 9 = Boot/bootmgfw.efi.",
    );
    entry(
        &mut roff,
        "[bcd]",
        "The BCD that the loader of each architecture reads, by its number, below the WinPE's folder. \
         Default: Boot/BCD; for all but BIOS, Boot/BCD-uefi of WinPEs that have one when the tables are \
         made.",
    );
    as_is(
        &mut roff,
        "EXAMPLES",
        "interface = [\"eth1\", \"eth2\"]\nunknown = \"default\"\nwatch = true\n\n[loaders]\n11 = \
         \"Boot/bootaa64.efi\"",
    );
    also(&mut roff, &["proxydhcp-serve(8)", "proxydhcp.cfg(5)"]);
    roff
}

fn cfg() -> Roff {
    let mut roff = Roff::new();
    head(&mut roff, "proxydhcp.cfg", "which node boots which WinPE");
    roff.text([roman(
        "The file is a sequence of records of 200 bytes each, without header and separators: 50 bytes \
         of node name, then 150 bytes of WinPE path, each padded with NUL. A text ends at the first \
         NUL, or with its field. The path is relative to the TFTP root, or absolute and within it; an \
         empty path is the default WinPE. Of several records of a name, the last one counts.",
    )]);
    roff.control("PP", []);
    roff.text([roman(
        "xCAT's nodeset writes this file. Without xCAT, proxydhcp node set and proxydhcp cfg import do. \
         A file whose size is not a multiple of 200 is rejected as a whole, and what was in service \
         stays; of other bad records, each is refused alone.",
    )]);
    roff.control("PP", []);
    roff.text([roman(
        "Beside it, proxydhcp.cfg.disabled lists the nodes that are ignored, one on each line.",
    )]);
    as_is(
        &mut roff,
        "EXAMPLES",
        "proxydhcp node set n[01-36] winpepath=winboot/winpe-a\nproxydhcp cfg dump\nproxydhcp cfg check",
    );
    also(
        &mut roff,
        &["proxydhcp-node(8)", "proxydhcp-cfg(8)", "proxydhcp.toml(5)"],
    );
    roff
}

fn also(roff: &mut Roff, pages: &[&str]) {
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold(pages.join(", "))]);
}
