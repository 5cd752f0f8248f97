//! The forms of a name that the C library's resolver tries one by one.

use std::fs;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The domains that the resolver tries: those of the last line that lists any (resolv.conf(5)).
pub(super) fn search_list() -> Vec<String> {
    domains(&fs::read_to_string(RESOLV_CONF).unwrap_or_default())
}

fn domains(text: &str) -> Vec<String> {
    let list = |line: &str| {
        let mut words = line.split_whitespace();
        let is_list = matches!(words.next(), Some("search" | "domain"));
        let domains = words.map(|domain| domain.trim_matches('.').to_owned());
        is_list.then(|| domains.filter(|domain| !domain.is_empty()).collect())
    };
    text.lines()
        .filter_map(list)
        .next_back()
        .unwrap_or_default()
}

/// The name as it stands, and in each domain. The dot at the end keeps the resolver from trying
/// others.
pub(super) fn forms<'a>(name: &'a str, domains: &'a [String]) -> impl Iterator<Item = String> + 'a {
    let name = name.trim_end_matches('.');
    let within = domains
        .iter()
        .map(move |domain| format!("{name}.{domain}."));
    std::iter::once(format!("{name}."))
        .chain(within)
        .filter(move |_| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_name_is_asked_for() {
        let list = domains("domain a.test\n# search b\nsearch b.test. . c.test\noptions x");
        assert_eq!(list, ["b.test", "c.test"]);
        let of = |name| forms(name, &list).collect::<Vec<_>>();
        assert_eq!(of("n1"), ["n1.", "n1.b.test.", "n1.c.test."]);
        assert_eq!(of("n1.x."), ["n1.x.", "n1.x.b.test.", "n1.x.c.test."]);
        assert_eq!(of("."), [""; 0]);
        assert!(domains("nameserver 10.0.0.1\n").is_empty());
    }
}
