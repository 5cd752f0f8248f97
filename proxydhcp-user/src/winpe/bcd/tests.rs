use super::network::{Firmware, NetworkBoot, PATH};
use super::*;

fn boot(firmware: Firmware, image: &str) -> NetworkBoot {
    NetworkBoot {
        firmware,
        image: image.to_owned(),
        sdi: r"\winboot\a\Boot\boot.sdi".to_owned(),
        winload: firmware.winload().to_owned(),
        fonts: None,
        locale: "en-US".to_owned(),
        block_size: 1456,
        window_size: 16,
    }
}

#[test]
fn what_is_written_is_read() {
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        for units in [1, 64, 65, 200] {
            let bcd = boot(firmware, &"x".repeat(units)).bcd();
            let bytes = bcd.bytes();
            assert_eq!(Bcd::parse(&bytes).unwrap(), bcd);
            assert_eq!(Bcd::parse(&bytes).unwrap().bytes(), bytes);
        }
    }
}

#[test]
fn the_loader_is_the_default_one_or_the_first() {
    let mut bcd = boot(Firmware::Uefi, r"\x.wim").bcd();
    let path = bcd.loader().unwrap().element(PATH);
    let expected = r"\windows\system32\boot\winload.efi".to_owned();
    assert_eq!(path, Some(&Data::Text(expected)));
    bcd.objects.retain(|object| object.id != Guid::BOOT_MANAGER);
    assert_eq!(bcd.loader().unwrap().id, Guid::LOADER);
    bcd.objects.retain(|object| object.id != Guid::LOADER);
    assert_eq!(bcd.loader(), None);
}

#[test]
fn another_hive_is_told() {
    let hive = hive::write(&Key::default());
    assert_eq!(Bcd::parse(&hive), Err(BcdError::NoObjects));
}

#[test]
fn numbers_may_be_short_and_odd_data_are_kept() {
    let data = |number, bytes: &[u8]| Data::of_element(number, bytes);
    assert_eq!(data(0x2500_0004, &[30]), Data::Integer(30));
    assert_eq!(data(0x2500_0004, &[]), Data::Other(Vec::new()));
    assert_eq!(data(0x2600_0010, &[2]), Data::Boolean(true));
    assert_eq!(data(0x2600_0010, &[1, 0]), Data::Other(vec![1, 0]));
    assert_eq!(data(0x2300_0003, &[65, 0]), Data::Other(vec![65, 0]));
}

#[test]
fn paths_have_backslashes_in_a_bcd() {
    let path = Path::new("winboot/a/Boot/boot.sdi");
    assert_eq!(with_backslashes(path), r"\winboot\a\Boot\boot.sdi");
    assert_eq!(
        below_root(r"\winboot\\a/Boot\x.wim"),
        "winboot/a/Boot/x.wim"
    );
}
