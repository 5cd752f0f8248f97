//! The settings that the source of a fleet may have for all service nodes: what clients without a record
//! get, which names are a node's, and which files it is sent to. Each takes the place of the host's own.
//!
//! There are no others. What concerns one host, such as its interfaces, listeners and TFTP root, and who may
//! use it, is never taken from the source.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fleet::item::{BadItem, Item};
use crate::fleet::wire::parsed;
use crate::names::hosts::is_suffix;
use crate::tables::policy::{Policy, Unknown};
use crate::tables::table::Sources;
use crate::winpe::loaders::{Change, LoaderError, Loaders};
use crate::winpe::path::Rules;

/// The settings, all of them sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetSettings {
    written: Written,
    loaders: Option<Loaders>,
}

/// The settings as they are written: in the form of the settings file, or as a key each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<Unknown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suffix: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loaders: Option<Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bcd: Option<Table>,
}

/// The path for each architecture.
type Table = BTreeMap<String, String>;

impl FleetSettings {
    /// Parses a file of them, which is TOML.
    ///
    /// # Errors
    /// If it is no such file, or a setting is wrong: which, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = 1 + before.unwrap_or_default().matches('\n').count();
            format!("line {line}: {}", error.message().replace('\n', ", "))
        })?;
        written.check()
    }

    /// The settings of keys, and those that are wrong.
    pub fn of_values<'v>(
        values: impl Iterator<Item = (&'v str, &'v [u8])>,
    ) -> (Self, Vec<BadItem>) {
        let (mut sound, mut bad) = (Self::default(), Vec::new());
        for (key, value) in values {
            // With those before it, because all loaders together may be too many.
            let together = Written::of_value(key, value).map(|one| one.or(sound.written.clone()));
            match together.and_then(Written::check) {
                Ok(settings) => sound = settings,
                Err(why) => bad.push(BadItem::new(Item::Setting(key), why)),
            }
        }
        (sound, bad)
    }

    /// The keys that say the same, each with its value.
    pub fn values(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        // An object of texts has no reason to fail.
        let fields = match serde_json::to_value(&self.written) {
            Ok(Value::Object(fields)) => fields,
            _ => serde_json::Map::default(),
        };
        let value = |(key, value): (String, Value)| (key, value.to_string().into_bytes());
        fields.into_iter().map(value)
    }

    /// The file that says the same.
    pub fn text(&self) -> String {
        // Texts and tables of texts have no reason to fail.
        toml::to_string(&self.written).unwrap_or_default()
    }

    /// What clients without a record get, if it is set.
    pub fn unknown(&self) -> Option<Unknown> {
        self.written.unknown
    }

    /// These settings without that.
    #[must_use]
    pub fn without_unknown(mut self) -> Self {
        self.written.unknown = None;
        self
    }

    /// The rules for WinPE paths on a host whose own they are without these settings.
    pub fn rules<'a>(&'a self, own: Rules<'a>) -> Rules<'a> {
        Rules {
            loaders: self.loaders.as_ref().unwrap_or(own.loaders),
            ..own
        }
    }

    /// Has these settings take the place of a host's own.
    pub fn replace(&self, sources: &mut Sources, policy: &mut Policy) {
        if let Some(unknown) = self.written.unknown {
            policy.unknown = unknown;
        }
        if let Some(suffixes) = &self.written.suffix {
            sources.suffixes.clone_from(suffixes);
        }
        if let Some(loaders) = &self.loaders {
            sources.loaders.clone_from(loaders);
            policy.loaders.clone_from(loaders);
        }
    }
}

impl Written {
    /// The setting of one key.
    fn of_value(key: &str, value: &[u8]) -> Result<Self, String> {
        let value: Value = parsed(value)?;
        let fields = [(key.to_owned(), value)].into_iter().collect();
        let one =
            serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())?;
        if one == Self::default() {
            return Err("it has no value; remove the key, or set it".to_owned());
        }
        Ok(one)
    }

    /// These, and those of `others` that are not among them.
    fn or(self, others: Self) -> Self {
        Self {
            unknown: self.unknown.or(others.unknown),
            suffix: self.suffix.or(others.suffix),
            loaders: self.loaders.or(others.loaders),
            bcd: self.bcd.or(others.bcd),
        }
    }

    fn check(self) -> Result<FleetSettings, String> {
        let mut suffixes = self.suffix.iter().flatten();
        if let Some(suffix) = suffixes.find(|suffix| !is_suffix(suffix)) {
            return Err(format!(
                "{suffix:?} is nothing that follows a node's name; write a suffix such as \"-ib0\""
            ));
        }
        let loaders = self.loaders().map_err(|error| error.to_string())?;
        Ok(FleetSettings {
            written: self,
            loaders,
        })
    }

    /// The loaders and the BCDs, which go together: a host's own count if neither is set.
    fn loaders(&self) -> Result<Option<Loaders>, LoaderError> {
        if self.loaders.is_none() && self.bcd.is_none() {
            return Ok(None);
        }
        let changes = |table: &Option<Table>| -> Result<Vec<_>, _> {
            let changes = table.iter().flatten();
            changes.map(|(of, path)| Change::parse(of, path)).collect()
        };
        Loaders::with_bcds(&changes(&self.loaders)?, &changes(&self.bcd)?).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    const FILE: &str = r#"unknown = "lookup-default"
suffix = ["-ib0"]

[loaders]
11 = "Boot/bootaa64.efi"

[bcd]
7 = "Boot/BCD-x64"
"#;

    fn one(key: &str, value: &str) -> Result<FleetSettings, String> {
        let (settings, mut bad) = FleetSettings::of_values([(key, value.as_bytes())].into_iter());
        bad.pop().map_or(Ok(settings), |bad| Err(bad.to_string()))
    }

    #[test]
    fn a_file_and_keys_say_the_same() {
        let settings = FleetSettings::parse(FILE).unwrap();
        assert_eq!(settings.text(), FILE);
        let values: Vec<_> = settings.values().collect();
        let keys: Vec<_> = values.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["bcd", "loaders", "suffix", "unknown"]);
        let of = values.iter().map(|(key, value)| (&**key, &**value));
        assert_eq!(FleetSettings::of_values(of), (settings, vec![]));
        assert_eq!(FleetSettings::parse("").unwrap().values().count(), 0);
    }

    #[test]
    fn what_is_set_takes_the_place_of_the_hosts_own() {
        let own = Sources {
            config: PathBuf::from("proxydhcp.cfg"),
            hosts: PathBuf::from("hosts"),
            tftp_root: PathBuf::from("/tftpboot"),
            loaders: Loaders::default(),
            suffixes: vec!["-a".to_owned()],
            ethers: None,
        };
        let (mut sources, mut policy) = (own.clone(), Policy::default());
        let settings = one("unknown", r#""default""#).unwrap();
        settings.replace(&mut sources, &mut policy);
        assert_eq!((&sources, policy.unknown), (&own, Unknown::Default));
        let settings = FleetSettings::parse(FILE).unwrap().without_unknown();
        settings.replace(&mut sources, &mut policy);
        assert_eq!(policy.unknown, Unknown::Default);
        assert_eq!(sources.suffixes, ["-ib0"]);
        assert_eq!(sources.loaders, policy.loaders);
        assert!(sources.loaders.indexes()[11].is_some());
        let rules = settings.rules(own.rules());
        assert_eq!(
            (rules.tftp_root, rules.loaders),
            (Path::new("/tftpboot"), &sources.loaders)
        );
        assert_eq!(
            FleetSettings::default().rules(own.rules()).loaders,
            &own.loaders
        );
    }

    #[test]
    fn a_bad_setting_costs_itself_alone() {
        for (key, value, why) in [
            ("unknown", r#""all""#, "unknown variant `all`"),
            ("unknown", "null", "no value"),
            ("unknown", "", "EOF"),
            ("suffix", r#"["-ib0.x"]"#, "follows a node's name"),
            ("loaders", r#"{"7":"../x"}"#, "has a '..'"),
            ("loaders", r#"{"7":"/etc/x"}"#, "absolute"),
            ("loaders", r#"{"99":"x"}"#, "not an architecture"),
            ("bcd", r#"{"7":""}"#, "no BCD"),
            ("tftp-root", r#""/""#, "unknown field `tftp-root`"),
            ("interface", r#"["eth0"]"#, "unknown field"),
        ] {
            let error = one(key, value).unwrap_err();
            assert!(
                error.starts_with(&format!("setting {key} is refused: ")),
                "{error}"
            );
            assert!(error.contains(why), "{key} {value}: {error}");
        }
        let many = (10..17).map(|at| format!(r#""{at}":"Boot/{at}.efi""#));
        let many = format!("{{{}}}", many.collect::<Vec<_>>().join(","));
        let values = [
            ("bcd", r#"{"9":"Boot/BCD-9"}"#),
            ("loaders", &*many),
            ("unknown", r#""default""#),
        ];
        let of = values.iter().map(|(key, value)| (*key, value.as_bytes()));
        let (settings, bad) = FleetSettings::of_values(of);
        assert_eq!(settings.unknown(), Some(Unknown::Default));
        assert_eq!(bad.len(), 1);
        assert!(
            bad[0]
                .to_string()
                .starts_with("setting loaders is refused: there are ")
        );
        assert_eq!(settings.values().count(), 2);
    }

    #[test]
    fn a_wrong_file_names_the_line() {
        for (text, line) in [
            ("unknown = \"default\"\nsuffix = 1\n", "line 2"),
            ("interface = [\"eth0\"]\n", "line 1"),
            ("[loaders\n", "line 1"),
        ] {
            let error = FleetSettings::parse(text).unwrap_err();
            assert!(error.starts_with(line), "{error}");
        }
        assert!(FleetSettings::parse("[bcd]\n7 = \"\"\n").is_err());
    }
}
