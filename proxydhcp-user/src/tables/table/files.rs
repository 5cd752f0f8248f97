//! The contents of the files: the records of `proxydhcp.cfg`, and the addresses that the hosts file
//! has for them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tokio::task::JoinError;

use super::hardware;
use super::join::{self, Claim, Joined};
use crate::names::hosts::{self, Hosts, Malformed};
use crate::nodes::cfg::disabled::{self, Disabled, Problem};
use crate::nodes::cfg::texts::{self, Texts, TextsError};
use crate::nodes::cfg::{self, CfgError, Denied, Refused, Warning};
use crate::nodes::hardware::Id;
use crate::sys::file::FileError;
use crate::sys::text_file;
use crate::text::count;
use crate::winpe::loaders::Loaders;
use crate::winpe::path::{Rules, WinPe};

/// The files and rules that a table is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The path of `proxydhcp.cfg`.
    pub config: PathBuf,
    /// The path of the hosts file, which may be missing.
    pub hosts: PathBuf,
    /// The folder that the TFTP server serves, such as `/tftpboot`.
    pub tftp_root: PathBuf,
    /// The boot loaders that each WinPE provides.
    pub loaders: Loaders,
    /// Suffixes that the names of a node's other interfaces add to its own, such as `-ib0`.
    pub suffixes: Vec<String>,
    /// A list of nodes' hardware addresses, besides that beside `config`: see ethers(5).
    pub ethers: Option<PathBuf>,
}

impl Sources {
    /// The rules for WinPE paths.
    pub fn rules(&self) -> Rules<'_> {
        Rules {
            tftp_root: &self.tftp_root,
            loaders: &self.loaders,
        }
    }
}

/// Why no table can be made. What is in service stays, because it is better than nothing.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// `proxydhcp.cfg` cannot be read, or is not such a file.
    #[error(transparent)]
    Config(#[from] CfgError),
    /// The hosts file exists, but cannot be read.
    #[error(transparent)]
    Hosts(#[from] FileError),
    /// A file of disabled nodes, of hardware addresses or of addresses cannot be read.
    #[error(transparent)]
    Beside(FileError),
    /// There are records, but none can be served.
    #[error(
        "{}: none of its records is sound ({} in all); record {}: {} \
         (if this is no proxydhcp.cfg at all, check the path)",
        .path.display(), count(*.records, "record"), .first.number, .first.reason
    )]
    NotOneSound {
        /// The file.
        path: PathBuf,
        /// The number of records, by its size.
        records: usize,
        /// The first refused record.
        first: Refused,
    },
    /// What the nodes come from has none yet: why.
    #[error("{0}")]
    Unknown(String),
    /// The program is stopping.
    #[error("reading was interrupted: {0}")]
    Interrupted(#[from] JoinError),
}

impl From<TextsError> for LoadError {
    fn from(error: TextsError) -> Self {
        match error {
            TextsError::Config(error) => Self::Config(error),
            TextsError::Beside(error) => Self::Beside(error),
        }
    }
}

impl LoadError {
    /// Whether the only problem is that `proxydhcp.cfg` does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Config(CfgError::Missing(_)))
    }
}

/// The contents of the files.
#[derive(Debug)]
pub struct Files {
    /// All names in one string: separate strings would take three times the memory.
    names: String,
    records: Vec<Record>,
    /// The claims of the hosts file, sorted by address, each address once.
    pub(super) claims: Vec<Claim>,
    /// What nodes are known by besides their addresses, each once.
    pub(super) hardware: Vec<hardware::Claim>,
    pub(super) winpes: Vec<WinPe>,
    pub(super) refused: Vec<Refused>,
    pub(super) warnings: Vec<Warning>,
    /// The records whose exact name the hosts file lacks.
    wanted: Vec<u32>,
    pub(super) records_read: usize,
    suffixes: Vec<String>,
    /// The records sorted by name, ignoring ASCII case; made when needed.
    alphabet: OnceLock<Vec<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    /// The end of its name among the names; it begins where the previous one ends.
    name_end: usize,
    /// Its position in the file, from 1. A disabled node may have none.
    number: Option<u32>,
    /// An index into the WinPEs; `None` if the record is refused or the node disabled.
    winpe: Option<usize>,
}

impl Files {
    /// The contents of files without records.
    pub fn none() -> Self {
        Self {
            names: String::new(),
            records: Vec::new(),
            claims: Vec::new(),
            hardware: Vec::new(),
            winpes: vec![WinPe::default()],
            refused: Vec::new(),
            warnings: Vec::new(),
            wanted: Vec::new(),
            records_read: 0,
            suffixes: Vec::new(),
            alphabet: OnceLock::new(),
        }
    }

    /// The contents without records, because `proxydhcp.cfg` does not exist yet.
    pub fn not_there_yet(config: &Path) -> Self {
        Self {
            warnings: vec![
                format!(
                    "{}: no such file yet; every client gets the default WinPE until it is written \
                     and reloaded",
                    config.display()
                )
                .into(),
            ],
            ..Self::none()
        }
    }

    /// Reads the files. This blocks.
    ///
    /// # Errors
    /// If a file cannot be read or has no record to serve: see [`LoadError`]. A bad record or name
    /// is no error: it is listed, and the others are served.
    pub fn read(sources: &Sources) -> Result<Self, LoadError> {
        Self::of(&Texts::read(&sources.config)?, sources)
    }

    /// What these texts make, with the other files: the hosts file and that of hardware addresses. This
    /// blocks.
    ///
    /// # Errors
    /// If a file cannot be read or there is no record to serve: see [`LoadError`].
    pub fn of(texts: &Texts, sources: &Sources) -> Result<Self, LoadError> {
        let config = texts.records.as_slice();
        let disabled = Disabled::parse(&texts.disabled, || cfg::names(config));
        let mut parsed = cfg::parse(config, sources.rules());
        let records_read = config.len() / cfg::RECORD;
        if let Some(first) = parsed.refused.first()
            && !parsed.written
        {
            let (path, first) = (sources.config.clone(), first.clone());
            return Err(LoadError::NotOneSound {
                path,
                records: records_read,
                first,
            });
        }

        parsed.deny(disabled.names().map(|name| Denied { number: None, name }));
        let file = hosts::read_at_rest(&sources.hosts)?;
        let mut hosts = Hosts::new(file.as_deref().unwrap_or_default());
        let mut own = Hosts::new(&texts.hosts);
        let joined = join::join(&parsed, &sources.suffixes, &mut own, &mut hosts);
        let Joined { claims, named } = joined;

        let sound = parsed.records.iter().map(|record| {
            let winpe = (!disabled.contains(record.name)).then_some(record.winpe);
            (record.name, Some(record.number), winpe)
        });
        let denied = parsed
            .denied
            .iter()
            .map(|node| (node.name, node.number, None));
        let mut names = String::new();
        let records = sound.chain(denied).map(|(name, number, winpe)| {
            names.push_str(name);
            Record {
                name_end: names.len(),
                number,
                winpe,
            }
        });
        let mut files = Self {
            records: records.collect(),
            names,
            claims,
            hardware: Vec::new(),
            winpes: parsed.winpes,
            refused: parsed.refused,
            warnings: parsed.warnings,
            wanted: Vec::new(),
            records_read,
            suffixes: sources.suffixes.clone(),
            alphabet: OnceLock::new(),
        };
        let wanted = (0..).zip(named).filter(|&(_, named)| !named);
        files.wanted = wanted.map(|(record, _)| record).collect();
        files.warn_of_hosts(&sources.hosts, file.as_deref());
        files.warn_of_malformed(&texts::hosts(&sources.config), own.malformed());
        files.warn_of_malformed(&sources.hosts, hosts.malformed());
        files.warn_of_disabled(&disabled::path(&sources.config), &disabled);
        let mut claims = std::mem::take(&mut files.claims);
        let conflicts = files.settle(&mut claims);
        files.warnings.extend(conflicts);
        files.claims = claims;
        let hardware = hardware::join(
            (&cfg::hardware::path(&sources.config), &texts.hardware),
            sources.ethers.as_deref(),
            |name| files.by_any_name(name),
            |record| files.name(record),
        );
        let hardware = hardware.map_err(LoadError::Beside)?;
        files.hardware = hardware.claims;
        files.warnings.extend(hardware.warnings);
        Ok(files)
    }

    /// Warns of a hosts file that is missing, or seems to be cut off.
    fn warn_of_hosts(&mut self, path: &Path, text: Option<&[u8]>) {
        let path = path.display();
        match text {
            None => self.warnings.push(
                format!("{path}: no such file; the system resolver is asked for every node").into(),
            ),
            Some(text) if !text_file::is_ended(text) => self.warnings.push(
                format!(
                    "{path}: the last line has no line feed, as if its writer had been cut off; \
                     check that nothing is missing, and end the line"
                )
                .into(),
            ),
            Some(_) => {}
        }
    }

    /// Warns of lines that name no address.
    fn warn_of_malformed(&mut self, path: &Path, malformed: Option<Malformed>) {
        if let Some(Malformed { count, first }) = malformed {
            let text = format!(
                "{}: malformed lines are left out: {count}, the first is line {first}; \
                 each line should be an address and its names",
                path.display()
            );
            self.warnings.push(text.into());
        }
    }

    /// Warns of lines in the file of disabled nodes that disable nobody.
    fn warn_of_disabled(&mut self, path: &Path, disabled: &Disabled) {
        let path = path.display();
        let problems = disabled.problems().into_iter();
        let warnings =
            problems.map(|Problem { line, text }| format!("{path}, line {line}: {text}"));
        self.warnings.extend(warnings.map(Warning::from));
    }

    /// The names that the hosts file lacks, to ask the resolver for.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().map(|&record| self.name(record))
    }

    /// The names that the hosts file lacks, with their records.
    pub(super) fn wanted_records(&self) -> impl Iterator<Item = (u32, &str)> {
        self.wanted
            .iter()
            .map(|&record| (record, self.name(record)))
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The record's position in the file, from 1; `None` for a disabled node without one.
    pub(super) fn number(&self, record: u32) -> Option<u32> {
        self.records.get(record as usize)?.number
    }

    /// The record's WinPE; `None` if the record is refused or the node disabled.
    pub(super) fn winpe(&self, record: u32) -> Option<usize> {
        self.records.get(record as usize)?.winpe
    }

    pub(super) fn name(&self, record: u32) -> &str {
        let record = record as usize;
        let end_of = |record: usize| self.records.get(record).map(|record| record.name_end);
        let start = record.checked_sub(1).and_then(end_of).unwrap_or_default();
        let end = end_of(record).unwrap_or_default();
        self.names.get(start..end).unwrap_or_default()
    }

    /// Gives each address to the first claim on it, and warns about the other claims.
    pub(super) fn settle(&self, claims: &mut Vec<Claim>) -> Vec<Warning> {
        let conflicts = join::settle(claims);
        let describe = |record: u32| {
            let name = self.name(record);
            match self.number(record) {
                Some(number) => format!("{name} (record {number})"),
                None => format!("{name} (disabled)"),
            }
        };
        let warning = |conflict: join::Conflict| Warning {
            record: self.number(conflict.other),
            text: format!(
                "{} is an address of both {} and {}; {}, which was found first, is served there: \
                 correct the hosts file or the DNS",
                conflict.address,
                describe(conflict.served),
                describe(conflict.other),
                self.name(conflict.served),
            ),
        };
        conflicts.into_iter().map(warning).collect()
    }

    /// The record that a client's name leads to: by the full name, the short one, or the suffix
    /// rules.
    pub(super) fn by_any_name(&self, name: &str) -> Option<u32> {
        let position = |name: &[u8]| self.position(name);
        let name = name.as_bytes();
        join::by_name(name, position).or_else(|| join::by_suffix(name, &self.suffixes, position))
    }

    /// The record that has this hardware address.
    pub(super) fn by_hardware(&self, id: Id) -> Option<u32> {
        let claim = self.hardware.iter().find(|claim| claim.id == id)?;
        Some(claim.record)
    }

    /// The record of exactly this name, ignoring ASCII case.
    pub(super) fn record(&self, name: &str) -> Option<u32> {
        self.position(name.as_bytes())
    }

    fn position(&self, name: &[u8]) -> Option<u32> {
        let alphabet = self.alphabet.get_or_init(|| {
            let mut alphabet: Vec<_> = (0..).zip(&self.records).map(|(n, _)| n).collect();
            alphabet.sort_unstable_by(|&a, &b| {
                folded(self.name(a).as_bytes()).cmp(folded(self.name(b).as_bytes()))
            });
            alphabet
        });
        let found = alphabet
            .binary_search_by(|&record| folded(self.name(record).as_bytes()).cmp(folded(name)));
        alphabet.get(found.ok()?).copied()
    }
}

fn folded(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(u8::to_ascii_lowercase)
}
