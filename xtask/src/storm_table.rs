//! Prints the figures of a storm as a table.

use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use proxydhcp_clients::{Firmware, StormReport};

/// The table of clients and latencies, for each firmware and in total.
pub(crate) fn render(report: &StormReport) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "clients",
        "number",
        "answered at the first try",
        "after retries",
        "never",
        "wrongly",
        "p50",
        "p99",
        "max",
    ]);
    let rows = [
        ("BIOS", Some(Firmware::Bios)),
        ("UEFI", Some(Firmware::Uefi)),
        ("all", None),
    ];
    for (name, firmware) in rows {
        let summary = report.summary(firmware);
        table.add_row([
            name.to_owned(),
            summary.clients.to_string(),
            summary.first_try.to_string(),
            summary.retried.to_string(),
            summary.never.to_string(),
            summary.wrong.to_string(),
            latency(summary.p50),
            latency(summary.p99),
            latency(summary.max),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Formats a latency with about three digits, in a suitable unit.
fn latency(value: Option<Duration>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1?}"))
}
