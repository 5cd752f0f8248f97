//! `proxydhcp winpe bcd`: what a BCD says, and new ones.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum, value_parser};
use serde_json::{Value, json};

use crate::cli::output::print;
use crate::sys::file;
use crate::sys::replace::{self, Lasting};
use crate::winpe::bcd::device::Device;
use crate::winpe::bcd::element::{kind, name};
use crate::winpe::bcd::guid::Guid;
use crate::winpe::bcd::network::{Firmware, NetworkBoot};
use crate::winpe::bcd::{Bcd, Data, Object, with_backslashes};

/// The largest TFTP block whose packet an Ethernet carries in one piece, in bytes.
pub(super) const BLOCK_SIZE: u16 = 1456;
/// The number of blocks that are sent without waiting.
pub(super) const WINDOW_SIZE: u16 = 16;

/// The commands of `winpe bcd`.
#[derive(Clone, Debug, Subcommand)]
pub enum BcdCommand {
    /// Print what a BCD says: its objects and their elements, by the names that bcdedit has for them.
    #[command(after_help = "\
Examples:
  proxydhcp winpe bcd show /tftpboot/winboot/winpe-a/Boot/BCD
  proxydhcp winpe bcd show BCD --json | jq -r '.[].elements[] | select(.name==\"device\").value'")]
    Show(ShowArgs),
    /// Write the BCD of a network boot: one loader, which boots an image from the TFTP server.
    ///
    /// The same arguments make the same bytes. The paths are those below the TFTP root.
    #[command(after_help = "\
Examples:
  proxydhcp winpe bcd write /tftpboot/winboot/a/Boot/BCD --firmware bios --image winboot/a/Boot/WinPE_64.wim
  proxydhcp winpe bcd write BCD-uefi --firmware uefi --image winboot/a/Boot/WinPE_64.wim \\
      --sdi winboot/shared/boot.sdi --winload '\\windows\\system32\\winload.efi' --tftp-window-size 32")]
    Write(WriteArgs),
}

/// Arguments of `winpe bcd show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// The BCD
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `winpe bcd write`.
#[derive(Clone, Debug, Args)]
pub struct WriteArgs {
    /// The file to write, or to replace
    pub file: PathBuf,
    /// The firmware of the clients that read it
    #[arg(long)]
    pub firmware: Firmware,
    /// The image (.wim)
    #[arg(long, value_name = "PATH", value_parser = below_root)]
    pub image: PathBuf,
    /// The format of the ramdisk [default: boot.sdi beside the image]
    #[arg(long, value_name = "PATH", value_parser = below_root)]
    pub sdi: Option<PathBuf>,
    /// The loader in the image [default: \windows\system32\boot\winload.exe or .efi]
    #[arg(long, value_name = "PATH")]
    pub winload: Option<String>,
    /// The folder with the boot manager's fonts [default: where it looks itself, Boot/Fonts]
    #[arg(long, value_name = "PATH", value_parser = below_root)]
    pub fonts: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: BootOptions,
}

/// Options of a network boot that a BCD has.
#[derive(Clone, Debug, Args)]
pub struct BootOptions {
    /// The language of the boot manager's messages
    #[arg(long, value_name = "LOCALE", default_value = "en-US", value_parser = locale)]
    pub locale: String,
    /// The size of TFTP's blocks in bytes; larger ones than 1456 are sent in pieces
    #[arg(long, value_name = "BYTES", default_value_t = BLOCK_SIZE, value_parser = value_parser!(u16).range(8..=65464))]
    pub tftp_block_size: u16,
    /// The number of blocks that are sent without waiting for the client
    #[arg(long, value_name = "BLOCKS", default_value_t = WINDOW_SIZE, value_parser = value_parser!(u16).range(1..))]
    pub tftp_window_size: u16,
}

impl ValueEnum for Firmware {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Bios, Self::Uefi]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        }))
    }
}

/// Runs a command.
///
/// # Errors
///
/// If the file cannot be read as a BCD, or not be written.
pub(super) fn run(command: &BcdCommand) -> Result<ExitCode> {
    match command {
        BcdCommand::Show(args) => show(args),
        BcdCommand::Write(args) => write(args),
    }
}

fn show(args: &ShowArgs) -> Result<ExitCode> {
    let bytes = file::read(&args.file)?;
    let bcd = Bcd::parse(&bytes).with_context(|| args.file.display().to_string())?;
    if args.json {
        let objects: Vec<_> = bcd.objects.iter().map(as_json).collect();
        print(&serde_json::to_string_pretty(&objects)?);
    } else {
        let objects: Vec<_> = bcd.objects.iter().map(in_words).collect();
        print(&objects.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn write(args: &WriteArgs) -> Result<ExitCode> {
    let firmware = args.firmware;
    let winload = args.winload.as_deref().unwrap_or(firmware.winload());
    if Firmware::of_winload(winload) != Some(firmware) {
        bail!(
            "{winload} is not a loader for {firmware}; name {} or the like",
            firmware.winload()
        );
    }
    let sdi = args.sdi.clone();
    let sdi = sdi.unwrap_or_else(|| args.image.with_file_name("boot.sdi"));
    let boot = NetworkBoot {
        firmware,
        image: with_backslashes(&args.image),
        sdi: with_backslashes(&sdi),
        winload: winload.to_owned(),
        fonts: args.fonts.as_deref().map(with_backslashes),
        locale: args.options.locale.clone(),
        block_size: args.options.tftp_block_size,
        window_size: args.options.tftp_window_size,
    };
    replace::write(&args.file, &boot.bcd().bytes(), Lasting::Yes)
        .with_context(|| format!("cannot write {}", args.file.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn in_words(object: &Object) -> String {
    let mut told = format!("{} {}\n", kind(object.kind), named(object.id));
    for element in &object.elements {
        let data = match &element.data {
            Data::Object(id) => named(*id),
            Data::Objects(ids) => {
                let ids: Vec<_> = ids.iter().map(|id| named(*id)).collect();
                ids.join(", ")
            }
            Data::Device(Device::Ramdisk { options, .. }) => {
                format!("{}, with {}", element.data, named(*options))
            }
            data => data.to_string(),
        };
        let _ = writeln!(told, "  {:22} {data}", name(element.number));
    }
    told
}

fn named(id: Guid) -> String {
    let alias = id.alias().map(|alias| format!("{alias} "));
    format!("{}{id}", alias.unwrap_or_default())
}

fn as_json(object: &Object) -> Value {
    let elements = object.elements.iter().map(|element| {
        let value = match &element.data {
            Data::Integer(number) => json!(number),
            Data::Boolean(is_set) => json!(is_set),
            Data::Objects(ids) => json!(ids.iter().map(ToString::to_string).collect::<Vec<_>>()),
            Data::Device(Device::Boot) => json!({"device": "boot"}),
            Data::Device(Device::Ramdisk { options, path }) => {
                json!({"device": "ramdisk", "path": path, "options": options.to_string()})
            }
            Data::Device(Device::Other(bytes)) => json!({"device": "other", "bytes": bytes}),
            Data::Other(bytes) => json!({"bytes": bytes}),
            Data::Text(text) => json!(text),
            Data::Object(id) => json!(id.to_string()),
        };
        json!({
            "number": format!("{:08x}", element.number),
            "name": name(element.number),
            "value": value,
        })
    });
    json!({
        "id": object.id.to_string(),
        "type": kind(object.kind),
        "elements": elements.collect::<Vec<_>>(),
    })
}

/// Parses a path below the TFTP root.
fn below_root(text: &str) -> Result<PathBuf, String> {
    let path = text.replace('\\', "/");
    let path = Path::new(path.trim_start_matches('/'));
    if path.as_os_str().is_empty() || path.iter().any(|part| part == "..") {
        return Err("write its path below the TFTP root, such as winboot/a/Boot/x.wim".to_owned());
    }
    Ok(path.to_owned())
}

/// Parses a language as Windows names them.
fn locale(text: &str) -> Result<String, String> {
    let is_part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !text.split('-').all(is_part) {
        return Err("write it such as en-US or de-DE".to_owned());
    }
    Ok(text.to_owned())
}
