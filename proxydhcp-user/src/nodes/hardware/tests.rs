use super::*;

/// The addresses of a name in a file, separated by spaces.
fn of(text: &str, name: &str) -> String {
    let list = MacList::parse(text);
    let macs: Vec<_> = list.of(name).iter().map(ToString::to_string).collect();
    macs.join(" ")
}

/// The lines that are left out, and why.
fn left_out(text: &str) -> Vec<(usize, String)> {
    MacList::parse(text).left_out
}

const MAC: &str = "52:54:00:12:34:56";

#[test]
fn an_address_has_many_forms() {
    for form in [
        "52:54:00:12:34:56",
        "52:54:0:12:34:56",
        "52-54-00-12-34-56",
        "52.54.00.12.34.56",
        "5254.0012.3456",
        "5254:0012:3456",
        "5254-0012-3456",
        "525400-123456",
        "525400:123456",
        "525400123456",
    ] {
        for text in [form.to_owned(), form.to_uppercase()] {
            assert_eq!(of(&format!("n1 {text}"), "n1"), MAC, "{text}");
            assert_eq!(of(&format!("{text}\tn1.cluster"), "n1"), MAC, "{text}");
        }
    }
    for text in [
        "52:54:00:12:34",
        "5254.0012.345",
        "52:54-00:12:34:56",
        "52540012345g",
        "5254001234567",
        "1.2.3.4.5.6",
    ] {
        assert_eq!(left_out(&format!("n1 {text}")).len(), 1, "{text}");
    }
}

#[test]
fn other_columns_mean_nothing() {
    for line in [
        "n1 eth0 525400123456",
        "n1 525400123456 rack3 slot 7",
        "525400123456 n1 rack3",
        "\"n1\",\"eth0\",\"52:54:00:12:34:56\",,",
        "n1;52:54:00:12:34:56;rack 3",
        "n1, 5254.0012.3456 # fans",
    ] {
        assert_eq!(of(line, "n1"), MAC, "{line}");
        assert_eq!(left_out(line), [], "{line}");
    }
    // A name of hexadecimal digits alone.
    assert_eq!(
        of("deadbeef0001 52:54:00:12:34:56 rack3", "deadbeef0001"),
        MAC
    );
    assert_eq!(of("52:54:00:12:34:56 deadbeef0001", "deadbeef0001"), MAC);
}

#[test]
fn a_line_may_have_several_addresses() {
    let two = "52:54:00:12:34:56 52:54:00:12:34:57";
    assert_eq!(of(&format!("n1 {two}"), "n1"), two);
    let table = "#node,interface,mac,comments,disable\n\
        \"n1\",,\"52:54:00:12:34:56|52:54:00:12:34:57!n1-ib0|52:54:00:12:34:58!*NOIP*\",,\n";
    assert_eq!(
        of(table, "n1"),
        "52:54:00:12:34:56 52:54:00:12:34:57 52:54:00:12:34:58"
    );
    assert_eq!(of(table, "n1-ib0"), "52:54:00:12:34:57");
    assert_eq!(left_out(table), []);
    let lines = "n1 52:54:00:12:34:56\nN1.cluster 52:54:00:12:34:57\nn1 525400123456\n";
    assert_eq!(of(lines, "n1"), two);
}

#[test]
fn what_is_left_out_is_told_and_the_rest_is_taken() {
    let ipoib = "80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1";
    let text = format!(
        "\u{1}n9 52:54:00:12:34:59\nn1 52:54:00:12:34:56\nn2 {ipoib}\nn3\n52:54:00:12:34:58\n\
         n4 01:00:5e:00:00:01\nn5 00:00:00:00:00:00\nn6 52:54:00:12:34:56\n\
         n7 f4:52:14:03:00:7b:cb:a1 52:54:00:12:34:57\n"
    );
    let told = left_out(&text);
    let expected = [
        (1, "the name has a control character"),
        (3, "an address of 20 bytes"),
        (4, "there is no hardware address beside n3"),
        (5, "there is no name beside the hardware address"),
        (6, "01:00:5e:00:00:01 is not the address of a card"),
        (7, "00:00:00:00:00:00 is not the address of a card"),
        (8, "52:54:00:12:34:56 is an address of n1 already"),
        (9, "an address of 8 bytes"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((line, why), (number, said)) in told.iter().zip(expected) {
        assert_eq!(*line, number, "{why}");
        assert!(why.starts_with(said), "{why}");
    }
    assert_eq!(of(&text, "n1"), MAC);
    assert_eq!(of(&text, "n7"), "52:54:00:12:34:57");
    assert_eq!(of(&text, "n6"), "");
}
