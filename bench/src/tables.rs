//! Prints the results of a benchmark as tables.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use proxydhcp_bench::grouped;
use proxydhcp_bench::results::{
    AnswerCost, Download, FleetCost, Flood, Offers, Results, Siege, Spread, Storm, TableCost,
    Unacknowledged, WinpeCreation,
};

/// Renders all tables and notes.
pub(crate) fn render(results: &Results) -> String {
    let machine = &results.machine;
    let mut parts = vec![format!(
        "{}: {}\nLinux {}, {} with {} cores and {} GiB{}",
        results.date,
        results.command,
        machine.kernel,
        machine.cpu,
        machine.cores,
        machine.memory >> 30,
        if machine.is_virtual {
            ", a virtual machine"
        } else {
            ""
        },
    )];
    if !results.storm.is_empty() {
        parts.push(format!("Boot storm\n{}", storms(&results.storm)));
    }
    if !results.flood.is_empty() {
        parts.push(format!("Flood\n{}", floods(&results.flood)));
    }
    if !results.siege.is_empty() {
        parts.push(format!(
            "Boot storms amid hostile packets\n{}",
            sieges(&results.siege)
        ));
    }
    if !results.offers.is_empty() {
        parts.push(format!("Offers\n{}", offers(&results.offers)));
    }
    if !results.download.is_empty() {
        parts.push(format!(
            "Downloads by TFTP\n{}",
            downloads(&results.download)
        ));
    }
    parts.extend(results.unacknowledged.as_ref().map(unacknowledged));
    if let Some(cost) = &results.answer_cost {
        parts.push(format!("The XDP program by itself\n{}", answer_cost(cost)));
    }
    if !results.tables.is_empty() {
        parts.push(format!("The daemon\n{}", tables(&results.tables)));
    }
    parts.extend(results.winpe.as_ref().map(winpe));
    parts.extend(results.fleet.as_ref().map(fleet));
    let lines = |title: &str, lines: &[String]| {
        let lines: Vec<String> = lines.iter().map(|line| format!("- {line}")).collect();
        format!("{title}\n{}", lines.join("\n"))
    };
    parts.push(lines("Notes", &results.notes));
    if !results.failures.is_empty() {
        parts.push(lines("NOT MEASURED", &results.failures));
    }
    parts.join("\n\n")
}

fn storms(storms: &[Storm]) -> Table {
    let mut table = new_table(&[
        "contender",
        "clients",
        "answered in 1 s",
        "never",
        "p50",
        "p99",
        "max",
    ]);
    for storm in storms {
        table.add_row([
            storm.contender.clone(),
            thousands(storm.clients),
            share(storm.first_second, storm.clients),
            share(storm.never, storm.clients),
            milliseconds(storm.p50_ms),
            milliseconds(storm.p99_ms),
            milliseconds(storm.max_ms),
        ]);
    }
    aligned(table)
}

fn floods(floods: &[Flood]) -> Table {
    let mut table = new_table(&[
        "contender",
        "asked/s",
        "replies/s",
        "highest without loss/s",
    ]);
    for flood in floods {
        let bound = if flood.bounded_by_generator {
            "≥ "
        } else {
            ""
        };
        table.add_row([
            flood.contender.clone(),
            rate(flood.offered_per_second),
            rate(flood.replies_per_second),
            flood
                .lossless_per_second
                .map_or_else(|| "-".to_owned(), |value| format!("{bound}{}", rate(value))),
        ]);
    }
    aligned(table)
}

fn sieges(sieges: &[Siege]) -> Table {
    let mut table = new_table(&[
        "datapath",
        "hostile packets",
        "of them/s",
        "least/s",
        "clients",
        "at the first try",
        "worst of 1,000",
        "never",
        "p99",
        "max",
    ]);
    for siege in sieges {
        let clients = siege.storms * siege.clients;
        table.add_row([
            siege.datapath.clone(),
            siege.hostile.clone(),
            rate(siege.hostile_per_second),
            rate(siege.hostile_per_second_least),
            thousands(clients),
            share(siege.first_try, clients),
            thousands(siege.first_try_least),
            thousands(siege.never),
            milliseconds(siege.p99_ms),
            milliseconds(siege.max_ms),
        ]);
    }
    aligned(table)
}

fn offers(offers: &[Offers]) -> Table {
    let mut table = new_table(&[
        "contender",
        "conversations",
        "offered in 1 s",
        "lost",
        "offer p50",
        "p99",
        "max",
        "answer p99",
        "max",
        "longest round",
    ]);
    for of in offers {
        let times = [of.offer_p50_ms, of.offer_p99_ms, of.offer_max_ms];
        let times = times
            .into_iter()
            .chain([of.answer_p99_ms, of.answer_max_ms]);
        let mut row = vec![
            of.contender.clone(),
            thousands(of.conversations),
            share(of.offered_in_a_second, of.conversations),
            thousands(of.lost),
        ];
        row.extend(times.chain([Some(of.longest_ms)]).map(milliseconds));
        table.add_row(row);
    }
    aligned(table)
}

fn downloads(downloads: &[Download]) -> Table {
    let mut table = new_table(&[
        "server", "XDP", "clients", "KiB", "window", "loss", "failed", "MB/s", "p50", "p99", "max",
    ]);
    for download in downloads {
        let mut row = vec![
            download.server.clone(),
            if download.xdp { "yes" } else { "" }.to_owned(),
            thousands(download.clients),
            thousands(usize::try_from(download.size >> 10).unwrap_or(usize::MAX)),
            download.window.to_string(),
            format!("{} %", download.loss * 100.0),
            thousands(download.failed),
            format!("{:.0}", download.bytes_per_second / 1e6),
        ];
        row.extend([download.p50_ms, download.p99_ms, download.max_ms].map(milliseconds));
        table.add_row(row);
    }
    aligned(table)
}

fn unacknowledged(strangers: &Unacknowledged) -> String {
    format!(
        "{} TFTP requests that nobody acknowledges: {} of memory; a client after them gets 1 MiB in {}",
        thousands(strangers.requests),
        mebibytes(strangers.bytes),
        milliseconds(Some(strangers.fresh_ms))
    )
}

fn winpe(creation: &WinpeCreation) -> String {
    format!(
        "A WinPE from an ISO, its image {}, with {} drivers: {:.1} s, {} of memory",
        mebibytes(creation.image),
        creation.drivers,
        creation.seconds,
        mebibytes(creation.memory)
    )
}

fn fleet(cost: &FleetCost) -> String {
    let mut table = new_table(&[
        "in service on all",
        "least",
        "median",
        "most",
        "etcd",
        "service nodes",
        "clients",
    ]);
    for (what, spread) in [
        ("first load", cost.first_load),
        ("one node changed", cost.one_node),
        ("all nodes changed", cost.all_nodes),
        ("the same, once written", cost.all_nodes_in_force),
    ] {
        let Spread {
            least_ms,
            median_ms,
            most_ms,
            slowest,
        } = spread;
        let mut row = vec![what.to_owned()];
        row.extend([least_ms, median_ms, most_ms].map(|time| milliseconds(Some(time))));
        let shares = [slowest.etcd, slowest.daemons, slowest.clients];
        row.extend(shares.map(|share| format!("{:.0} %", share * 100.0)));
        table.add_row(row);
    }
    format!(
        "A fleet of {} nodes: {} service nodes, {} members of etcd, {} times each; shares of the cores are \
         those of the slowest\n{}\n{} of {} requests lost during changes, at {}/s to each; {} answers out of \
         order; a service node has {}",
        thousands(cost.nodes as usize),
        cost.service_nodes,
        cost.members,
        cost.runs,
        aligned(table),
        cost.lost,
        grouped(&cost.asked.to_string()),
        grouped(&cost.load_per_second.to_string()),
        cost.wrong,
        mebibytes(cost.resident)
    )
}

fn answer_cost(cost: &AnswerCost) -> Table {
    let count =
        |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |n| thousands(n as usize));
    let mut table = new_table(&["figure", "value"]);
    for (figure, value) in [
        (
            "answer, 1,000 nodes in turn".to_owned(),
            format!("{:.0} ns", cost.hot_ns),
        ),
        (
            format!(
                "answer, {} nodes in random order",
                thousands(cost.many_nodes as usize)
            ),
            format!("{:.0} ns", cost.random_ns),
        ),
        (
            "reflector".to_owned(),
            format!("{:.0} ns", cost.reflector_ns),
        ),
        (
            "bare responder in C, without a limit, 1,000 nodes in turn".to_owned(),
            cost.responder_ns
                .map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0} ns")),
        ),
        (
            "program that does nothing (subtracted)".to_owned(),
            format!("{:.0} ns", cost.empty_ns),
        ),
        (
            "instructions that the verifier looked at".to_owned(),
            count(cost.verified_instructions),
        ),
        ("BPF instructions".to_owned(), count(cost.instructions)),
        (
            "bytes of machine code".to_owned(),
            count(cost.machine_code_bytes),
        ),
    ] {
        table.add_row([figure, value]);
    }
    aligned(table)
}

fn tables(sizes: &[TableCost]) -> Table {
    let mut table = new_table(&[
        "nodes",
        "reload",
        "read",
        "resolve",
        "fill",
        "swap",
        "all joined",
        "lost under load",
        "resident",
        "maps",
    ]);
    for size in sizes {
        let mut row = vec![thousands(size.nodes as usize)];
        match &size.reload {
            Some(reload) => {
                let times = [
                    reload.total_ms,
                    reload.read_ms,
                    reload.resolve_ms,
                    reload.fill_ms,
                    reload.swap_ms,
                    reload.joined_ms,
                ];
                row.extend(times.map(|time| milliseconds(Some(time))));
                row.push(format!(
                    "{} of {} in {} reloads",
                    reload.lost,
                    thousands(reload.asked as usize),
                    reload.reloads_under_load
                ));
            }
            None => row.extend(["-"; 7].map(str::to_owned)),
        }
        match size.memory {
            Some(memory) => row.extend([memory.resident, memory.maps].map(mebibytes)),
            None => row.extend(["-"; 2].map(str::to_owned)),
        }
        table.add_row(row);
    }
    aligned(table)
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(header.iter().copied());
    table
}

fn aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Groups digits by three.
fn thousands(number: usize) -> String {
    grouped(&number.to_string())
}

/// Formats a rate with three significant digits.
fn rate(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} M", value / 1e6),
        1e3.. => format!("{:.0} k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}

fn share(part: usize, whole: usize) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of clients are far below 2^52"
    )]
    let percent = part as f64 * 100.0 / whole as f64;
    // Rounding must not turn a part into "all" or "none".
    match part {
        0 => "0 %".to_owned(),
        part if part == whole => "100 %".to_owned(),
        _ => format!("{:.1} %", percent.clamp(0.1, 99.9)),
    }
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(
        || "-".to_owned(),
        |value| match value {
            1e3.. => format!("{:.2} s", value / 1e3),
            10.0.. => format!("{value:.0} ms"),
            1.0.. => format!("{value:.1} ms"),
            _ => format!("{:.0} µs", value * 1e3),
        },
    )
}

fn mebibytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "no memory has 2^52 bytes")]
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!("{mebibytes:.1} MiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_never_round_to_all_or_nothing() {
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(
            [999.0, 98_765.0, 1_234_567.0].map(rate),
            ["999", "99 k", "1.23 M"]
        );
        assert_eq!(share(1, 50_000), "0.1 %");
        assert_eq!(share(49_999, 50_000), "99.9 %");
        assert_eq!(share(50_000, 50_000), "100 %");
        assert_eq!(milliseconds(Some(0.072)), "72 µs");
        assert_eq!(milliseconds(Some(2345.0)), "2.35 s");
        assert_eq!(mebibytes(3 << 19), "1.5 MiB");
    }
}
