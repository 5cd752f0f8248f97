//! The fuzz target's checks, on random texts: in every test run, without a fuzzer.

use proptest::prelude::*;

#[path = "../../fuzz/checks/noderange.rs"]
mod check;

proptest! {
    #[test]
    fn any_text(text in any::<String>()) {
        check::noderange(text.as_bytes());
    }

    #[test]
    fn near_noderanges(text in r"[n0-3@^/.,:+\[\](){}|\\ -]{0,30}(\n[a-c]: [n0-9@a-c,^/\[\]-]{0,12}){0,4}") {
        check::noderange(text.as_bytes());
    }

    #[test]
    fn pieces_of_noderanges(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "n1", "n[1-9", "]", "[", "n01-n10", "+3", ",", "-", "@a", "\na: @b", "\nb: @a,n1",
                "^f", "/n.*", "/(", "99999999999", "0-", "n[0-999]", "[00-99]", ":", "é", "\t", "#",
            ]),
            0..12,
        ),
    ) {
        check::noderange(pieces.concat().as_bytes());
    }
}
