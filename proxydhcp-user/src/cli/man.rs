//! `proxydhcp man`: man pages, from the definition of the command line.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::cli::Cli;
use crate::cli::exit::{Exit, TABLE};
use crate::cli::output::print;

mod formats;

/// When the manual was last changed.
const DATE: &str = "2026-11-30";

/// The program, and the file of its first page.
const PROGRAM: &str = "proxydhcp";

/// Arguments of `man`.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// The page to print, such as proxydhcp-serve or proxydhcp.toml
    #[arg(default_value = PROGRAM)]
    pub page: String,
    /// Write all pages below this folder, into man5 and man8, which are created if necessary
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// A page.
struct Page {
    name: String,
    section: &'static str,
    text: String,
}

/// Prints a page, or writes all pages below a folder.
///
/// # Errors
///
/// If there is no such page, or one cannot be written.
pub(super) fn run(args: &ManArgs) -> Result<ExitCode> {
    let pages = pages()?;
    if let Some(folder) = &args.dir {
        for page in &pages {
            let folder = folder.join(format!("man{}", page.section));
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
            let file = folder.join(format!("{}.{}", page.name, page.section));
            fs::write(&file, &page.text)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        return Ok(Exit::Done.into());
    }
    let Some(page) = pages.iter().find(|page| page.name == args.page) else {
        let names: Vec<_> = pages.iter().map(|page| page.name.as_str()).collect();
        bail!(
            "there is no page {}; the pages are {}",
            args.page,
            names.join(", ")
        );
    };
    print(&page.text);
    Ok(Exit::Done.into())
}

/// All pages.
fn pages() -> Result<Vec<Page>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    of_command(&program, &mut pages)?;
    pages.extend(formats::pages());
    Ok(pages)
}

/// Adds the pages of a command and of its subcommands.
fn of_command(command: &Command, pages: &mut Vec<Page>) -> Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section("8")
        .date(DATE)
        .source(concat!("proxydhcp ", env!("CARGO_PKG_VERSION")))
        .manual("proxydhcp");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut end = Roff::new();
    let help = command.get_after_help().map(ToString::to_string);
    let (notes, examples) = divide(&help.unwrap_or_default());
    as_is(&mut end, "NOTES", &notes);
    as_is(&mut end, "EXAMPLES", &examples);
    exit_status(&mut end);
    formats::files(&mut end);
    see_also(&mut end, command, name);
    end.to_writer(&mut text)?;
    pages.push(Page {
        name: name.to_owned(),
        section: "8",
        text: String::from_utf8(text)?,
    });
    let mut commands = command.get_subcommands();
    commands.try_for_each(|command| of_command(command, pages))
}

/// Divides what follows the options in a help text into the examples and the rest.
fn divide(help: &str) -> (String, String) {
    let (mut notes, mut examples) = (String::new(), String::new());
    let mut are_examples = false;
    for line in help.lines() {
        if line == "Examples:" {
            are_examples = true;
            continue;
        }
        are_examples &= line.starts_with("  ");
        let part = if are_examples {
            &mut examples
        } else {
            &mut notes
        };
        *part += line;
        part.push('\n');
    }
    (notes.trim().to_owned(), examples)
}

/// Adds a section whose lines stay as they are.
fn as_is(roff: &mut Roff, title: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    roff.control("SH", [title]);
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
}

/// Adds an entry of a list: a term, and what it means.
fn entry(roff: &mut Roff, term: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text([roman(meaning)]);
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in TABLE {
        entry(roff, &exit.code().to_string(), &meaning.replace('`', ""));
    }
}

/// Adds the pages that a reader of this one may want next.
fn see_also(roff: &mut Roff, command: &Command, name: &str) {
    roff.control("SH", ["SEE ALSO"]);
    let mut pages: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_display_name().unwrap_or(command.get_name()))
        .map(|name| format!("{name}(8)"))
        .collect();
    if let Some((above, _)) = name.rsplit_once('-').filter(|_| name != PROGRAM) {
        pages.insert(0, format!("{above}(8)"));
    }
    pages.extend(formats::NAMES.map(|name| format!("{name}(5)")));
    let last = pages.len();
    for (number, page) in (1..).zip(&pages) {
        let comma = if number < last { "," } else { "" };
        roff.text([italic(page), roman(comma)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_what_a_reader_looks_for() {
        let pages = pages().unwrap();
        let names: Vec<_> = pages
            .iter()
            .map(|page| format!("{}.{}", page.name, page.section))
            .collect();
        for name in [
            "proxydhcp.8",
            "proxydhcp-serve.8",
            "proxydhcp-node-set.8",
            "proxydhcp.toml.5",
            "proxydhcp.cfg.5",
        ] {
            assert!(names.iter().any(|it| it == name), "{name}: {names:?}");
        }
        for page in &pages {
            let name = &page.name;
            let mut wanted = vec!["NAME", "DESCRIPTION", "SEE ALSO"];
            if page.section == "8" {
                wanted.extend(["SYNOPSIS", "EXAMPLES", "\"EXIT STATUS\"", "FILES"]);
            }
            for section in wanted {
                let head = format!("\n.SH {section}\n").replace("SEE ALSO", "\"SEE ALSO\"");
                assert!(
                    page.text.contains(&head),
                    "{name} lacks {section}: {}",
                    page.text
                );
            }
            assert!(
                page.text.contains(DATE) && !page.text.contains(".SH EXTRA"),
                "{name}"
            );
        }
    }

    #[test]
    fn examples_and_notes_are_told_apart() {
        let help = "Before.\n\nExamples:\n  one\n  two\n\nBehind.";
        let (notes, examples) = divide(help);
        assert_eq!(notes, "Before.\n\n\nBehind.");
        assert_eq!(examples, "  one\n  two\n");
    }
}
