//! The status as Prometheus reads it: the text format, version 0.0.4.
//!
//! Names follow Prometheus' rules: base units in the name, `_total` behind counters, `_info` behind
//! what has only labels. No label stands for a node or a client, so that the number of time series
//! depends on the interfaces alone.

use prometheus::TextEncoder;
use proxydhcp_common::verdict::Reason;

use self::page::{Labels, Page};
use crate::api::status::{Counters, InterfaceStatus, Lists, SourceStatus, Status, TftpStatus};
use crate::names::forward::Names;
use crate::tables::table::Table;

mod page;

/// The type of the text, for the header `Content-Type`.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// How many problems there are with the files in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemCounts {
    refused: usize,
    unresolved: usize,
    asked: usize,
    failed: usize,
    warnings: usize,
}

impl ProblemCounts {
    /// Those of the tables in service, and another one, `trouble`.
    pub fn new(table: &Table, names: &Names, trouble: Option<&str>) -> Self {
        Self {
            refused: table.refused().len(),
            unresolved: table.unresolved().count(),
            asked: names.are_asked().count(),
            failed: names.have_failed().count(),
            warnings: table.warnings().len() + usize::from(trouble.is_some()),
        }
    }
}

impl From<&Lists> for ProblemCounts {
    fn from(lists: &Lists) -> Self {
        Self {
            refused: lists.refused.len(),
            unresolved: lists.names.unresolved.len(),
            asked: lists.names.looking_up.len(),
            failed: lists.names.failed.len(),
            warnings: lists.warnings.len(),
        }
    }
}

/// The metrics of a daemon with this status.
///
/// # Errors
///
/// If the encoder refuses them, which it does only if one has no name.
pub fn text<P>(status: &Status<P>, problems: ProblemCounts) -> Result<String, prometheus::Error> {
    let mut page = Page::default();
    of_daemon(&mut page, status, problems);
    if let Some(source) = &status.source {
        of_source(&mut page, source);
    }
    of_interfaces(&mut page, status);
    if let Some(lookups) = &status.lookups {
        let counts = [
            ("found", lookups.found),
            ("unknown", lookups.unknown),
            ("failed", lookups.failed),
            ("dropped", lookups.dropped),
        ];
        page.counters(
            "client_lookups_total",
            "Addresses of clients without a record that the resolver was asked for, by outcome.",
            counts.map(|(outcome, count)| (vec![("outcome", outcome)], count)),
        );
    }
    if let Some(tftp) = &status.tftp {
        of_tftp(&mut page, tftp);
    }
    TextEncoder::new().encode_to_string(&page.families())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' numbers are floating"
)]
fn of_daemon<P>(page: &mut Page, status: &Status<P>, problems: ProblemCounts) {
    let build = vec![("version", status.version.as_str())];
    page.gauges("build_info", "The program's version.", [(build, 1.0)]);
    let reloads = &status.reloads;
    page.gauge(
        "start_time_seconds",
        "When the daemon was started, in seconds since 1970.",
        status.started,
    );
    page.gauge(
        "generation",
        "The number of tables installed since then.",
        status.generation as f64,
    );
    for (name, help, count) in [
        ("nodes", "Addresses served.", status.nodes),
        (
            "records",
            "Records of proxydhcp.cfg, bad ones included.",
            status.records,
        ),
        (
            "records_refused",
            "Records that cannot be served.",
            problems.refused,
        ),
        (
            "names_unresolved",
            "Names of records without an address.",
            problems.unresolved,
        ),
        (
            "names_asked",
            "Names that the resolver is being asked for.",
            problems.asked,
        ),
        (
            "names_failed",
            "Names that the resolver could not be asked for.",
            problems.failed,
        ),
        (
            "warnings",
            "Other problems with the files.",
            problems.warnings,
        ),
    ] {
        page.gauge(name, help, count as f64);
    }
    page.gauge(
        "newest_in_service",
        "1 if the newest files, names and addresses are in service, 0 if they were rejected or could not \
         be installed.",
        is(status.rejected.is_none() && status.uninstalled.is_none()),
    );
    page.gauge(
        "reloading",
        "1 while a reload is running.",
        is(status.reloading.is_some()),
    );
    let outcomes = [
        ("accepted", reloads.accepted),
        ("rejected", reloads.rejected),
    ];
    page.counters(
        "reloads_total",
        "Reloads since the start, by outcome.",
        outcomes.map(|(outcome, count)| (vec![("outcome", outcome)], count)),
    );
    if let Some(read) = reloads.files_read {
        page.gauge(
            "files_read_timestamp_seconds",
            "When the files in service were read, in seconds since 1970.",
            read,
        );
    }
    if let Some(took) = reloads.took {
        let steps = [
            ("read", took.read),
            ("resolve", took.resolve),
            ("fill", took.fill),
            ("swap", took.swap),
        ];
        page.gauges(
            "last_reload_duration_seconds",
            "How long the steps of the last accepted reload took.",
            steps.map(|(step, milliseconds)| (vec![("step", step)], milliseconds / 1e3)),
        );
    }
    page.gauge(
        "port_taken",
        "1 if another program holds UDP port 4011.",
        is(!status.port_holders.is_empty()),
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' numbers are floating"
)]
fn of_source(page: &mut Page, source: &SourceStatus) {
    page.gauge(
        "source_revision",
        "The revision of the source that is in service.",
        source.revision as f64,
    );
    page.gauge(
        "source_stale_seconds",
        "For how long it has not been known whether that is the newest; 0 while it is.",
        source.stale_for.unwrap_or_default(),
    );
    page.gauge(
        "source_nodes_refused",
        "Nodes of the source that are wrong, and get no answer.",
        source.bad.count as f64,
    );
}

fn of_interfaces<P>(page: &mut Page, status: &Status<P>) {
    let interfaces = &status.interfaces;
    let unserved = status.unserved.iter();
    let served = interfaces.iter().map(|it| (&it.name, 1.0));
    let all = served.chain(unserved.map(|it| (&it.name, 0.0)));
    page.gauges(
        "interface_served",
        "1 if the interface is served, 0 if it should be and is not.",
        all.map(|(name, is)| (vec![("interface", name.as_str())], is)),
    );
    page.gauges(
        "interface_info",
        "The datapath that answers on the interface, and how its XDP program is attached.",
        interfaces.iter().map(|it| (info(it), 1.0)),
    );
    page.gauges(
        "interface_second_best",
        "1 if the interface is served less well than it could be.",
        interfaces
            .iter()
            .map(|it| (of(it), is(it.fallback.is_some()))),
    );
    let shares: Vec<_> = interfaces.iter().flat_map(shares).collect();
    page.counters(
        "packets_received_total",
        "Packets to UDP port 4011. Each is received once by each datapath that it reaches.",
        shares.iter().map(|(at, it)| (at.clone(), it.received)),
    );
    page.counters(
        "packets_total",
        "Packets to UDP port 4011, by what became of them; the sum of all outcomes is what was received.",
        shares.iter().flat_map(|(at, it)| {
            outcomes(it).map(|(outcome, count)| (with(at, "outcome", outcome), count))
        }),
    );
    page.counters(
        "packets_refused_total",
        "Requests that were refused, by reason; their sum is the outcome refused.",
        shares.iter().flat_map(|(at, it)| {
            Reason::ALL.map(|reason| {
                let count = it.refused.get(reason.name()).copied().unwrap_or(0);
                (with(at, "reason", reason.name()), count)
            })
        }),
    );
    page.counters(
        "ring_lost_total",
        "Packets that a datapath did not receive because its ring was full.",
        shares.iter().map(|(at, it)| (at.clone(), it.lost)),
    );
    let counting = interfaces
        .iter()
        .filter_map(|it| Some((it, it.lost.as_ref()?)));
    page.counters(
        "driver_lost_replies_total",
        "Replies of the XDP program that the driver has dropped; they count as unsent, too.",
        counting.map(|(it, lost)| (of(it), lost.replies)),
    );
}

fn of(interface: &InterfaceStatus) -> Labels<'_> {
    vec![("interface", interface.name.as_str())]
}

fn with<'a>(labels: &Labels<'a>, name: &'static str, value: &'a str) -> Labels<'a> {
    let mut labels = labels.clone();
    labels.push((name, value));
    labels
}

fn info(interface: &InterfaceStatus) -> Labels<'_> {
    use crate::api::status::Datapath;
    use crate::sys::interface::AttachMode;

    let mut labels = of(interface);
    let datapath = match interface.datapath {
        Datapath::Kernel => "kernel",
        Datapath::AfXdp => "af-xdp",
        Datapath::Raw => "raw",
    };
    let mode = match interface.mode {
        Some(AttachMode::Native) => "native",
        Some(AttachMode::Generic) => "generic",
        None => "",
    };
    labels.extend([("datapath", datapath), ("mode", mode)]);
    labels
}

/// What each datapath of an interface has counted.
fn shares(interface: &InterfaceStatus) -> impl Iterator<Item = (Labels<'_>, &Counters)> {
    let program = interface.program.iter().map(|it| ("xdp", it));
    let af_xdp = interface.af_xdp.iter().map(|it| ("af-xdp", it));
    let raw = [("raw", &interface.raw)];
    let shares = program.chain(af_xdp).chain(raw);
    shares.map(|(datapath, it)| (with(&of(interface), "datapath", datapath), it))
}

fn outcomes(counters: &Counters) -> [(&'static str, u64); 7] {
    [
        ("answered", counters.answered),
        ("handed_up", counters.handed_up),
        ("passed", counters.passed),
        ("limited", counters.limited),
        ("expired", counters.expired),
        ("refused", counters.refused.values().sum()),
        ("unsent", counters.unsent),
    ]
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' numbers are floating"
)]
fn of_tftp(page: &mut Page, tftp: &TftpStatus) {
    let outcomes = [
        ("complete", tftp.complete),
        ("declined", tftp.declined),
        ("failed", tftp.failed),
        ("unbegun", tftp.unbegun),
        ("refused", tftp.refused),
        ("turned_away", tftp.turned_away),
        ("displaced", tftp.displaced),
    ];
    page.counters(
        "tftp_requests_total",
        "TFTP requests that have ended, by outcome.",
        outcomes.map(|(outcome, count)| (vec![("outcome", outcome)], count)),
    );
    page.counters(
        "tftp_sent_bytes_total",
        "Bytes that clients have acknowledged, in transfers that have ended.",
        [(Vec::new(), tftp.bytes)],
    );
    let running = &tftp.transfers;
    page.gauge(
        "tftp_transfers",
        "Transfers that are running.",
        running.len() as f64,
    );
    page.gauge(
        "tftp_transfers_sent_bytes",
        "Bytes that clients have acknowledged, in transfers that are running.",
        running.iter().map(|it| it.bytes).sum::<u64>() as f64,
    );
}

fn is(so: bool) -> f64 {
    f64::from(u8::from(so))
}
