//! The share of a storm's clients with an answer, over time.

use anyhow::Result;
use plotters::prelude::{
    ChartBuilder, Color, DrawingBackend, FontStyle, IntoLogRange, LineSeries, PathElement,
    SeriesLabelPosition, WHITE,
};

use super::{FAINT_INK, INK, Sheet, color, drawn, thousands};
use crate::results::Storm;

pub(super) const HEIGHT: u32 = 430;
/// The place of the names in the chart, where curves seldom pass.
const LEGEND: (i32, i32) = (530, 14);
/// The ends of the time axis, in milliseconds.
const TIMES: (f64, f64) = (0.01, 10_000.0);

pub(super) struct Curves<'a> {
    clients: usize,
    storms: Vec<&'a Storm>,
}

impl<'a> Curves<'a> {
    /// The storms with the most clients.
    pub(super) fn largest(storms: &'a [Storm]) -> Option<Self> {
        let clients = storms.iter().map(|storm| storm.clients).max()?;
        let storms = storms.iter().filter(|storm| storm.clients == clients);
        Some(Self {
            clients,
            storms: storms.collect(),
        })
    }

    pub(super) fn draw<D: DrawingBackend>(&self, sheet: &Sheet<D>) -> Result<()> {
        sheet.head(
            &format!(
                "Boot storm: {} clients ask at the same instant",
                count(self.clients)
            ),
            "Share of clients with an answer. Those without one ask again after 1, 3 and 6 s, and \
             give up after 10 s.",
        )?;
        let scale = sheet.scale;
        let mut chart = drawn(
            ChartBuilder::on(&sheet.area)
                .margin_top(74 * scale)
                .margin_right(30 * scale)
                .margin_bottom(12 * scale)
                .margin_left(12 * scale)
                .x_label_area_size(36 * scale)
                .y_label_area_size(60 * scale)
                .build_cartesian_2d((TIMES.0..TIMES.1).log_scale(), 0.0..102.0_f64),
        )?;
        drawn(
            chart
                .configure_mesh()
                .bold_line_style(INK.mix(0.15))
                .light_line_style(WHITE)
                .axis_style(FAINT_INK)
                .x_labels(7)
                .y_labels(6)
                .x_label_formatter(&|time| time_label(*time))
                .y_label_formatter(&|share| format!("{share:.0} %"))
                .label_style(sheet.text(14, FontStyle::Normal, INK))
                .draw(),
        )?;
        // Drawn in reverse, so that the first contender is on top; it is still listed first.
        let line = |storm: &Storm| color(&storm.contender).stroke_width(3 * scale);
        for storm in self.storms.iter().rev() {
            drawn(chart.draw_series(LineSeries::new(points(storm), line(storm))))?;
        }
        for storm in &self.storms {
            let (line, length) = (line(storm), 22 * scale.cast_signed());
            let name = match storm.never {
                0 => storm.contender.clone(),
                never => format!("{} (never: {})", storm.contender, count(never)),
            };
            drawn(chart.draw_series(LineSeries::new([], line)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + length, y)], line));
        }
        let (x, y) = sheet.at(LEGEND.0, LEGEND.1);
        drawn(
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::Coordinate(x, y))
                .margin(14 * scale)
                .legend_area_size(28 * scale)
                .background_style(WHITE.mix(0.9))
                .border_style(INK.mix(0.2))
                .label_font(sheet.text(15, FontStyle::Normal, INK))
                .draw(),
        )
    }
}

fn count(clients: usize) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of clients are far below 2^52"
    )]
    let clients = clients as f64;
    thousands(clients)
}

/// The points of the curve; the last share is kept to the end.
fn points(storm: &Storm) -> Vec<(f64, f64)> {
    let (first, last) = TIMES;
    let mut points = vec![(first, 0.0)];
    let mut share = 0.0;
    for time in &storm.percent_answered_by_ms {
        points.push((time.max(first), share));
        share += 1.0;
        points.push((time.max(first), share));
    }
    points.push((last, share));
    points
}

fn time_label(milliseconds: f64) -> String {
    if milliseconds < 0.9 {
        format!("{:.0} µs", milliseconds * 1e3)
    } else if milliseconds < 900.0 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.0} s", milliseconds / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_units() {
        let labels = [0.01, 1.0, 100.0, 1000.0, 10_000.0].map(time_label);
        assert_eq!(labels, ["10 µs", "1 ms", "100 ms", "1 s", "10 s"]);
    }

    #[test]
    fn a_curve_steps_up_and_stays() {
        let storm = Storm {
            contender: "kernel".to_owned(),
            clients: 100,
            first_second: 2,
            never: 98,
            wrong: 0,
            p50_ms: None,
            p99_ms: None,
            max_ms: None,
            percent_answered_by_ms: vec![0.001, 5.0],
        };
        assert_eq!(
            points(&storm),
            [
                (0.01, 0.0),
                (0.01, 0.0),
                (0.01, 1.0),
                (5.0, 1.0),
                (5.0, 2.0),
                (10_000.0, 2.0)
            ]
        );
    }
}
