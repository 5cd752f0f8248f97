//! Which group a node is shown in: the smallest one of the groups file that has it, which is its rack
//! rather than its hall; else that of the nodes whose names differ only in the number at their end.

use std::collections::HashMap;

use crate::nodes::selection;

/// The group of each name; empty for one that is in none.
pub(super) fn of(names: &[&str]) -> Vec<String> {
    let mut groups = selection::groups_of(names);
    groups.sort_by_key(|(_, nodes)| std::cmp::Reverse(nodes.len()));
    let mut of_name: HashMap<&str, &str> = HashMap::new();
    for (group, nodes) in &groups {
        of_name.extend(nodes.iter().map(|name| (name.as_str(), group.as_str())));
    }
    let by_name = by_name(names);
    let group = |name: &&str, by_name| match of_name.get(name.to_ascii_lowercase().as_str()) {
        Some(group) => (*group).to_owned(),
        None => by_name,
    };
    let groups = names.iter().zip(by_name);
    groups.map(|(name, by_name)| group(name, by_name)).collect()
}

/// Groups by what stands before the last number; a name that is alone with it is in none.
fn by_name(names: &[&str]) -> Vec<String> {
    let stem = |name: &str| {
        let host = name.split('.').next().unwrap_or_default();
        host.trim_end_matches(|char: char| char.is_ascii_digit())
            .to_owned()
    };
    let stems: Vec<_> = names.iter().map(|name| stem(name)).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for stem in &stems {
        *counts.entry(stem).or_default() += 1;
    }
    let is_alone = |stem: &str| counts.get(stem).is_none_or(|count| *count < 2);
    let groups = stems.iter().map(|stem| {
        if is_alone(stem) {
            String::new()
        } else {
            format!("{stem}*")
        }
    });
    groups.collect()
}

/// The text before the first digit, and the rest.
pub(super) fn text_before_number(text: &str) -> (&str, &str) {
    let end = text.find(|char: char| char.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

/// The digits at the start without leading zeros, and the rest behind them.
pub(super) fn number_at_start(text: &str) -> (&str, &str) {
    let end = text.find(|char: char| !char.is_ascii_digit());
    let (number, rest) = text.split_at(end.unwrap_or(text.len()));
    (number.trim_start_matches('0'), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_grouped_by_what_stands_before_their_number() {
        let names = [
            "rack1-n01",
            "rack1-n02",
            "login",
            "rack2-n1.cluster",
            "rack2-n2",
        ];
        assert_eq!(
            by_name(&names),
            ["rack1-n*", "rack1-n*", "", "rack2-n*", "rack2-n*"]
        );
    }
}
