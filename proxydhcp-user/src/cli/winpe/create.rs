//! `proxydhcp winpe create`

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum, value_parser};

use super::bcd::BootOptions;
use super::describe;
use crate::cli::Context;
use crate::cli::args::{RootArgs, SettingsArgs};
use crate::cli::exit::Exit;
use crate::cli::output::{note, print};
use crate::sys::work::Work;
use crate::winpe::check::{check, folder};
use crate::winpe::create::additions::{Additions, path_in_image};
use crate::winpe::create::{Recipe, create};
use crate::winpe::wim::Machine;

/// Arguments of `winpe create`.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// The name of its folder in winboot/
    pub name: String,
    /// The medium: an ISO of Windows, a folder of one or of the ADK, or a boot.wim
    #[arg(long, value_name = "MEDIA")]
    pub from: PathBuf,
    /// Refuse a medium for other machines [default: those of the medium]
    #[arg(long, value_enum)]
    pub arch: Option<Machine>,
    /// Take the loader for UEFI, fonts and boot.stl that the CA of this year has signed [default: those that
    /// Windows itself boots by]
    #[arg(long, value_name = "YEAR", value_enum)]
    pub ca: Option<Ca>,
    /// The number of the image in the WIM [default: the one that the medium boots]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub index: Option<u32>,
    /// A folder of drivers (*.inf), which are loaded at the start; may be repeated
    #[arg(long, value_name = "DIR")]
    pub drivers: Vec<PathBuf>,
    /// The commands at the start [default: those of the image]
    #[arg(long, value_name = "FILE")]
    pub startnet: Option<PathBuf>,
    /// A file or folder to put into the image, and its path there; may be repeated
    #[arg(long = "include", value_name = "SRC=DST", value_parser = include)]
    pub includes: Vec<(PathBuf, String)>,
    /// Replace the WinPE of this name, in one step
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: BootOptions,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

/// The values of `--ca`: the year in the name of Microsoft's CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ca {
    /// Microsoft Windows Production PCA 2011.
    Of2011,
    /// Windows UEFI CA 2023.
    Of2023,
}

impl ValueEnum for Ca {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Of2011, Self::Of2023]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.year().to_string()))
    }
}

impl Ca {
    fn year(self) -> u16 {
        match self {
            Self::Of2011 => 2011,
            Self::Of2023 => 2023,
        }
    }
}

impl ValueEnum for Machine {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::X64, Self::Arm64]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::X64 => Some(PossibleValue::new("amd64").alias("x64")),
            Self::Arm64 => Some(PossibleValue::new("arm64")),
            Self::X86 => None,
        }
    }
}

/// Makes a WinPE, and checks it.
///
/// # Errors
///
/// If it cannot be made; then nothing has changed.
pub(super) fn run(args: &CreateArgs, context: &Context) -> Result<ExitCode> {
    let rules = context.rules(&args.root);
    let recipe = Recipe {
        name: &args.name,
        medium: &args.from,
        machine: args.arch,
        ca: args.ca.map(Ca::year),
        index: args.index,
        additions: Additions::new(&args.drivers, args.startnet.as_deref(), &args.includes)?,
        replace: args.replace,
        locale: &args.options.locale,
        block_size: args.options.tftp_block_size,
        window_size: args.options.tftp_window_size,
    };
    let made = {
        let work = Work::begin()?;
        create(&recipe, rules, &work)?
    };
    for text in &made.notes {
        note(&format!("note: {text}"));
    }
    let path = made.path.trim_end_matches('/');
    let checked = check(&folder(path, rules)?, rules);
    let mut told = format!("{path}: made of {}\n", made.origin);
    told.push_str(&describe(&checked));
    // Writing to a string cannot fail.
    let _ = writeln!(
        told,
        "next: `proxydhcp node set RANGE winpepath={path}`, and `proxydhcp reload` if nodes have it already"
    );
    print(&told);
    Ok(if checked.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        Exit::Partly.into()
    })
}

/// Parses a file and its path in the image. That path has no equals sign.
fn include(text: &str) -> Result<(PathBuf, String), String> {
    let parts = text.rsplit_once('=').filter(|(from, _)| !from.is_empty());
    let (from, to) =
        parts.ok_or("write it as SRC=DST, such as x.exe=\\Windows\\System32\\x.exe")?;
    Ok((PathBuf::from(from), path_in_image(to)?))
}
