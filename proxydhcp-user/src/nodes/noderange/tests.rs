use std::fmt::Write;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

const GROUPS: &str = "\
# racks
rack1: n[1-3]
rack2: n[4-6],-n5   # one is broken

both: @rack1, @rack2
both: login1
empty:
circle: @around
around: n1,@circle
wrong: n[1-2],n[3-2]
m1: x1
file: ^/nodes
";

fn known() -> Known {
    Known::new(["n1", "n2", "n10", "m1", "n1-ib0"].into_iter())
}

fn read(path: &Path) -> Result<String, String> {
    match path.to_str() {
        Some("/nodes") => {
            Ok("# mine\nn7 # the seventh\n\n  n[8-9]\n-n8\n@rack1\n/m.*\n".to_owned())
        }
        Some("/nested") => Ok("n1\n^/nodes\n".to_owned()),
        _ => Err(format!("{}: no such file", path.display())),
    }
}

fn try_expand(range: &str) -> Result<Vec<String>, Box<RangeError>> {
    let groups = Groups::parse("/etc/groups", GROUPS).unwrap();
    let known = known();
    let context = Context {
        known: &known,
        groups: Some(&groups),
        read: &read,
    };
    expand(range, &context)
}

/// The names, separated by spaces.
fn names(range: &str) -> String {
    match try_expand(range) {
        Ok(names) => names.join(" "),
        Err(error) => panic!("{error}"),
    }
}

fn fault(range: &str) -> Fault {
    try_expand(range).unwrap_err().fault
}

#[test]
fn names_keep_their_order_and_come_once() {
    assert_eq!(names("n5,n1,n5,n1"), "n5 n1");
    assert_eq!(names(" n5 , n1 "), "n5 n1");
    assert_eq!(names("n1.cluster,n_2,node-01"), "n1.cluster n_2 node-01");
}

#[test]
fn brackets_keep_zeros() {
    assert_eq!(names("n[01-03]"), "n01 n02 n03");
    assert_eq!(names("n[01:03]"), "n01 n02 n03");
    assert_eq!(names("n[01,03,05-07]"), "n01 n03 n05 n06 n07");
    assert_eq!(names("n[9-11]"), "n9 n10 n11");
    assert_eq!(names("n[098-101]-ib"), "n098-ib n099-ib n100-ib n101-ib");
    assert_eq!(
        names("n[08-11].cluster"),
        "n08.cluster n09.cluster n10.cluster n11.cluster"
    );
    assert_eq!(names("n[99-101]"), "n99 n100 n101");
    assert_eq!(names("n[00-01]"), "n00 n01");
    assert_eq!(names("[10-11]"), "10 11");
}

#[test]
fn several_brackets_are_multiplied() {
    assert_eq!(names("f[1-2]n[1-3]"), "f1n1 f1n2 f1n3 f2n1 f2n2 f2n3");
    assert_eq!(names("[1-2][3,4]"), "13 14 23 24");
    assert_eq!(names("r[1-2]-n[1]x"), "r1-n1x r2-n1x");
}

#[test]
fn ranges_of_whole_names_differ_in_one_number() {
    assert_eq!(names("n01-n03"), "n01 n02 n03");
    assert_eq!(names("n01:n03"), "n01 n02 n03");
    assert_eq!(names("n9-n11"), "n9 n10 n11");
    assert_eq!(names("n98-n101"), "n98 n99 n100 n101");
    assert_eq!(names("rack1n1-rack1n3"), "rack1n1 rack1n2 rack1n3");
    assert_eq!(names("rack1-n2-rack3-n2"), "rack1-n2 rack2-n2 rack3-n2");
    assert_eq!(names("n1-ib0:n2-ib0"), "n1-ib0 n2-ib0");
    assert_eq!(names("n1.a-n3.a"), "n1.a n2.a n3.a");
    assert_eq!(names("n5-n5"), "n5");
    // The two sides of the hyphen have different forms, so it is part of a name.
    assert_eq!(
        names("node1-ib0,n1-2,a-b-c,a-b-c-d"),
        "node1-ib0 n1-2 a-b-c a-b-c-d"
    );
}

#[test]
fn a_plus_counts_on() {
    assert_eq!(names("n10+3"), "n10 n11 n12 n13");
    assert_eq!(names("n08+3"), "n08 n09 n10 n11");
    assert_eq!(names("r2n098+2"), "r2n098 r2n099 r2n100");
    assert_eq!(names("n1.cluster2+1"), "n1.cluster2 n2.cluster2");
    assert_eq!(names("n1+0"), "n1");
}

#[test]
fn exclusions_hold_wherever_they_stand() {
    assert_eq!(names("n1-n5,-n3"), "n1 n2 n4 n5");
    assert_eq!(names("-n3,n1-n5"), "n1 n2 n4 n5");
    assert_eq!(names("n[1-6],-n[3-5],n4"), "n1 n2 n6");
    assert_eq!(names("n1-n10,-n3-n5,-/n1.*,-n8+2"), "n2 n6 n7");
    assert_eq!(names("n[1-9],-@rack1,-@both,-^/nodes"), "n5 n8");
    assert_eq!(names("-n1"), "");
}

#[test]
fn files_have_noderanges_and_comments() {
    assert_eq!(names("n0,^/nodes"), "n0 n7 n9 n1 n2 n3 m1");
    // Within a file, an exclusion removes names of the file.
    assert_eq!(names("n8,^/nodes,-n1"), "n8 n7 n9 n2 n3 m1");
    assert_eq!(
        fault("^/none"),
        Fault::File("/none: no such file".to_owned())
    );
    assert_eq!(fault("^"), Fault::Missing);
    let error = try_expand("n1,^/nested").unwrap_err();
    assert_eq!(error.fault, Fault::FileWithin);
    assert_eq!(error.place.as_deref(), Some("line 2 of /nested"));
}

#[test]
fn regular_expressions_fit_whole_known_names() {
    assert_eq!(names("/n.*"), "n1 n2 n10 n1-ib0");
    assert_eq!(names("/n1"), "n1");
    assert_eq!(names("/n[1,2]"), "n1 n2");
    assert_eq!(names(r"/(n|m)1,x,/n\d{2,3}"), "n1 m1 x n10");
    assert_eq!(names("/m|n2"), "n2");
    assert_eq!(names("/nothing"), "");
    assert!(matches!(fault("/n["), Fault::Regex(reason) if reason.contains("unclosed")));
    assert!(matches!(fault("/a{9999999}"), Fault::Regex(_)));
}

#[test]
fn groups_have_an_at_sign() {
    assert_eq!(names("@rack1"), "n1 n2 n3");
    assert_eq!(names("@rack2,@rack1"), "n4 n6 n1 n2 n3");
    assert_eq!(names("@both"), "n1 n2 n3 n4 n6 login1");
    assert_eq!(names("@empty"), "");
    let Fault::UnknownGroup { known, .. } = fault("@rack3") else {
        panic!("there is a group rack3");
    };
    assert!(known.contains("rack1, rack2"), "{known}");
    assert_eq!(fault("@circle"), Fault::Circle("circle".to_owned()));
    assert_eq!(fault("@file"), Fault::FileWithin);
    let mut chain = "g0: n1\n".to_owned();
    for number in 1..10_000 {
        writeln!(chain, "g{number}: @g{}", number - 1).unwrap();
    }
    let chain = Groups::parse("g", &chain).unwrap();
    let all = self::known();
    let context = Context {
        known: &all,
        groups: Some(&chain),
        read: &read,
    };
    let expand = |range| expand(range, &context);
    assert_eq!(expand("@g50").unwrap(), ["n1"]);
    assert_eq!(expand("@g9999").unwrap_err().fault, Fault::GroupDepth);
    assert!(
        Groups::parse("g", "a: n1\nb n2")
            .unwrap_err()
            .to_string()
            .starts_with("g, line 2:")
    );
    assert!(Groups::parse("g", ": n1").is_err());
    assert!(Groups::parse("g", "a,b: n1").is_err());
}

#[test]
fn groups_are_known_without_their_sign() {
    assert_eq!(names("rack1"), "n1 n2 n3");
    assert_eq!(names("n9,rack1,-n2"), "n9 n1 n3");
    assert_eq!(names("n[1-9],-rack1"), "n4 n5 n6 n7 n8 n9");
    // A node of this name comes first.
    assert_eq!(names("m1"), "m1");
    assert_eq!(names("@m1"), "x1");
}

#[test]
fn groups_may_differ_in_numbers() {
    for range in [
        "@rack[1-2]",
        "rack[1-2]",
        "rack1-rack2",
        "@rack1-rack2",
        "rack1+1",
    ] {
        assert_eq!(names(range), "n1 n2 n3 n4 n6", "{range}");
    }
    assert_eq!(names("m[1-2]"), "m1 m2");
    assert!(matches!(fault("@rack[1-3]"), Fault::UnknownGroup { name, .. } if name == "rack3"));
    assert_eq!(fault("@rack[0-9999999]"), Fault::TooMany);
}

#[test]
fn all_are_all_known_nodes() {
    for range in ["all", "@all", "all,n1"] {
        assert_eq!(names(range), "n1 n2 n10 m1 n1-ib0", "{range}");
    }
    assert_eq!(names("all,-n1-n9"), "n10 m1 n1-ib0");
    assert_eq!(names("all@n[1-5]"), "n1 n2");
}

#[test]
fn an_intersection_is_in_both() {
    assert_eq!(names("@rack1@both"), "n1 n2 n3");
    assert_eq!(names("@both@rack2"), "n4 n6");
    assert_eq!(names("n[1-5]@rack2"), "n4");
    assert_eq!(names("n[1-5] @ rack2, n9"), "n4 n9");
    assert_eq!(names("@both@n[2-4]@rack1"), "n2 n3");
    assert_eq!(names("n[1-9],-@both@n[1-4]"), "n5 n6 n7 n8 n9");
    assert_eq!(names("/n.*@rack1"), "n1 n2");
    assert_eq!(names("n1@n2"), "");
    assert!(matches!(fault("n1@nowhere[1-"), Fault::Unclosed));
}

#[test]
fn parentheses_hold_a_noderange() {
    assert_eq!(names("(n1,n2)"), "n1 n2");
    assert_eq!(names("(n1,@rack2)@n[1-4]"), "n1 n4");
    assert_eq!(names("n[1-4],-(n1,n3)"), "n2 n4");
    // An exclusion removes names of its own list.
    assert_eq!(names("(n[1-3],-n2),n2"), "n1 n3 n2");
    assert_eq!(names("((n1),(n2))@(n2,m1)"), "n2");
    assert_eq!(names("(/n(1|2),^/nodes)@n[2-7]"), "n2 n7 n3");
    let deep = |depth| format!("{}n1{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(names(&deep(20)), "n1");
    assert_eq!(fault(&deep(21)), Fault::Depth);
    assert_eq!(fault(&deep(100_000)), Fault::Depth);
}

#[test]
fn where_there_are_no_groups_it_is_said() {
    let known = Known::new(["n1", "a:b"].into_iter());
    let context = Context {
        known: &known,
        groups: None,
        read: &read,
    };
    let fault = |range| expand(range, &context).unwrap_err().fault;
    assert_eq!(fault("@rack1"), Fault::NoGroups);
    assert_eq!(fault("n1@@rack1"), Fault::Missing);
    // A name that is known needs no form.
    assert_eq!(expand("a:b,n1", &context).unwrap(), ["a:b", "n1"]);
}

#[test]
fn the_caret_is_under_the_fault() {
    for (range, message, caret) in [
        ("n[1-3],", "a name is missing here", 7),
        (",n1", "a name is missing here", 0),
        ("n1,,n2", "a name is missing here", 3),
        ("n1, -", "a name is missing here", 5),
        ("n1,@", "a name is missing here", 3),
        ("n1,:", "a name is missing here", 3),
        ("n[1-3", "this bracket is not closed", 1),
        ("f[1-2]n[3,n4", "this bracket is not closed", 7),
        ("n1,n1-3]", "this bracket was not opened", 7),
        ("n[1-]", "a number is expected here", 4),
        ("n[]", "a number is expected here", 2),
        ("n[1,a]", "a number is expected here", 4),
        ("n[1-2-3]", "a number is expected here", 4),
        ("n[[1]]", "a number is expected here", 2),
        ("n1+x", "a number is expected here", 3),
        ("nx+3", "there must be a number before the '+'", 0),
        ("n[1-2]+3", "'+' cannot be in a node name", 6),
        ("n1+2+3", "a number is expected here", 3),
        ("n1,n[10-01]", "the range runs backwards", 5),
        ("n10-n1", "the range runs backwards", 1),
        ("n[1-010]", "different leading zeros", 2),
        ("n[001-10]", "different leading zeros", 2),
        ("n1,m01:n10", "both sides of a range must be alike", 3),
        ("n1:n2:n3", "both sides of a range must be alike", 0),
        ("f1n1-f2n3", "several numbers: use brackets", 0),
        ("10-20", "write names in full", 0),
        ("n1,10", "write names in full", 3),
        ("10+3", "write names in full", 0),
        ("n1 n2", "' ' cannot be in a node name", 2),
        ("n1@", "a name is missing here", 2),
        ("n1@@n2", "a name is missing here", 2),
        ("n1@,n2", "a name is missing here", 2),
        ("(n1,n2", "this parenthesis is not closed", 0),
        ("n1,(n2,(m1)", "this parenthesis is not closed", 3),
        ("n1,()", "a name is missing here", 4),
        ("(n1)n2", "a comma or '@' is expected here", 4),
        ("n1)", "')' cannot be in a node name", 2),
        ("n1(n2)", "'(' cannot be in a node name", 2),
        (
            "n1,mgt==ipmi",
            "attributes of nodes are in xCAT's tables",
            3,
        ),
        (
            "nodetype.os=~rh.*",
            "attributes of nodes are in xCAT's tables",
            0,
        ),
        ("n1,--dry-run", "begins with a letter or a digit", 4),
        ("n[1-99999999999999999999]", "the number is too large", 2),
        ("n18446744073709551615+1", "the number is too large", 0),
        ("n1,n[0-99999999999]", "more than 1000000 names", 3),
        ("n1\u{e4}[1-2]\u{fc},,", "a name is missing here", 10),
    ] {
        let error = try_expand(range).unwrap_err().to_string();
        let lines: Vec<_> = error.lines().collect();
        let [first, second, third] = lines[..] else {
            panic!("{error}");
        };
        assert!(
            first.starts_with("noderange: ") && first.contains(message),
            "{error}"
        );
        assert_eq!(second, format!("  {range}"));
        assert_eq!(third, format!("  {}^", " ".repeat(caret)), "{error}");
    }
}

#[test]
fn a_fault_in_a_group_is_shown_in_its_line() {
    assert_eq!(
        try_expand("n1,@wrong").unwrap_err().to_string(),
        "noderange (group wrong, line 10 of /etc/groups): the range runs backwards: \
         the lower number comes first\n  n[1-2],n[3-2]\n           ^"
    );
}

#[test]
fn control_characters_are_not_shown() {
    let error = try_expand("n1,\x1b[1m\n,n2").unwrap_err();
    assert_eq!(error.fault, Fault::Character('\u{1b}'));
    assert!(
        error
            .to_string()
            .contains("  n1,\u{fffd}[1m\u{fffd},n2\n     ^"),
        "{error}"
    );
}

#[test]
fn a_long_noderange_is_shown_around_its_fault() {
    let range = format!("{}n[2-1]{}", "n1,".repeat(1000), ",n1".repeat(1000));
    let error = try_expand(&range).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert!(
        lines[1].starts_with("  ...") && lines[1].ends_with("..."),
        "{error}"
    );
    assert!(lines[1].len() < 140, "{error}");
    let caret = lines[2].find('^').unwrap();
    assert_eq!(&lines[1][caret..caret + 3], "2-1", "{error}");
}

#[test]
fn no_more_than_a_million_names() {
    assert_eq!(try_expand("n[000000-999999]").unwrap().len(), LIMIT);
    for range in [
        "n[0-1000000]",
        "n[0-999999],m",
        "n[1-600000],-n[1-600000]",
        "n[0-9999]m[0-9999]",
        "n[0-18446744073709551615]",
        "n[0-18446744073709551615,0-18446744073709551615]",
        "a[0-18446744073709551615]b[0-18446744073709551615]",
        "n0+18446744073709551615",
        "n0-n99999999999",
    ] {
        assert_eq!(fault(range), Fault::TooMany, "{range}");
    }
    let long = format!("n[{}1-{}2]", "0".repeat(50), "0".repeat(50));
    assert_eq!(fault(&long), Fault::Long(52));
    assert_eq!(fault(&"n".repeat(51)), Fault::Long(51));

    // Groups that double at each level, and contain no name at all.
    let mut text = "g40:\n".to_owned();
    for level in 0..40 {
        let next = level + 1;
        writeln!(text, "g{level}: @g{next},@g{next}").unwrap();
    }
    let groups = Groups::parse("groups", &text).unwrap();
    let context = Context {
        known: &Known::default(),
        groups: Some(&groups),
        read: &read,
    };
    assert_eq!(expand("@g0", &context).unwrap_err().fault, Fault::TooMany);
}

#[test]
fn a_hundred_thousand_names_are_quick() {
    let started = Instant::now();
    let names = try_expand("n[000001-100000]").unwrap();
    println!("100,000 names in {:?}", started.elapsed());
    assert_eq!(
        (names.len(), names[0].as_str(), names[99_999].as_str()),
        (100_000, "n000001", "n100000")
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        prefix in "[a-z][a-z-]{0,5}",
        suffix in "([a-z.]{1,5})?",
        first in 0..2000_u64,
        more in 0..50_u64,
        width in 0..6_usize,
        excluded in 0..50_u64,
    ) {
        let last = first + more;
        let number = |number: u64| format!("{number:0width$}");
        let name = |n: u64| format!("{prefix}{}{suffix}", number(n));
        let expected: Vec<_> = (first..=last).map(name).collect();
        let bracket = format!("{prefix}[{}-{}]{suffix}", number(first), number(last));
        prop_assert_eq!(&try_expand(&bracket).unwrap(), &expected);
        let colon = format!("{}:{}", name(first), name(last));
        prop_assert_eq!(&try_expand(&colon).unwrap(), &expected);
        let hyphen = format!("{}-{}", name(first), name(last));
        prop_assert_eq!(&try_expand(&hyphen).unwrap(), &expected);
        if suffix.is_empty() || suffix.starts_with('.') {
            let plus = format!("{}+{more}", name(first));
            prop_assert_eq!(&try_expand(&plus).unwrap(), &expected);
        }
        let without = name(first + excluded);
        let left: Vec<_> = expected.into_iter().filter(|name| *name != without).collect();
        prop_assert_eq!(try_expand(&format!("{bracket},-{without}")).unwrap(), left);
    }
}
