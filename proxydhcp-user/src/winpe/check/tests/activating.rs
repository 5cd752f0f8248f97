use super::*;
use crate::winpe::activate::{plan, put, target};

fn tree() -> Tree {
    let tree = Tree::new();
    fs::remove_file(tree.path("bootmgr.exe")).unwrap();
    tree
}

fn activate(tree: &Tree, name: &str) -> Result<Vec<String>> {
    let folder = folder(name, tree.rules())?;
    let copies = plan(target(&folder)?, tree.root())?;
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
    let tree = tree();
    assert_eq!(activate(&tree, "a").unwrap(), ["Boot/BCD", "bootmgr.exe"]);
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
    assert_eq!(activate(&tree, "a").unwrap(), [""; 0]);
    tree.write("Boot/BCD", b"regf of another");
    assert_eq!(activate(&tree, "a").unwrap(), ["Boot/BCD"]);
}

#[test]
fn what_cannot_be_copied_changes_nothing() {
    let files = [
        ("winboot/a/Boot/BCD", "make it again with"),
        ("winboot/a/bootmgr.exe", "bootmgr.exe"),
    ];
    for (file, text) in files {
        let tree = tree();
        fs::remove_file(tree.path(file)).unwrap();
        let error = activate(&tree, "a").unwrap_err().to_string();
        assert!(error.contains("missing") && error.contains(text), "{error}");
        tree.write(file, b"<html>");
        let error = activate(&tree, "a").unwrap_err().to_string();
        assert!(error.contains("does not begin with"), "{error}");
        assert!(!tree.path("Boot").exists() && !tree.path("bootmgr.exe").exists());
    }
    let tree = tree();
    tree.write("boot/BCD", b"regf");
    let error = activate(&tree, "a").unwrap_err().to_string();
    assert!(error.contains("wrong letter case: mv "), "{error}");
    assert!(activate(&tree, "Boot").is_err());
}
