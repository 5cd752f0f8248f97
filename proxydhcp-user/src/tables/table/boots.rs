//! What the nodes boot: all that is read anew where they are the same.

use std::sync::Arc;

use super::{Files, Sources};
use crate::nodes::cfg;
use crate::nodes::cfg::disabled::Disabled;
use crate::nodes::cfg::texts::Texts;
use crate::nodes::noderange::Known;
use crate::winpe::path::Rules;

/// A node's WinPE, an index into the WinPEs, or nothing if the record is refused or the node disabled. There
/// are at most as many WinPEs as records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boots(u32);

impl Boots {
    pub(super) const NOTHING: Self = Self(u32::MAX);

    pub(super) fn of(winpe: Option<usize>) -> Self {
        let winpe = winpe.and_then(|winpe| u32::try_from(winpe).ok());
        winpe.map_or(Self::NOTHING, Self)
    }

    pub(super) fn winpe(self) -> Option<usize> {
        (self.0 != Self::NOTHING.0).then_some(self.0 as usize)
    }
}

impl Files {
    /// These nodes, which boot what `texts` says. `None` if the records are not those of the nodes, each as a
    /// writer leaves it.
    pub(super) fn booting(&self, texts: &Texts, rules: Rules<'_>) -> Option<Self> {
        let mut boots = cfg::Boots::new(rules, self.register.records_read);
        let is_same = boots.enter(&texts.records, |position| self.register.name_at(position));
        is_same.then(|| self.with_boots(boots, texts))?
    }

    /// The same by the file of records; `None` also if it cannot be read.
    pub(super) fn booting_by_file(&self, texts: &Texts, sources: &Sources) -> Option<Self> {
        let name = |position| self.register.name_at(position);
        let nodes = self.register.records_read;
        let booted = cfg::Boots::read(&sources.config, sources.rules(), nodes, name);
        self.with_boots(booted.ok()??, texts)
    }

    /// These nodes, of which those with a record boot these WinPEs, unless they are disabled. `None` if there
    /// are not as many.
    fn with_boots(&self, booted: cfg::Boots<'_>, texts: &Texts) -> Option<Self> {
        let (register, (winpes, booted)) = (&self.register, booted.done());
        if booted.len() != register.records_read {
            return None;
        }
        let names = || (0..).take(booted.len()).map(|record| register.name(record));
        let disabled = Disabled::parse(&texts.disabled, || Known::new(names()));
        let boots = booted.iter().zip(names()).map(|(winpe, name)| {
            let winpe = Some(*winpe).filter(|_| !disabled.contains(name));
            Boots::of(winpe)
        });
        let mut all = Vec::with_capacity(self.boots.len());
        all.extend(boots);
        // Disabled nodes without a record.
        all.resize(self.boots.len(), Boots::NOTHING);
        Some(Self {
            register: Arc::clone(register),
            winpes,
            boots: all,
        })
    }
}
