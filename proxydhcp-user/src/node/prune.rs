//! `proxydhcp node prune`: which nodes nobody knows any more.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::args::PruneArgs;
use crate::cfg::disabled::Disabled;
use crate::cfg::file::{self, FileError};
use crate::cfg::{self, Denied};
use crate::resolve::{self, Lookup};
use crate::status::{SHOWN, and_more};
use crate::table::mentioned;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long the resolver may take for all names together.
const LIMIT: Duration = Duration::from_mins(1);

/// The names that neither the hosts file nor the resolver knows. Tells on stderr of those that the
/// resolver could not be asked for.
pub(super) fn names(args: &PruneArgs) -> Result<Vec<String>> {
    let (unmentioned, total) = unmentioned(args)?;
    let (gone, failed) = ask(unmentioned)?;
    if !failed.is_empty() {
        let first = failed.get(..SHOWN).unwrap_or(&failed);
        let more = and_more(failed.len() - first.len());
        eprintln!(
            "proxydhcp: the resolver could not be asked for these nodes, which stay: {}{more}",
            first.join(", ")
        );
    }
    if gone.len() == total && total > 0 {
        bail!(
            "not one of the {total} nodes is known any more; check {} and the resolver, \
             or remove the nodes by `proxydhcp node rm`",
            args.hosts.display()
        );
    }
    Ok(gone)
}

/// The nodes that the hosts file does not have, and how many there are altogether.
fn unmentioned(args: &PruneArgs) -> Result<(Vec<String>, usize)> {
    let files = &args.change.files;
    let config = cfg::read(&files.config)?;
    let disabled = Disabled::read(&files.config)?;
    let mut nodes = cfg::parse(&config, &files.tftp_root, &files.loaders);
    nodes.deny(disabled.names().map(|name| Denied { number: None, name }));
    let hosts = hosts(&args.hosts)?;
    let mentioned = mentioned(&nodes, &args.suffixes, &hosts);
    let total = mentioned.len();
    let names = nodes
        .records
        .iter()
        .map(|record| record.name)
        .chain(nodes.denied.iter().map(|node| node.name));
    let names = names.zip(mentioned).filter(|(_, mentioned)| !mentioned);
    Ok((names.map(|(name, _)| name.to_owned()).collect(), total))
}

fn hosts(path: &Path) -> Result<Vec<u8>> {
    match file::read(path, |_| true) {
        // All nodes could be in the DNS. But more likely it is a slip, and a costly one.
        Err(FileError::Missing(path)) => bail!(
            "{}: no such file; name the hosts file by --hosts, if only an empty one",
            path.display()
        ),
        bytes => Ok(bytes?),
    }
}

/// Those of the names that the resolver denies, in the order given, and those that it could not be
/// asked for.
fn ask(names: Vec<String>) -> Result<(Vec<String>, Vec<String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("cannot start the runtime")?;
    let domains = search_list(&fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    let mut questions: HashMap<String, Vec<usize>> = HashMap::new();
    let mut answers: Vec<Answers> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let mut answers_to_name = Answers::default();
        for question in questions_for(name, &domains) {
            questions.entry(question).or_default().push(index);
            answers_to_name.missing += 1;
        }
        answers.push(answers_to_name);
    }
    runtime.block_on(async {
        let mut stream = resolve::addresses(questions.keys().cloned().collect()).boxed();
        let answered = async {
            while let Some((question, answer)) = stream.next().await {
                for &index in questions.get(&question).into_iter().flatten() {
                    if let Some(answers) = answers.get_mut(index) {
                        answers.take(&answer);
                    }
                }
            }
        };
        // What is not answered by then is not known to be gone.
        let _ = timeout(LIMIT, answered).await;
    });
    // A question that the resolver has not answered is not waited for.
    runtime.shutdown_background();
    let (mut gone, mut failed) = (Vec::new(), Vec::new());
    for (name, answers) in names.into_iter().zip(answers) {
        match answers {
            Answers { found: true, .. } => {}
            Answers { missing: 0, .. } => gone.push(name),
            Answers { .. } => failed.push(name),
        }
    }
    Ok((gone, failed))
}

/// What the resolver has said of a name.
#[derive(Default)]
struct Answers {
    found: bool,
    /// Questions that have no answer.
    missing: usize,
}

impl Answers {
    fn take<T>(&mut self, answer: &Lookup<T>) {
        match answer {
            Lookup::Found(_) => self.found = true,
            Lookup::Unknown => self.missing -= 1,
            Lookup::Failed(_) => {}
        }
    }
}

/// The name as everybody asks for it, and in each form that the resolver then tries: of several forms
/// it tells what it heard last, which may be that there is no such name though it got no answer for
/// another. A form that ends in a dot is the only one.
fn questions_for<'a>(name: &'a str, domains: &'a [String]) -> impl Iterator<Item = String> + 'a {
    let full = name.trim_end_matches('.');
    let forms = domains
        .iter()
        .map(move |domain| format!("{full}.{domain}."));
    [name.to_owned(), format!("{full}.")]
        .into_iter()
        .chain(forms)
}

/// The domains that the resolver tries: those of the last line that has some (resolv.conf(5)).
fn search_list(text: &str) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_name_is_asked_for() {
        let domains = search_list("domain a.test\n# search b\nsearch b.test. . c.test\noptions x");
        assert_eq!(domains, ["b.test", "c.test"]);
        let questions: Vec<_> = questions_for("n1", &domains).collect();
        assert_eq!(questions, ["n1", "n1.", "n1.b.test.", "n1.c.test."]);
        assert!(search_list("nameserver 10.0.0.1\n").is_empty());
    }
}
