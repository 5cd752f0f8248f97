//! What a client does once it has the reply: it fetches the files that lead to WinPE, one after another.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;

use super::Probed;
use super::remedy::remedy;
use crate::tftp::client::{Fetched, Wanted};
use crate::winpe::architecture::Architecture;
use crate::winpe::bcd::Bcd;
use crate::winpe::check::{BOOTMGR, FONT};
use crate::winpe::content::Kind;

/// The bytes of a file that are looked at, and those fetched of an image, which may have gigabytes.
const HEAD: usize = 4 << 20;
/// The bytes fetched of any other file: far more than they have.
const ENOUGH: u64 = 64 << 20;

/// What has come of a file.
#[derive(Clone, Debug, Serialize)]
pub(in crate::cli) struct Line {
    /// Its name, as the server was asked.
    pub file: String,
    /// The bytes that have come.
    pub bytes: u64,
    /// The length of the whole file in bytes, if the server has told it.
    pub size: Option<u64>,
    /// How long they took, in milliseconds.
    pub milliseconds: f64,
    /// Their rate, in millions of bytes per second.
    pub megabytes_per_second: f64,
    /// Why a client cannot use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What to do about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Line {
    fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            bytes: 0,
            size: None,
            milliseconds: 0.0,
            megabytes_per_second: 0.0,
            problem: None,
            remedy: None,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate has no 52 bits that matter"
    )]
    fn add(&mut self, fetched: &Fetched) {
        let seconds = fetched.time.max(Duration::from_micros(1)).as_secs_f64();
        self.bytes = fetched.bytes;
        self.size = fetched.size;
        self.milliseconds = seconds * 1e3;
        self.megabytes_per_second = fetched.bytes as f64 / seconds / 1e6;
    }

    fn blame(&mut self, problem: String, remedy: String) {
        (self.problem, self.remedy) = (Some(problem), Some(remedy));
    }

    /// The problem with the file, if there is one, and its remedy.
    pub(super) fn fault(&self) -> Option<String> {
        let (problem, remedy) = self.problem.as_ref().zip(self.remedy.as_ref())?;
        Some(format!("{}: {problem}. Remedy: {remedy}", self.file))
    }
}

/// Fetches the files one after another, up to the first that a client cannot use.
///
/// Of images the beginning is fetched, or `all` of them.
pub(super) fn follow(probed: &Probed, all: bool) -> Vec<Line> {
    let answer = &probed.answer;
    let mut client = Client {
        from: probed.client,
        // EDK2 asks the server of option 54 where siaddr is missing.
        server: answer
            .next_server
            .or(answer.server_id)
            .unwrap_or(probed.server),
        all,
        lines: Vec::new(),
    };
    let loader = answer.loader.as_deref().unwrap_or_default();
    let bcd = answer.bcd.as_deref().unwrap_or_default();
    // All that follows is known, or the last line says why not.
    let _ = client.boot(probed.arch, loader, bcd);
    client.lines
}

struct Client {
    from: Ipv4Addr,
    server: Ipv4Addr,
    all: bool,
    lines: Vec<Line>,
}

impl Client {
    /// Goes the way of a client; `None` if it ends before the image.
    fn boot(&mut self, arch: Architecture, loader: &str, bcd: &str) -> Option<()> {
        self.fetch(loader, Kind::loader_of(arch.0.into()))?;
        if arch == Architecture::BIOS {
            // The boot manager is a file of its own there.
            self.fetch(BOOTMGR, Kind::BootManager)?;
        }
        let head = self.fetch(&with_backslashes(bcd), Kind::Registry)?;
        // Its bytes have just been judged.
        let bcd = Bcd::parse(&head).unwrap_or_default();
        let Some((sdi, image)) = bcd.sdi().zip(bcd.image()) else {
            let line = self.lines.last_mut()?;
            line.blame(
                "it names no image, or no boot.sdi, to fetch".to_owned(),
                "`proxydhcp winpe bcd show` prints what it says, and `proxydhcp winpe bcd write` \
                 makes another"
                    .to_owned(),
            );
            return None;
        };
        if let Some(fonts) = bcd.fonts() {
            let font = format!("{}\\{FONT}", fonts.trim_end_matches('\\'));
            self.fetch(&with_backslashes(&font), Kind::Font)?;
        }
        self.fetch(&with_backslashes(sdi), Kind::Ramdisk)?;
        self.fetch(&with_backslashes(image), Kind::Image)?;
        Some(())
    }

    /// Fetches a file, and returns its first bytes if a client can use it.
    fn fetch(&mut self, file: &str, kind: Kind) -> Option<Vec<u8>> {
        let wanted = Wanted {
            from: self.from,
            server: self.server,
            file,
            kept: HEAD,
            enough: match kind {
                Kind::Image if self.all => u64::MAX,
                Kind::Image => HEAD as u64,
                _ => ENOUGH,
            },
        };
        let mut line = Line::new(file);
        let mut usable = None;
        match wanted.fetch() {
            Ok(fetched) => {
                line.add(&fetched);
                match kind.judge(&fetched.head) {
                    Ok(()) => usable = Some(fetched.head),
                    Err(problem) => line.blame(problem, kind.remedy()),
                }
            }
            Err(failure) => line.blame(failure.to_string(), remedy(&wanted, &failure)),
        }
        self.lines.push(line);
        usable
    }
}

/// A path as Windows' boot manager asks for it.
fn with_backslashes(path: &str) -> String {
    let path = path.replace('/', "\\");
    format!("\\{}", path.trim_start_matches('\\'))
}

/// A line for each file.
pub(super) fn table(lines: &[Line]) -> String {
    let width = lines.iter().map(|line| line.file.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut table = String::from("\nfiles by TFTP:");
    for line in lines {
        let Line {
            file,
            bytes,
            size,
            milliseconds,
            megabytes_per_second,
            ..
        } = line;
        let _ = write!(table, "\n  {file:width$}  ");
        // Writing to a string cannot fail.
        let _ = match size {
            _ if *bytes == 0 && line.problem.is_some() => write!(table, "not fetched"),
            Some(size) if size > bytes => write!(table, "the first {bytes} of {size} bytes"),
            _ => write!(table, "{bytes} bytes"),
        };
        if *bytes > 0 {
            let _ = write!(
                table,
                ", {milliseconds:.1} ms, {megabytes_per_second:.1} MB/s"
            );
        }
    }
    table
}
