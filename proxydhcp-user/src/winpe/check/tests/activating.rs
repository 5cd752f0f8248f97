use super::*;
use crate::cli::{ConfigArgs, RootArgs};
use crate::winpe::activate::{plan, put};

fn record(name: &str, path: &str) -> Vec<u8> {
    let mut record = name.as_bytes().to_vec();
    record.resize(50, 0);
    record.extend(path.as_bytes());
    record.resize(200, 0);
    record
}

fn tree(records: &[(&str, &str)]) -> Tree {
    let tree = Tree::new();
    let records = records.iter().flat_map(|(name, path)| record(name, path));
    tree.write("proxydhcp.cfg", &records.collect::<Vec<_>>());
    fs::remove_file(tree.path("bootmgr.exe")).unwrap();
    tree
}

fn activate(tree: &Tree, name: &str, nodes: &[&str]) -> Result<Vec<String>> {
    let folder = folder(tree.root(), &loaders(), name)?;
    let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    let config = ConfigArgs {
        config: tree.path("proxydhcp.cfg"),
        root: RootArgs {
            tftp_root: tree.root().to_owned(),
            loaders: loaders(),
        },
    };
    let copies = plan(&folder, &nodes, &config)?;
    put(&copies)?;
    let below = |path: &Path| {
        path.strip_prefix(tree.root())
            .unwrap()
            .display()
            .to_string()
    };
    Ok(copies.iter().map(|copy| below(&copy.to)).collect())
}

#[test]
fn the_bcd_and_the_boot_manager_are_put_in_place_once() {
    let tree = tree(&[("n1", "winboot/a/"), ("N2", "winboot/a")]);
    assert_eq!(
        activate(&tree, "a", &["n1", "n2"]).unwrap(),
        ["Boot/BCD", "bootmgr.exe"]
    );
    let same =
        |one, other| fs::read(tree.path(one)).unwrap() == fs::read(tree.path(other)).unwrap();
    assert!(same("Boot/BCD", "winboot/a/Boot/BCD"));
    assert!(same("bootmgr.exe", "winboot/a/bootmgr.exe"));
    let mode = fs::metadata(tree.path("Boot/BCD"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(
        fs::read_dir(tree.path("Boot")).unwrap().count(),
        1,
        "nothing is left over"
    );
    assert_eq!(activate(&tree, "a", &["n1"]).unwrap(), [""; 0]);
    tree.write("Boot/BCD", b"regf of another");
    assert_eq!(activate(&tree, "a", &["n1"]).unwrap(), ["Boot/BCD"]);
}

#[test]
fn nodes_of_different_winpes_change_nothing() {
    let tree = tree(&[
        ("n1", "winboot/a/"),
        ("n2", "winboot/b/"),
        ("n3", ""),
        ("n4", "../x"),
    ]);
    let error = activate(&tree, "a", &["n1", "n2", "n3", "n4", "n5"])
        .unwrap_err()
        .to_string();
    for text in [
        "nothing was changed",
        "n2 boots winboot/b/",
        "n3 boots the default WinPE",
        "the record of n4 is refused",
        "n5 has no record; run nodeset",
    ] {
        assert!(error.contains(text), "{text}: {error}");
    }
    assert!(!tree.path("Boot").exists() && !tree.path("bootmgr.exe").exists());
}

#[test]
fn what_cannot_be_copied_changes_nothing() {
    let files = [
        ("winboot/a/Boot/BCD", "bcdonly"),
        ("winboot/a/bootmgr.exe", "bootmgr.exe"),
    ];
    for (file, text) in files {
        let tree = tree(&[("n1", "winboot/a/")]);
        fs::remove_file(tree.path(file)).unwrap();
        let error = activate(&tree, "a", &["n1"]).unwrap_err().to_string();
        assert!(error.contains("missing") && error.contains(text), "{error}");
        tree.write(file, b"<html>");
        let error = activate(&tree, "a", &["n1"]).unwrap_err().to_string();
        assert!(error.contains("does not begin with"), "{error}");
        assert!(!tree.path("Boot").exists() && !tree.path("bootmgr.exe").exists());
    }
    let tree = tree(&[("n1", "winboot/a/")]);
    tree.write("boot/BCD", b"regf");
    let error = activate(&tree, "a", &["n1"]).unwrap_err().to_string();
    assert!(error.contains("wrong letter case: mv "), "{error}");
    assert!(activate(&tree, "Boot", &["n1"]).is_err());
}
