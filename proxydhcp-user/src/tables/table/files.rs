//! The contents of the files: the records of `proxydhcp.cfg`, and the addresses that the hosts file
//! has for them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinError;

use super::boots::Boots;
use super::hardware;
use super::join::{self, Joined};
use super::register::{Mark, Register};
use crate::names::hosts::{self, Hosts, Malformed};
use crate::nodes::cfg::disabled::{self, Disabled, Problem};
use crate::nodes::cfg::texts::{self, Texts, TextsError};
use crate::nodes::cfg::{self, CfgError, Denied, Refused, Warning};
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
#[derive(Clone, Debug)]
pub struct Files {
    pub(super) register: Arc<Register>,
    pub(super) winpes: Vec<WinPe>,
    /// What each node boots.
    pub(super) boots: Vec<Boots>,
}

/// The files besides `proxydhcp.cfg` and those beside it, which may be missing.
struct Others {
    hosts: Option<Vec<u8>>,
    ethers: Option<Vec<u8>>,
    mark: Mark,
}

impl Others {
    /// Reads them, to go with these texts.
    fn read(texts: &Texts, sources: &Sources) -> Result<Self, LoadError> {
        let hosts = hosts::read_at_rest(&sources.hosts)?;
        let ethers = sources.ethers.as_deref().map(text_file::read);
        let ethers = ethers.transpose().map_err(LoadError::Beside)?;
        let mark = Mark::of(texts, sources, hosts.as_deref(), ethers.as_deref());
        Ok(Self {
            hosts,
            ethers,
            mark,
        })
    }
}

impl Files {
    /// The contents of files without records.
    pub fn none() -> Self {
        Self::known_as(Register::default())
    }

    fn known_as(register: Register) -> Self {
        Self {
            register: Arc::new(register),
            winpes: vec![WinPe::default()],
            boots: Vec::new(),
        }
    }

    /// The contents without records, because `proxydhcp.cfg` does not exist yet.
    pub fn not_there_yet(config: &Path) -> Self {
        let text = format!(
            "{}: no such file yet; every client gets the default WinPE until it is written and \
             reloaded",
            config.display()
        );
        Self::known_as(Register {
            warnings: vec![text.into()],
            ..Register::default()
        })
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
        Self::following(None, texts, sources)
    }

    /// The same, after `before`: if the nodes are those of `before`, whatever they boot, nothing is joined
    /// again.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) fn following(
        before: Option<&Self>,
        texts: &Texts,
        sources: &Sources,
    ) -> Result<Self, LoadError> {
        let others = Others::read(texts, sources)?;
        let same = before.filter(|before| before.register.mark == Some(others.mark));
        if let Some(files) = same.and_then(|before| before.booting(texts, sources.rules())) {
            return Ok(files);
        }
        Self::join(texts, sources, &others)
    }

    /// Reads the files like [`Self::read`], after `before`: if the nodes are those of `before`, whatever they
    /// boot, nothing is joined again, and the records are never in memory as a whole.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_following(
        before: Option<&Self>,
        sources: &Sources,
    ) -> Result<Self, LoadError> {
        let Some(before) = before else {
            return Self::read(sources);
        };
        let config = &sources.config;
        let mut texts = Texts::beside(Vec::new(), config).map_err(LoadError::Beside)?;
        let others = Others::read(&texts, sources)?;
        if before.register.mark == Some(others.mark)
            && let Some(files) = before.booting_by_file(&texts, sources)
        {
            return Ok(files);
        }
        texts.records = cfg::read(config)?;
        Self::join(&texts, sources, &others)
    }

    fn join(texts: &Texts, sources: &Sources, others: &Others) -> Result<Self, LoadError> {
        let (config, file) = (texts.records.as_slice(), others.hosts.as_deref());
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
        let mut hosts = Hosts::new(file.unwrap_or_default());
        let mut own = Hosts::new(&texts.hosts);
        let joined = join::join(&parsed, &sources.suffixes, &mut own, &mut hosts);
        let Joined { mut claims, named } = joined;

        let sound = parsed.records.iter().map(|record| {
            let winpe = (!disabled.contains(record.name)).then_some(record.winpe);
            (record.name, Some(record.number), winpe)
        });
        let denied = parsed
            .denied
            .iter()
            .map(|node| (node.name, node.number, None));
        let is_plain = parsed.refused.is_empty() && parsed.warnings.is_empty();
        let mut register = Register {
            mark: is_plain.then_some(others.mark),
            refused: parsed.refused,
            warnings: parsed.warnings,
            records_read,
            suffixes: sources.suffixes.clone(),
            ..Register::default()
        };
        let boots = sound.chain(denied).map(|(name, number, winpe)| {
            register.add(name, number);
            Boots::of(winpe)
        });
        let boots = boots.collect();
        let wanted = (0..).zip(named).filter(|&(_, named)| !named);
        register.wanted = wanted.map(|(record, _)| record).collect();
        register.warn_of_hosts(&sources.hosts, file);
        register.warn_of_malformed(&texts::hosts(&sources.config), own.malformed());
        register.warn_of_malformed(&sources.hosts, hosts.malformed());
        register.warn_of_disabled(&disabled::path(&sources.config), &disabled);
        let conflicts = register.settle(&mut claims);
        register.warnings.extend(conflicts);
        claims.shrink_to_fit();
        register.claims = Arc::new(claims);
        let hardware = hardware::join(
            (&cfg::hardware::path(&sources.config), &texts.hardware),
            sources.ethers.as_deref().zip(others.ethers.as_deref()),
            |name| register.by_any_name(name),
            |record| register.name(record),
        );
        register.hardware = hardware.claims;
        register.warnings.extend(hardware.warnings);
        register.shrink();
        Ok(Self {
            register: Arc::new(register),
            winpes: parsed.winpes,
            boots,
        })
    }

    /// These files, in which the nodes of `changed` have its records, and are disabled if they are in
    /// it. Nothing else is read again, and nothing is joined. `None` if that does not suffice, because a
    /// node is new. This blocks.
    pub(crate) fn with(&self, changed: &Texts, rules: Rules<'_>) -> Option<Self> {
        let disabled = Disabled::parse(&changed.disabled, || cfg::names(&changed.records));
        let parsed = cfg::parse(&changed.records, rules);
        if !parsed.refused.is_empty() || !self.register.refused.is_empty() {
            return None;
        }
        let mut files = self.clone();
        let winpes = files.enter(parsed.winpes);
        for record in &parsed.records {
            let position = self.record(record.name)?;
            // Of two records whose names differ in case, one counts.
            let is_it = self.name(position) == record.name && self.number(position).is_some();
            let winpe = winpes.get(record.winpe).filter(|_| is_it)?;
            let boots = files.boots.get_mut(position as usize)?;
            *boots = Boots::of((!disabled.contains(record.name)).then_some(*winpe));
        }
        files.forget_unused();
        Some(files)
    }

    /// Enters WinPEs, as they are now, and returns where each is.
    fn enter(&mut self, winpes: Vec<WinPe>) -> Vec<usize> {
        let known = (0..).zip(&self.winpes);
        let known: HashMap<_, usize> = known.map(|(at, it)| (it.path().to_owned(), at)).collect();
        let mut enter = |winpe: WinPe| {
            if let Some(&at) = known.get(winpe.path()) {
                if let Some(known) = self.winpes.get_mut(at) {
                    *known = winpe;
                }
                at
            } else {
                self.winpes.push(winpe);
                self.winpes.len() - 1
            }
        };
        winpes.into_iter().map(&mut enter).collect()
    }

    /// Removes the WinPEs that no node has, except the default one.
    fn forget_unused(&mut self) {
        let mut is_used = vec![false; self.winpes.len()];
        let all = self.boots.iter().filter_map(|boots| boots.winpe());
        for at in all.chain([0]) {
            if let Some(used) = is_used.get_mut(at) {
                *used = true;
            }
        }
        let mut left = 0;
        let places: Vec<usize> = is_used
            .iter()
            .map(|&used| {
                left += usize::from(used);
                left - usize::from(used)
            })
            .collect();
        if left == self.winpes.len() {
            return;
        }
        let mut used = is_used.into_iter();
        self.winpes.retain(|_| used.next().unwrap_or(true));
        for boots in &mut self.boots {
            *boots = Boots::of(boots.winpe().and_then(|at| places.get(at).copied()));
        }
    }

    /// The names that the hosts file lacks, to ask the resolver for.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        self.wanted_records().map(|(_, name)| name)
    }

    /// The names that the hosts file lacks, with their records.
    pub(super) fn wanted_records(&self) -> impl Iterator<Item = (u32, &str)> {
        let wanted = self.register.wanted.iter();
        wanted.map(|&record| (record, self.name(record)))
    }

    pub(super) fn len(&self) -> usize {
        self.register.len()
    }

    /// Whether the nodes are known to be the same, whatever they boot.
    pub(crate) fn has_nodes_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.register, &other.register)
    }

    /// The record's position in the file, from 1; `None` for a disabled node without one.
    pub(super) fn number(&self, record: u32) -> Option<u32> {
        self.register.number(record)
    }

    /// The record's WinPE; `None` if the record is refused or the node disabled.
    pub(super) fn winpe(&self, record: u32) -> Option<usize> {
        self.boots.get(record as usize)?.winpe()
    }

    pub(super) fn name(&self, record: u32) -> &str {
        self.register.name(record)
    }

    /// The record of exactly this name, ignoring ASCII case.
    pub(super) fn record(&self, name: &str) -> Option<u32> {
        self.register.record(name)
    }
}

impl Register {
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
}
