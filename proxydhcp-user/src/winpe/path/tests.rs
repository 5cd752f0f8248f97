use proptest::prelude::*;

use super::*;

fn parse(path: &str) -> Result<WinPe, WinPeError> {
    WinPe::parse(path.as_bytes(), Rules::within(Path::new("/tftpboot")))
}

#[test]
fn the_default_winpe_is_the_root() {
    for path in ["", "/tftpboot", "/tftpboot/", "//tftpboot//"] {
        let winpe = parse(path).unwrap();
        assert_eq!(winpe, WinPe::default());
        assert_eq!(winpe.loader("Boot/pxeboot.0"), "Boot/pxeboot.0");
        assert_eq!(winpe.loader("Boot/bootmgfw.efi"), "Boot/bootmgfw.efi");
        assert_eq!(winpe.bcds(&Loaders::default()), ["Boot/BCD"]);
    }
}

#[test]
fn uefi_reads_its_own_bcd_where_there_is_one() {
    let root = tempfile::tempdir().unwrap();
    let rules = Rules::within(root.path());
    let bcds = |path: &'static str| {
        let mut winpes = WinPes::new(rules);
        let index = winpes.index(path.as_bytes()).unwrap();
        winpes.list[index].bcds(rules.loaders)
    };
    for (path, folder) in [("winboot/x", "winboot/x/"), ("", "")] {
        let boot = root.path().join(folder).join("Boot");
        std::fs::create_dir_all(&boot).unwrap();
        assert_eq!(bcds(path), [format!("{folder}Boot/BCD")]);
        std::fs::write(boot.join("BCD-uefi"), "").unwrap();
        let both = ["BCD", "BCD-uefi"].map(|file| format!("{folder}Boot/{file}"));
        assert_eq!(bcds(path), both);
    }
}

#[test]
fn relative_and_absolute_paths_mean_the_same() {
    let paths = [
        "winboot/x",
        "winboot/x/",
        "/tftpboot/winboot/x",
        "/tftpboot/winboot/x/",
        "//tftpboot//winboot/x",
    ];
    for path in paths {
        let winpe = parse(path).unwrap();
        assert_eq!(winpe.path(), "winboot/x/");
        assert_eq!(winpe.loader("Boot/pxeboot.0"), "winboot/x/Boot/pxeboot.0");
        assert_eq!(
            winpe.loader("Boot/bootmgfw.efi"),
            "winboot/x/Boot/bootmgfw.efi"
        );
        assert_eq!(winpe.bcds(&Loaders::default()), ["winboot/x/Boot/BCD"]);
    }
}

#[test]
fn the_root_may_be_deep_or_the_file_system_itself() {
    let deep = Path::new("/srv/tftp/");
    assert_eq!(
        WinPe::parse(b"/srv/tftp/w", Rules::within(deep))
            .unwrap()
            .path(),
        "w/"
    );
    assert!(WinPe::parse(b"/srv", Rules::within(deep)).is_err());
    assert!(WinPe::parse(b"/srv/w", Rules::within(deep)).is_err());
    assert_eq!(
        WinPe::parse(b"/w", Rules::within(Path::new("/")))
            .unwrap()
            .path(),
        "w/"
    );
}

#[test]
fn absolute_paths_outside_the_root_are_refused() {
    for path in [
        "/",
        "/tftpbootx/winboot",
        "/tftp",
        "/etc/tftpboot",
        "/winboot/x",
    ] {
        let error = parse(path).unwrap_err();
        assert!(
            matches!(error, WinPeError::Outside { .. }),
            "{path}: {error}"
        );
        assert!(error.to_string().contains("/tftpboot"), "{error}");
    }
}

#[test]
fn parent_components_are_refused_and_dots_in_names_are_not() {
    for path in [
        "..",
        "../x",
        "winboot/../x",
        "winboot/..",
        "/tftpboot/../etc",
        r"winboot\..\x",
    ] {
        assert_eq!(parse(path), Err(WinPeError::Parent(path.to_owned())));
    }
    assert_eq!(parse("winboot/..x/y..").unwrap().path(), "winboot/..x/y../");
}

#[test]
fn what_windows_users_write_is_understood_or_refused_with_the_right_form() {
    for path in [
        r"winboot\x",
        r"winboot\x\",
        r"\winboot\x",
        r"\tftpboot\winboot\x",
        "./winboot/./x",
        "winboot//x//",
        " winboot/x ",
        "winboot/x/Boot",
        r"winboot\x\Boot\",
        "/tftpboot/./winboot//x/Boot/",
    ] {
        assert_eq!(parse(path).unwrap().path(), "winboot/x/", "{path}");
    }
    for path in ["Boot", "/tftpboot/Boot", ".", "  "] {
        assert_eq!(parse(path).unwrap().path(), "", "{path}");
    }
    // Another folder, to which letter case matters.
    assert_eq!(parse("winboot/boot").unwrap().path(), "winboot/boot/");
    for (path, form) in [
        (r"C:\winboot\x", "such as winboot/x"),
        ("d:/winboot/x/", "such as winboot/x"),
        ("x:winboot/x", "such as winboot/x"),
        ("X:", "such as winboot/x"),
    ] {
        let error = parse(path).unwrap_err().to_string();
        assert!(error.contains("drive letter"), "{error}");
        assert!(error.ends_with(form), "{error}");
    }
}

#[test]
fn a_winpe_that_is_itself_called_boot_stays_one() {
    let root = tempfile::tempdir().unwrap();
    let rules = Rules::within(root.path());
    let parsed = || WinPe::parse(b"winboot/Boot", rules).unwrap();
    assert_eq!(parsed().path(), "winboot/");
    std::fs::create_dir_all(root.path().join("winboot/Boot/Boot")).unwrap();
    assert_eq!(parsed().path(), "winboot/Boot/");
}

#[test]
fn what_is_not_printable_text_is_refused() {
    assert_eq!(parse("winboot/\nx"), Err(WinPeError::Control));
    assert_eq!(parse("winboot/\u{85}x"), Err(WinPeError::Control));
    assert_eq!(
        WinPe::parse(b"winboot/\xff", Rules::within(Path::new("/tftpboot"))),
        Err(WinPeError::NotText)
    );
    assert_eq!(parse("winboot/ä b").unwrap().path(), "winboot/ä b/");
}

#[test]
fn the_longest_loader_decides_how_long_a_path_may_be() {
    let longest = parse(&"x".repeat(109)).unwrap();
    assert_eq!(longest.loader("Boot/bootmgfw.efi").len(), 127);
    let error = parse(&format!("{}/", "x".repeat(110))).unwrap_err();
    assert!(
        matches!(error, WinPeError::TooLong { length: 128, .. }),
        "{error}"
    );
    assert!(error.to_string().ends_with("1 shorter"), "{error}");
    assert!(matches!(
        parse(&"x".repeat(110)),
        Err(WinPeError::TooLong { length: 128, .. })
    ));
    assert!(matches!(
        parse(&"x".repeat(150)),
        Err(WinPeError::TooLong { length: 168, .. })
    ));
    // Only the part that is sent counts.
    let root = format!("/{}", "r".repeat(120));
    assert_eq!(
        WinPe::parse(
            format!("{root}/x").as_bytes(),
            Rules::within(Path::new(&root))
        )
        .unwrap()
        .path(),
        "x/"
    );
}

proptest! {
    #[test]
    fn any_accepted_path_fits_its_replies(path in "(/tftpboot)?[ -~]{0,150}") {
        if let Ok(winpe) = parse(&path) {
            prop_assert!(winpe.path().is_empty() || winpe.path().ends_with('/'));
            prop_assert!(!winpe.path().starts_with('/'));
            prop_assert!(winpe.loader("Boot/bootmgfw.efi").len() <= FILE_TEXT);
            prop_assert!(winpe.loader("Boot/pxeboot.0").len() <= FILE_TEXT);
        }
    }
}
