//! Images for other machines, what some clients miss, and faults on one line.

use super::*;
use crate::winpe::wim::tests::wim;

#[test]
fn an_image_for_other_machines_than_the_loaders_is_told() {
    let tree = Tree::new();
    let image = "winboot/a/Boot/WinPE_64.wim";
    tree.write(image, &wim(&[9]));
    assert_eq!(tree.findings(), [""; 0]);
    tree.write(image, &wim(&[12]));
    let findings = tree.findings();
    for (file, part) in [
        ("winboot/a/Boot/pxeboot.0: ", "(BIOS, architecture 0)"),
        ("winboot/a/Boot/bootmgfw.efi: ", "which is for ARM64"),
        ("winboot/a/: ", "11 = \"Boot/bootmgfw.efi\" for ARM64"),
    ] {
        let found = |line: &&String| line.starts_with(file) && line.contains(part);
        assert!(
            findings.iter().any(|line| found(&line)),
            "{file}: {findings:#?}"
        );
    }
    assert_eq!(findings.len(), 3, "{findings:#?}");
    // One for ARM64, whose clients are sent to a file that x64 clients are sent to elsewhere.
    let loaders = Loaders::with(&[Change::parse("11", "Boot/bootmgfw.efi").unwrap()]).unwrap();
    let rules = Rules {
        loaders: &loaders,
        ..tree.rules()
    };
    tree.write("winboot/a/Boot/bootmgfw.efi", &program(0x20b, 0xaa64, 10));
    fs::remove_file(tree.path("winboot/a/Boot/pxeboot.0")).unwrap();
    fs::remove_file(tree.path("bootmgr.exe")).unwrap();
    let checked = check(&folder("a", rules).unwrap(), rules);
    assert_eq!(checked.findings, []);
    assert_eq!(checked.loaders[0].file, "winboot/a/Boot/bootmgfw.efi");
    tree.write("winboot/a/Boot/bootmgfw.efi", &program(0x20b, 0x8664, 10));
    let findings = check(&folder("a", rules).unwrap(), rules).findings;
    assert!(
        findings[0].problem.contains("clients need ARM64 (0xaa64)"),
        "{findings:?}"
    );
}

#[test]
fn fonts_and_boot_stl_are_missed_and_those_that_the_bcd_names_are_needed() {
    let tree = Tree::new();
    let notes = || check(&folder("a", tree.rules()).unwrap(), tree.rules()).notes;
    assert_eq!(notes().len(), 2, "{:?}", notes());
    tree.write("winboot/a/Boot/boot.stl", b"x");
    assert!(
        notes()[0].contains("winboot/a/Boot/Fonts/wgl4_boot.ttf"),
        "{:?}",
        notes()
    );
    let mut named = Bcd::parse(&bcd(Firmware::Bios, "winboot/a/Boot/WinPE_64.wim")).unwrap();
    named.objects.last_mut().unwrap().elements.push(Element {
        number: FONT_PATH,
        data: Data::Text(r"\winboot\a\Boot\Fonts".to_owned()),
    });
    tree.write("winboot/a/Boot/BCD", &named.bytes());
    tree.finds(&["winboot/a/Boot/Fonts/wgl4_boot.ttf: missing | copy the fonts from"]);
    tree.write("winboot/a/Boot/Fonts/wgl4_boot.ttf", b"x");
    assert_eq!((tree.findings(), notes()), (vec![], vec![]));
}

#[test]
fn the_fault_of_a_winpe_is_one_line_where_the_root_is_here() {
    let tree = Tree::new();
    let fault = |path: &str| {
        fault(
            &WinPe::parse(path.as_bytes(), tree.rules()).unwrap(),
            tree.rules(),
        )
    };
    assert_eq!(fault("winboot/a"), None);
    let missing = fault("winboot/win12").unwrap();
    assert!(
        missing.starts_with("there is no folder /") && missing.contains("/winboot/win12/;"),
        "{missing}"
    );
    fs::remove_file(tree.path("winboot/a/Boot/BCD")).unwrap();
    fs::remove_file(tree.path("winboot/a/Boot/boot.sdi")).unwrap();
    let two = fault("winboot/a").unwrap();
    assert!(two.contains("a/Boot/BCD: missing and 1 more; "), "{two}");
    let elsewhere = Rules::within(Path::new("/nowhere"));
    let winpe = WinPe::parse(b"winboot/win12", elsewhere).unwrap();
    assert_eq!(super::fault(&winpe, elsewhere), None);
}
