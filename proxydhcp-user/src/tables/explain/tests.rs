use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::names::hosts;
use crate::names::resolver::Resolution;
use crate::tables::table::Files;
use crate::winpe::loaders::Loaders;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

/// The files of a daemon, and the answers of the resolver.
struct Site {
    folder: TempDir,
    names: Vec<(&'static str, Ipv4Addr)>,
    clients: Vec<(Ipv4Addr, &'static str)>,
    unknown: Unknown,
    offers: Option<Offers>,
}

impl Site {
    fn new(nodes: &[(&str, &str)], hosts: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Vec::new();
        for (name, path) in nodes {
            let start = config.len();
            config.extend(name.as_bytes());
            config.resize(start + 50, 0);
            config.extend(path.as_bytes());
            config.resize(start + 200, 0);
        }
        fs::write(folder.path().join("cfg"), config).unwrap();
        fs::write(folder.path().join("hosts"), hosts).unwrap();
        Self {
            folder,
            names: Vec::new(),
            clients: Vec::new(),
            unknown: Unknown::Ignore,
            offers: None,
        }
    }

    fn look_up(&self, asked: &str, arch: u16) -> Vec<Looked> {
        let sources = Sources {
            config: self.folder.path().join("cfg"),
            hosts: self.folder.path().join("hosts"),
            tftp_root: "/tftpboot".into(),
            suffixes: vec!["-ib0".into()],
            ethers: None,
            loaders: Loaders::default(),
        };
        let policy = Policy {
            unknown: self.unknown,
            ..Policy::default()
        };
        let files = Arc::new(Files::read(&sources).unwrap());
        let mut names = Names::default().of(files.wanted(), Instant::now());
        for name in names.asked() {
            let found = self.names.iter().filter(|(known, _)| *known == name);
            let found: Vec<_> = found.map(|(_, address)| *address).collect();
            names.answer(
                &name,
                if found.is_empty() {
                    Resolution::Unknown
                } else {
                    Resolution::Found(found)
                },
            );
        }
        let mut looked_up = LookedUp::default();
        for (address, name) in &self.clients {
            looked_up.answer(
                *address,
                Resolution::Found((*name).to_owned()),
                Instant::now(),
            );
        }
        let table = Table::new(files, &names, &looked_up);
        let generation =
            Generation::next(&Generation::default(), &table, &[HOST], &policy).unwrap();
        explain(&Question {
            asked,
            arch: Architecture(arch),
            table: &table,
            names: &names,
            looked_up: &looked_up,
            generation: &generation,
            policy: &policy,
            sources: &sources,
            hosts: &hosts::read(&sources.hosts),
            local: &[HOST],
            rejected: None,
            waited_for: 0,
            offers: self.offers,
        })
    }

    #[track_caller]
    fn one(&self, asked: &str, arch: u16) -> Looked {
        let mut looked = self.look_up(asked, arch);
        assert_eq!(looked.len(), 1, "{looked:?}");
        looked.remove(0)
    }

    /// Looks up a client that is not answered, and checks that the steps contain all these texts.
    #[track_caller]
    fn refuses(&self, asked: &str, arch: u16, texts: &[&str]) {
        let looked = self.one(asked, arch);
        assert!(!looked.answered && looked.loader.is_none(), "{looked}");
        for text in texts {
            assert!(looked.to_string().contains(text), "{text}: {looked}");
        }
    }
}

#[test]
fn a_node_is_explained_step_by_step() {
    let site = Site::new(
        &[("x", "winboot/x"), ("n1", "/tftpboot/winboot/a")],
        "# comment\n10.0.0.1 n1.cluster n1\n",
    );
    let looked = site.one("10.0.0.1", 7);
    let folder = site.folder.path().display();
    assert_eq!(
        looked.to_string(),
        format!(
            "1. 10.0.0.1 is n1, by line 2 of {folder}/hosts.\n\
             2. n1 is record 2 of {folder}/cfg, at byte 200.\n\
             3. Its WinPE is winboot/a/, below /tftpboot.\n\
             4. Loader for UEFI on x64, architecture 7: winboot/a/Boot/bootmgfw.efi \
             (/tftpboot/winboot/a/Boot/bootmgfw.efi), by TFTP from the address that the client \
             asks.\n\
             5. BCD: winboot/a/Boot/BCD (/tftpboot/winboot/a/Boot/BCD).\n\
             6. When it asks for an address, it gets no offer (--offers off): the DHCP server has to \
             send it here, by option 60.\n\
             => answered"
        )
    );
    assert_eq!((looked.record, looked.offset), (Some(2), Some(200)));
    let bios = site.one("N1.cluster", 0);
    assert_eq!(bios.loader.as_deref(), Some("winboot/a/Boot/pxeboot.0"));
    assert!(bios.answered && bios.address == Some(Ipv4Addr::new(10, 0, 0, 1)));
}

#[test]
fn each_way_to_a_name_is_told() {
    let mut site = Site::new(
        &[("n1", ""), ("n2", "winboot/b/"), ("n3", "winboot/c/")],
        "10.0.0.1 n1-ib0\n",
    );
    site.names = vec![("n2", Ipv4Addr::new(10, 0, 0, 2))];
    site.clients = vec![(Ipv4Addr::new(10, 0, 0, 3), "n3.cluster")];
    for (asked, node, texts) in [
        (
            "10.0.0.1",
            "n1",
            ["by line 1 of", "the default WinPE, in /tftpboot itself"],
        ),
        (
            "10.0.0.2",
            "n2",
            ["by the system resolver: ", "winboot/b/Boot/BCD"],
        ),
        ("10.0.0.3", "n3", ["10.0.0.3 is n3.cluster", "leads to n3"]),
        ("n3", "n3", ["n3 has the address 10.0.0.3", "record 3"]),
    ] {
        let looked = site.one(asked, 9);
        assert!(looked.answered, "{looked}");
        assert_eq!(looked.node.as_deref(), Some(node));
        for text in texts {
            assert!(looked.to_string().contains(text), "{text}: {looked}");
        }
    }
    // A node's addresses are all explained.
    site.names.push(("n1", Ipv4Addr::new(10, 0, 0, 4)));
    let looked = site.look_up("n1", 7);
    let addresses: Vec<_> = looked
        .iter()
        .map(|looked| looked.address.unwrap().octets()[3])
        .collect();
    assert_eq!(addresses, [1, 4]);
    assert!(looked.iter().all(|looked| looked.answered));
}

#[test]
fn each_rule_that_stops_a_client_is_told() {
    let site = Site::new(
        &[("n1", "../x"), ("n2", "winboot/a"), ("n3", ""), ("n4", "")],
        "10.0.0.1 n1\n10.0.0.254 n2\n10.0.0.9 visitor guest\n10.0.0.3 n3\n10.0.0.3 n2\n",
    );
    site.refuses(
        "10.0.0.1",
        7,
        &["record 1", "The record is refused: the WinPE path ../x has"],
    );
    site.refuses("n1", 7, &["n1 has the address 10.0.0.1", "is refused"]);
    site.refuses("10.0.0.254", 7, &["an address of this host itself"]);
    site.refuses(
        "10.0.0.9",
        7,
        &["Line 3 of", "as visitor, guest", "no record by such a name"],
    );
    site.refuses(
        "10.0.0.8",
        7,
        &["No line of", "add a line", "(--unknown ignore)"],
    );
    site.refuses("127.0.0.1", 7, &["not an address that a client can have"]);
    site.refuses("10.0.0.3", 6, &["no loader for UEFI on IA32"]);
    site.refuses(
        "n4",
        7,
        &["n4 has no address", "the system resolver knows none"],
    );
    site.refuses("n5", 7, &["has no record of n5; run `proxydhcp node set`"]);
    // 10.0.0.3 belongs to n3, which comes first.
    let looked = site.look_up("n2", 7);
    assert!(looked.iter().all(|looked| !looked.answered), "{looked:?}");
}

#[test]
fn the_policy_for_clients_without_a_record_is_told() {
    let mut site = Site::new(&[("n1", "")], "10.0.0.1 n1\n");
    site.unknown = Unknown::Default;
    let looked = site.one("10.0.0.9", 0);
    assert!(looked.answered && looked.record.is_none());
    assert_eq!(looked.loader.as_deref(), Some("Boot/pxeboot.0"));
    assert!(looked.to_string().contains("(--unknown default)"));

    site.unknown = Unknown::Lookup;
    site.refuses("10.0.0.9", 7, &["looked up when the client asks"]);
    site.clients = vec![(Ipv4Addr::new(10, 0, 0, 9), "visitor")];
    site.refuses("10.0.0.9", 7, &["its name is visitor", "has no record"]);
}

#[test]
fn what_a_discover_gets_is_told() {
    let mut site = Site::new(
        &[("n1", ""), ("n2", ""), ("n3", ""), ("n4", "..")],
        "10.0.0.1 n1\n10.0.0.2 n2\n10.0.0.3 n3\n10.0.0.4 n4\n",
    );
    let beside = |file: &str, text: &str| fs::write(site.folder.path().join(file), text).unwrap();
    beside(
        "cfg.hardware",
        "n1 mac=52:54:00:00:00:01\nn3 uuid=03030303-0303-0303-0303-030303030303\nn4 mac=52:54:00:00:00:04\n",
    );
    let mut told = |unknown, to_all, delay, asked: &str, arch| {
        site.unknown = unknown;
        site.offers = Some(Offers {
            to_all,
            delay: Duration::from_millis(delay),
        });
        let looked = site.one(asked, arch);
        (looked.offered, looked.steps.last().unwrap().clone())
    };
    let asks = "When it asks for an address, it gets";
    for (asked, arch, offered, step) in [
        ("10.0.0.1", 7, true, "an offer (--offers known)."),
        ("52:54:00:00:00:01", 7, true, "an offer (--offers known)."),
        ("10.0.0.3", 0, true, "an offer (--offers known)."),
        (
            "10.0.0.2",
            7,
            false,
            "no offer (--offers known), because n2 is known by no hardware address; run \
             `proxydhcp node set n2 mac=...`, and reload.",
        ),
        ("10.0.0.1", 11, false, "no offer either (--offers known)."),
        ("10.0.0.4", 7, false, "no offer either (--offers known)."),
        ("10.0.0.9", 7, false, "no offer either (--offers known)."),
        (
            "52:54:00:00:00:09",
            7,
            false,
            "no offer either (--offers known).",
        ),
    ] {
        let looked = told(Unknown::Ignore, false, 0, asked, arch);
        assert_eq!(looked, (offered, format!("{asks} {step}")), "{asked}");
    }
    for (asked, offered, step) in [
        ("10.0.0.1", true, "an offer after 300ms (--offers all)."),
        (
            "10.0.0.2",
            true,
            "an offer after 300ms (--offers all), as any client without a record: n2 is known by no \
             hardware address.",
        ),
        ("10.0.0.4", false, "no offer either (--offers all)."),
        ("10.0.0.9", true, "an offer after 300ms (--offers all)."),
        (
            "52:54:00:00:00:09",
            true,
            "an offer after 300ms (--offers all).",
        ),
    ] {
        let looked = told(Unknown::Default, true, 300, asked, 7);
        assert_eq!(looked, (offered, format!("{asks} {step}")), "{asked}");
    }
    // One that is answered by its address alone.
    let (offered, step) = told(Unknown::Default, false, 0, "10.0.0.9", 7);
    assert!(
        !offered && step.ends_with("no offer (--offers known): it has no record."),
        "{step}"
    );
}

#[test]
fn a_node_without_an_address_is_not_said_to_lack_one_if_its_hardware_is_known() {
    let site = Site::new(&[("n1", "winboot/a")], "");
    fs::write(
        site.folder.path().join("cfg.hardware"),
        "n1 mac=52:54:00:00:00:01\n",
    )
    .unwrap();
    let looked = site.one("n1", 7);
    assert!(looked.answered, "{looked}");
    let told = looked.to_string();
    assert!(told.contains("it is known by its hardware alone"), "{told}");
    assert!(!told.contains("add it to the hosts file"), "{told}");
}

#[test]
fn a_disabled_node_gets_no_offer_and_is_told_so() {
    let mut site = Site::new(&[("n1", "")], "10.0.0.1 n1\n");
    let beside = |file: &str, text: &str| fs::write(site.folder.path().join(file), text).unwrap();
    beside("cfg.hardware", "n1 mac=52:54:00:00:00:01\n");
    beside("cfg.disabled", "n1\n");
    for (unknown, to_all) in [(Unknown::Ignore, false), (Unknown::Default, true)] {
        site.unknown = unknown;
        site.offers = Some(Offers {
            to_all,
            delay: Duration::ZERO,
        });
        for asked in ["n1", "10.0.0.1", "52:54:00:00:00:01"] {
            let looked = site.one(asked, 7);
            assert!(!looked.answered && !looked.offered, "{looked}");
            assert!(
                looked.to_string().contains("it gets no offer either"),
                "{looked}"
            );
        }
    }
}
