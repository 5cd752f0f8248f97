//! The settings file: TOML whose keys are the flags of `serve`, and the tables `[loaders]` and `[bcd]`.
//!
//! The definition of the command line is the list of keys: values of the file replace the defaults
//! of flags, and are checked as if they stood behind the flag. So each flag of `serve` is a key of
//! the same name, a flag overrides the file, and the file overrides the default.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, value_parser};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use self::error::{Fault, SettingsError};
use crate::sys::file::FileError;
use crate::sys::text_file;
use crate::winpe::loaders::{Change, LoaderError, Loaders};

mod error;

/// The file that is read if no other is named. It may be missing.
pub const DEFAULT_FILE: &str = "/etc/proxydhcp.toml";

/// The flags that make no sense inside the file: that which names it, that which only checks it, and
/// that which asks for a key of it.
const NO_KEYS: [&str; 3] = ["settings", "check", "require-interface"];
/// The table of the loaders, whose key is not a flag.
const LOADERS: &str = "loaders";
/// That of the BCDs that the loaders read.
const BCD: &str = "bcd";

/// The contents of a settings file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SettingsFile {
    /// The values of each key in the file.
    values: BTreeMap<String, Vec<String>>,
    /// The tables `[loaders]` and `[bcd]`, applied to the defaults.
    pub loaders: Loaders,
}

/// A fault, and the byte at which it begins.
type Located = (usize, Fault);

const STRING: &str = "text in quotes";
const STRINGS: &str = "a list of texts in quotes, such as [\"a\", \"b\"]";
const BOOLEAN: &str = "true or false";
const NUMBER: &str = "a number";
const TABLE: &str = "lines such as 7 = \"Boot/bootmgfw.efi\" in a table of that name";

impl SettingsFile {
    /// Reads the file at `path`, else the default one, if it exists. Its keys are the flags of
    /// `flags`, a command.
    ///
    /// # Errors
    ///
    /// If the file is missing though it was named, cannot be read, or is wrong: see
    /// [`SettingsError`].
    pub fn read(path: Option<&Path>, flags: &Command) -> Result<Self, SettingsError> {
        let file = path.unwrap_or(Path::new(DEFAULT_FILE));
        let bytes = match text_file::read(file) {
            Err(FileError::Missing(_)) if path.is_none() => return Ok(Self::default()),
            Err(FileError::Missing(path)) => return Err(SettingsError::Missing(path)),
            read => read?,
        };
        Self::of_bytes(&bytes, file, flags)
    }

    /// Parses the bytes of a settings file; faults refer to it as `file`.
    ///
    /// # Errors
    ///
    /// If the contents are wrong: [`SettingsError::Content`].
    pub fn of_bytes(bytes: &[u8], file: &Path, flags: &Command) -> Result<Self, SettingsError> {
        Self::parse(bytes, flags).map_err(|(at, fault)| {
            let before = bytes.get(..at).unwrap_or(bytes);
            let mut lines = before.rsplit(|&byte| byte == b'\n');
            let last = String::from_utf8_lossy(lines.next().unwrap_or_default());
            SettingsError::Content {
                path: file.to_owned(),
                line: 1 + lines.count(),
                column: 1 + last.chars().count(),
                fault,
            }
        })
    }

    fn parse(bytes: &[u8], flags: &Command) -> Result<Self, Located> {
        let text = str::from_utf8(bytes).map_err(|error| (error.valid_up_to(), Fault::NotText))?;
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (at, Fault::Syntax(error.message().replace('\n', ", ")))
        })?;
        let mut settings = Self::default();
        // In the order of the file, so that its first fault is reported.
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut tables = [(LOADERS, Vec::new()), (BCD, Vec::new())];
        let mut tables_at = 0;
        for (key, value) in entries {
            let name: &str = key.get_ref();
            if let Some(changes) = tables.iter_mut().find(|(table, _)| *table == name) {
                changes.1 = self::changes(changes.0, value)?;
                tables_at = tables_at.max(key.span().start);
                continue;
            }
            let flag = keys(flags)
                .find(|flag| flag.get_long() == Some(name))
                .ok_or_else(|| (key.span().start, unknown(name, flags)))?;
            let values = values(name, flag, value, flags)?;
            settings.values.insert(name.to_owned(), values);
        }
        let [(_, loaders), (_, bcds)] = tables;
        settings.loaders =
            Loaders::with_bcds(&loaders, &bcds).map_err(|error| (tables_at, error.into()))?;
        Ok(settings)
    }

    /// Has the nodes come from one place: from a file that the command line names, though the settings
    /// `path` have a source.
    ///
    /// # Errors
    ///
    /// If the settings name both a file and a source.
    pub(super) fn with_one_origin(
        mut self,
        path: Option<&Path>,
        is_file_given: bool,
    ) -> Result<Self, SettingsError> {
        if self.values.contains_key("source") && self.values.contains_key("config") {
            return Err(SettingsError::Contradiction {
                path: path.unwrap_or(Path::new(DEFAULT_FILE)).to_owned(),
                why: "config and source both say which nodes there are; leave out one of them",
            });
        }
        if is_file_given {
            self.values.remove("source");
        }
        Ok(self)
    }

    /// Sets `key` to `value` unless the file sets it.
    #[must_use]
    pub fn or(mut self, key: &str, value: &str) -> Self {
        let entry = self.values.entry(key.to_owned());
        entry.or_insert_with(|| vec![value.to_owned()]);
        self
    }

    /// The first value of `key`, if the file sets it.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.first().map(String::as_str)
    }

    /// The command, with the file's values as the defaults of its flags and of those of its
    /// subcommands.
    #[must_use]
    pub fn under(&self, command: Command) -> Command {
        command
            .mut_args(
                |flag| match flag.get_long().and_then(|key| self.values.get(key)) {
                    // `lookup` asks the daemon unless its own --config is given, and a `reload` goes by
                    // the daemon's --allow-loss unless it has its own. That of `xcat sync` is another.
                    Some(values)
                        if !["offline", "allow-this-loss", "allow-record-loss"]
                            .contains(&flag.get_id().as_str()) =>
                    {
                        flag.default_values(values)
                    }
                    _ => flag,
                },
            )
            .mut_subcommands(|subcommand| self.under(subcommand))
    }
}

/// The flags that are keys.
pub(super) fn keys(flags: &Command) -> impl Iterator<Item = &Arg> {
    flags
        .get_arguments()
        .filter(|flag| flag.get_long().is_some_and(|long| !NO_KEYS.contains(&long)))
}

fn unknown(key: &str, flags: &Command) -> Fault {
    let mut known: Vec<_> = keys(flags).filter_map(Arg::get_long).collect();
    known.extend([LOADERS, BCD]);
    known.sort_unstable();
    let near = known
        .iter()
        .map(|known| (strsim::jaro_winkler(key, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    Fault::UnknownKey {
        key: key.to_owned(),
        near: near.map_or_else(String::new, |(_, known)| {
            format!(" (did you mean {known}?)")
        }),
        known: known.join(", "),
    }
}

/// The texts of `value`, each checked as if it stood behind the flag.
fn values(
    key: &str,
    flag: &Arg,
    value: &Spanned<DeValue>,
    flags: &Command,
) -> Result<Vec<String>, Located> {
    let one = |value| {
        let text = string(key, STRING, value)?;
        judge(key, text, flags).map_err(|fault| (value.span().start, fault))?;
        Ok(text.to_owned())
    };
    match (flag.get_action(), value.get_ref()) {
        (ArgAction::SetTrue, DeValue::Boolean(is)) => Ok(vec![is.to_string()]),
        (ArgAction::SetTrue, _) => Err(wrong_type(key, BOOLEAN, value)),
        (ArgAction::Append, DeValue::Array(values)) => values.iter().map(one).collect(),
        (ArgAction::Append, _) => Err(wrong_type(key, STRINGS, value)),
        (_, DeValue::Integer(number)) if is_number(flag) => {
            let text = number.to_string();
            judge(key, &text, flags).map_err(|fault| (value.span().start, fault))?;
            Ok(vec![text])
        }
        _ if is_number(flag) => Err(wrong_type(key, NUMBER, value)),
        _ => Ok(vec![one(value)?]),
    }
}

/// Whether the flag's values are numbers, which are written without quotes in the file.
fn is_number(flag: &Arg) -> bool {
    flag.get_value_parser().type_id() == ValueParser::from(value_parser!(u16)).type_id()
}

/// Checks that the flag accepts this text.
fn judge(key: &str, value: &str, flags: &Command) -> Result<(), Fault> {
    let line = [flags.get_name(), &format!("--{key}={value}")];
    let Err(error) = flags.clone().try_get_matches_from(line) else {
        return Ok(());
    };
    if error.kind() == ErrorKind::MissingRequiredArgument {
        // Another key may set what it needs.
        return Ok(());
    }
    let reason = match (error.get(ContextKind::ValidValue), error.source()) {
        (Some(ContextValue::Strings(valid)), _) if !valid.is_empty() => {
            format!("it is one of {}", valid.join(", "))
        }
        (_, Some(source)) => format!("{source}; `proxydhcp serve --help` shows what --{key} takes"),
        _ => format!("`proxydhcp serve --help` shows what --{key} takes"),
    };
    Err(Fault::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        reason,
    })
}

/// Parses the table `[loaders]` or `[bcd]`.
fn changes(key: &str, value: &Spanned<DeValue>) -> Result<Vec<Change>, Located> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(wrong_type(key, TABLE, value));
    };
    let mut changes = Vec::new();
    for (architecture, path) in table {
        let number: &str = architecture.get_ref();
        let text = string(&format!("{key}.{number}"), STRING, path)?;
        let located = |error: LoaderError| {
            let span = if matches!(error, LoaderError::Architecture(_)) {
                architecture.span()
            } else {
                path.span()
            };
            (span.start, error.into())
        };
        changes.push(Change::parse(number, text).map_err(located)?);
    }
    Ok(changes)
}

fn string<'a>(
    key: &str,
    takes: &'static str,
    value: &'a Spanned<DeValue>,
) -> Result<&'a str, Located> {
    let text = value.get_ref().as_str();
    text.ok_or_else(|| wrong_type(key, takes, value))
}

fn wrong_type(key: &str, takes: &'static str, value: &Spanned<DeValue>) -> Located {
    let fault = Fault::Type {
        key: key.to_owned(),
        takes,
        found: match value.get_ref().type_str() {
            vowel @ ("integer" | "array") => format!("an {vowel}"),
            other => format!("a {other}"),
        },
    };
    (value.span().start, fault)
}

#[cfg(test)]
mod tests;
