//! `proxydhcp serve`.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::builder::RangedI64ValueParser;
use clap::{Args, ValueEnum, value_parser};
use jiff::SignedDuration;
use proxydhcp_common::limit::Limit;
use proxydhcp_common::vendor_class::VendorClass;

use crate::cli::args::{ConfigArgs, ControlArgs, NamesArgs, SourceArgs, percent, range};
use crate::cli::exit::{Exit, last_line};
use crate::cli::runtime::block_on;
use crate::cli::settings::{DEFAULT_FILE, SettingsError};
use crate::cli::{Context, complete};
use crate::daemon::fleet::{Fleet, Host};
use crate::daemon::http::{self, Listener};
use crate::daemon::logging::{self, LineFormat};
use crate::daemon::run::{Manner, serve};
use crate::daemon::{Settings, tftp};
use crate::datapath::modes::AttachOptions;
use crate::datapath::served_interface::DatapathPlan;
use crate::datapath::xdp::Duty;
use crate::names::saved;
use crate::sys::host_name;
use crate::sys::interface::{self, AttachMode, Interface};
use crate::sys::privileges::{self, Needs, Privileges};
use crate::tables::policy::{Offers, Policy, ReplyFormat, Unknown};
use crate::text::first_of;

mod check;

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct ServeArgs {
    /// Serve this interface, as soon as it exists; may be repeated [default: all that are up with an
    /// IPv4 address]
    #[arg(short, long = "interface", value_name = "IF", value_delimiter = ',', value_parser = name, add = complete::interfaces())]
    pub interfaces: Vec<String>,
    /// Check the settings, this process's rights, the files and the interfaces, and serve nothing
    ///
    /// Fails if serving would fail. What would be served less well than meant, such as an interface
    /// that does not exist yet, is a warning.
    #[arg(long)]
    pub check: bool,
    /// Refuse to start if no interface is named, here or in the settings file
    ///
    /// The systemd unit has it: attaching an XDP program may reset an interface, and nobody has said
    /// that this host's uplink may be touched.
    #[arg(long)]
    pub require_interface: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub names: NamesArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub source: SourceArgs,
    /// The folder in which the nodes of --source are kept, for a start without etcd
    #[arg(long, value_name = "DIR", default_value = FLEET_STATE)]
    pub fleet_state: PathBuf,
    /// What `fleet status` calls this host [default: its host name]
    #[arg(long, value_name = "NAME", value_parser = fleet_name)]
    pub fleet_name: Option<String>,
    /// Serve these nodes of --source, and no others [default: all]
    ///
    /// Other nodes get no answer, as they are another service node's.
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true, value_parser = range)]
    pub fleet_range: Option<String>,
    /// Reload when the configuration or the hosts file changes
    #[arg(long)]
    pub watch: bool,
    /// The share of the addresses in service that nodes may lose by a reload though their records stay
    ///
    /// More looks as if half a hosts file, or half a DNS zone, had been read: the reload is rejected,
    /// and says which nodes would go.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = percent())]
    pub allow_loss: u16,
    /// The datapath: the XDP program in the kernel, or this process
    #[arg(long, value_enum, default_value_t = DatapathChoice::Auto)]
    pub path: DatapathChoice,
    /// How the XDP program is attached
    #[arg(long, value_enum, default_value_t = XdpMode::Auto)]
    pub xdp_mode: XdpMode,
    /// Stop answering when this process is killed
    ///
    /// Otherwise the kernel goes on answering, by the tables it has, until the next start,
    /// `proxydhcp detach`, or the end of --outlive.
    #[arg(long)]
    pub no_pin: bool,
    /// How long the kernel goes on answering without this process: 30s, 5min or the like, or forever
    #[arg(long, value_name = "DURATION|forever", default_value_t = Outlive(None))]
    pub outlive: Outlive,
    /// What to do about clients whose address belongs to no node
    #[arg(long, value_enum, default_value_t = Unknown::Ignore)]
    pub unknown: Unknown,
    /// Which PXE clients get an offer when they ask for an address, so that no DHCP server need send them
    /// here
    #[arg(long, value_enum, default_value_t = OffersChoice::Off)]
    pub offers: OffersChoice,
    /// How long an offer waits before it is sent, in milliseconds, for firmware that misses early ones
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = offer_delay())]
    pub offer_delay: u16,
    /// Serve the files below the TFTP root by TFTP, too, on the interfaces in service
    #[arg(long)]
    pub tftp: bool,
    /// The TFTP server that clients are sent to [default: the address they asked]
    #[arg(long, value_name = "IP")]
    pub next_server: Option<Ipv4Addr>,
    /// The layout of replies
    #[arg(long, value_enum, default_value_t = ReplyFormat::Pxe)]
    pub reply_format: ReplyFormat,
    /// How many requests of one source are answered in a second; 0: all of them
    ///
    /// A source is an IP address, the MAC address that its frames come from, and the client's own in
    /// the request (chaddr). No client comes near the default.
    #[arg(long, value_name = "N", default_value_t = Limit::RATE, value_parser = at_least(0))]
    pub rate_limit: u16,
    /// How many requests of one source are answered before the rate limit applies
    #[arg(long, value_name = "N", default_value_t = Limit::BURST, value_parser = at_least(1))]
    pub burst: u16,
    /// A vendor class that is served besides `PXEClient`, for firmware that has one of its own; may be
    /// repeated [default: none]
    #[arg(long = "vendor-class", value_name = "NAME", value_parser = vendor_class)]
    pub vendor_classes: Vec<String>,
    /// Show metrics to Prometheus at this address, such as 127.0.0.1:9941; or systemd, for the socket
    /// that systemd passes [default: nowhere]
    ///
    /// There is /metrics, and there are /healthz and /readyz. An address that other hosts can get to
    /// needs a --web-config.
    #[arg(long, value_name = "ADDRESS:PORT|systemd")]
    pub metrics: Option<http::Address>,
    /// The file with the TLS certificate and the logins for --metrics, in the form that all exporters of
    /// Prometheus have [default: none]
    #[arg(long, value_name = "FILE")]
    pub web_config: Option<PathBuf>,
    /// What a line of the log looks like
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// The group whose members may use the control socket, besides root [default: none]
    #[arg(long, value_name = "GROUP")]
    pub control_group: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Where the nodes of a fleet are kept by default.
const FLEET_STATE: &str = "/var/lib/proxydhcp/fleet";

/// Parses the name of a service node.
fn fleet_name(text: &str) -> Result<String, String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_part) {
        return Err("write a host name, of 64 letters at most".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses the name of an interface.
fn name(text: &str) -> Result<String, String> {
    let is_part = |char: char| !char.is_whitespace() && !char.is_control() && char != '/';
    if text.is_empty() || !text.chars().all(is_part) {
        return Err(
            "no interface can have this name; `ip link` lists those that there are".to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Parses the beginning of an option 60.
fn vendor_class(text: &str) -> Result<String, String> {
    let is_text = text.bytes().all(|byte| byte.is_ascii_graphic());
    match VendorClass::new(text.as_bytes()) {
        Some(_) if is_text && !text.starts_with("PXEClient") => Ok(text.to_owned()),
        _ => Err(format!(
            "it is what option 60 begins with, 1 to {} letters, such as HW-Client; PXEClient is always \
             served",
            VendorClass::LONGEST
        )),
    }
}

/// Parses the milliseconds that an offer waits: clients wait for seconds.
pub(super) fn offer_delay() -> RangedI64ValueParser<u16> {
    value_parser!(u16).range(0..=5000)
}

/// Parses a number for the rate limit, at least this one.
fn at_least(least: i64) -> RangedI64ValueParser<u16> {
    value_parser!(u16).range(least..=Limit::MOST.into())
}

/// The value of `--outlive`; none stands for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlive(pub Option<Duration>);

impl Outlive {
    /// The shortest time: it is renewed at a third of it, on machines that may be busy.
    const LEAST: Duration = Duration::from_secs(1);
    const FOREVER: &str = "forever";
}

impl FromStr for Outlive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::FOREVER {
            return Ok(Self(None));
        }
        let wrong = || "write a time of at least 1s, such as 30s or 5min, or forever".to_owned();
        let time: SignedDuration = text.parse().map_err(|_| wrong())?;
        let time = Duration::try_from(time).map_err(|_| wrong())?;
        if time < Self::LEAST {
            return Err(wrong());
        }
        Ok(Self(Some(time)))
    }
}

impl fmt::Display for Outlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write!(f, "{time:?}"),
            None => f.write_str(Self::FOREVER),
        }
    }
}

/// The values of `--offers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OffersChoice {
    /// None: the DHCP server sends clients here, by option 60
    Off,
    /// Nodes with a record that are known by their hardware addresses
    Known,
    /// These, and clients without a record, which get the default WinPE: needs --unknown default
    All,
}

impl OffersChoice {
    /// The offers that are made, this many milliseconds late.
    pub(super) fn with_delay(self, delay: u16) -> Option<Offers> {
        (self != Self::Off).then(|| Offers {
            to_all: self == Self::All,
            delay: Duration::from_millis(delay.into()),
        })
    }
}

/// The values of `--path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatapathChoice {
    /// kernel where XDP attaches; raw elsewhere, and where a short transmit ring would lose replies
    Auto,
    /// The XDP program answers inside the kernel
    Kernel,
    /// This process answers, over AF_XDP sockets
    AfXdp,
    /// This process answers, over an AF_PACKET ring: works with any kernel and interface
    Raw,
}

/// The values of `--xdp-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum XdpMode {
    /// native, else generic; on veth pairs generic
    Auto,
    /// In the driver, or not at all
    Native,
    /// In the network core, on any interface
    Generic,
}

/// The values of `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// An object of JSON in each line
    Json,
}

impl From<LogFormat> for LineFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// Serves until the daemon is stopped.
///
/// # Errors
///
/// If privileges cannot be dropped, the log cannot be started, or the service fails to start.
pub(super) fn run(args: &ServeArgs, context: &Context) -> Result<ExitCode> {
    if args.require_interface && args.interfaces.is_empty() {
        return Err(no_interface(args)?.into());
    }
    if args.check {
        return check::run(args, context);
    }
    // Privileges are dropped before the log starts its thread.
    let tftp = args.take_tftp_port();
    let metrics = args.open_metrics()?;
    let privileges = args.keep_privileges()?;
    let format = args.log_format.into();
    let log = logging::start(format)?;
    let manner = Manner {
        tftp,
        metrics,
        ..Manner::default()
    };
    let settings = args.follow(args.settings(context));
    let ended = settings.and_then(|settings| serve(settings, &privileges, manner));
    drop(log);
    Ok(ended.map_or_else(
        |error| {
            logging::last_words(format, &last_line(&error));
            Exit::of(&error).into()
        },
        |()| ExitCode::SUCCESS,
    ))
}

/// The error that no interface is named, with those that there are.
fn no_interface(args: &ServeArgs) -> Result<SettingsError> {
    let mut all = block_on(interface::list())??;
    all.retain(|interface| interface.check().is_ok());
    let shown = |interface: &Interface| match interface.addresses.first() {
        Some(address) => format!("{} ({address})", interface.name),
        None => interface.name.clone(),
    };
    let shown: Vec<_> = all.iter().map(shown).collect();
    let file = args.control.settings.file.as_deref();
    Ok(SettingsError::NoInterface {
        path: file.unwrap_or(Path::new(DEFAULT_FILE)).to_owned(),
        there: if shown.is_empty() {
            "none yet".to_owned()
        } else {
            first_of(&shown, MANY, ", ")
        },
    })
}

/// How many interfaces a message names at most.
const MANY: usize = 20;

impl ServeArgs {
    /// Takes the port of the TFTP server, if there is to be one. Call it before privileges are
    /// dropped. If the port cannot be had, requests on port 4011 are answered all the same.
    pub fn take_tftp_port(&self) -> Option<Result<tftp::Port>> {
        self.tftp.then(tftp::Port::take)
    }

    /// Opens the socket for metrics, if there are to be any. Call it before privileges are dropped.
    ///
    /// # Errors
    ///
    /// If the web configuration file is wrong, or is missing where other hosts can get to the socket. A
    /// socket that cannot be opened does not keep the daemon from serving.
    pub fn open_metrics(&self) -> Result<Option<Listener>> {
        let web_config = self.web_config.as_deref();
        let open = |address| Listener::open(address, web_config);
        self.metrics.map(open).transpose()
    }

    /// Drops the privileges that serving with these arguments does not need. Call it before any
    /// thread is started.
    ///
    /// # Errors
    ///
    /// If the group of the control socket does not exist or cannot be joined, or the system refuses
    /// to drop a capability.
    pub fn keep_privileges(&self) -> Result<Privileges> {
        let needs = match self.path {
            DatapathChoice::Raw => Needs::PacketSockets,
            DatapathChoice::Auto | DatapathChoice::Kernel => Needs::XdpProgram,
            DatapathChoice::AfXdp => Needs::AfXdpSockets,
        };
        privileges::keep(needs, self.control_group.as_deref())
    }

    /// Has the nodes come from the fleet, if they are there.
    ///
    /// # Errors
    ///
    /// If the folder for them cannot be made, or others may change it.
    fn follow(&self, mut settings: Settings) -> Result<Settings> {
        if let Some(access) = self.source.access() {
            let host = Host {
                name: self.fleet_name.clone().map_or_else(host_name, Ok)?,
                range: self.fleet_range.clone(),
                unknown: self.unknown,
                offers_to_all: settings.offers.is_some_and(|offers| offers.to_all),
            };
            let fleet = Fleet::open(access, host, &self.fleet_state)?;
            settings.sources.config = fleet.config();
            settings.fleet = Some(Arc::new(fleet));
        }
        Ok(settings)
    }

    /// The settings of the daemon.
    pub fn settings(&self, context: &Context) -> Settings {
        Settings {
            sources: self.names.sources(&self.config, context),
            fleet: None,
            saved: saved::beside(&self.control.socket),
            policy: Policy {
                unknown: self.unknown,
                next_server: self.next_server,
                reply_format: self.reply_format,
                loaders: context.loaders.clone(),
                limit: Limit::new(self.rate_limit, self.burst),
                vendor_classes: self
                    .vendor_classes
                    .iter()
                    .filter_map(|name| VendorClass::new(name.as_bytes()))
                    .collect(),
            },
            offers: self.offers.with_delay(self.offer_delay),
            interfaces: self.interfaces.clone(),
            plan: self.plan(),
            pins: !self.no_pin,
            outlive: self.outlive.0,
            may_lack_config: false,
            announces: false,
            watch: self.watch,
            allow_loss: self.allow_loss,
            socket: self.control.socket.clone(),
        }
    }

    /// Two options that contradict each other, by their ids, and the remedy.
    pub(super) fn contradiction(&self) -> Option<([&'static str; 2], &'static str)> {
        if self.offers == OffersChoice::All && self.unknown != Unknown::Default {
            return Some((
                ["offers", "unknown"],
                "offers to all clients lead those without a record to the default WinPE, which unknown must \
                 allow: set unknown = \"default\", or offers = \"known\"",
            ));
        }
        if self.path == DatapathChoice::Raw && self.xdp_mode != XdpMode::Auto {
            return Some((
                ["path", "xdp_mode"],
                "the raw datapath has no XDP program for xdp-mode to apply to; leave out one of path \
                 and xdp-mode",
            ));
        }
        if self.fleet_range.is_some() && self.source.source.is_none() {
            return Some((
                ["fleet_range", "config"],
                "fleet-range is of the nodes of a source, and none is named; set source, or leave out \
                 fleet-range",
            ));
        }
        let is_public = self.metrics.is_some_and(http::Address::is_public);
        (is_public && self.web_config.is_none())
            .then_some((["metrics", "web_config"], http::PUBLIC))
    }

    fn plan(&self) -> DatapathPlan {
        let mode = match self.xdp_mode {
            XdpMode::Auto => None,
            XdpMode::Native => Some(AttachMode::Native),
            XdpMode::Generic => Some(AttachMode::Generic),
        };
        let xdp = |duty, or_raw| DatapathPlan::Xdp(AttachOptions { duty, mode, or_raw });
        match self.path {
            DatapathChoice::Auto => xdp(Duty::Answer, true),
            DatapathChoice::Kernel => xdp(Duty::Answer, false),
            DatapathChoice::AfXdp => xdp(Duty::Redirect, false),
            DatapathChoice::Raw => DatapathPlan::Raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_outlive_is_what_people_write() {
        let parse = |text: &str| text.parse().map(|Outlive(time)| time);
        for (text, seconds) in [("30s", 30), ("5min", 300), ("1h 30m", 5400), ("1s", 1)] {
            assert_eq!(
                parse(text),
                Ok(Some(Duration::from_secs(seconds))),
                "{text}"
            );
        }
        assert_eq!(parse("forever"), Ok(None));
        for text in ["", "30", "0s", "999ms", "-5s", "never", "1e9s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
