//! Plots the results as SVG and PNG.

mod bars;
mod curves;

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::{BitMapBackend, DrawingArea, DrawingBackend, IntoDrawingArea, RGBColor};
use plotters::prelude::{FontStyle, IntoFont, SVGBackend, TextStyle, WHITE};
use plotters::style::register_font;

use crate::results::Results;
use bars::{Bar, Bars};
use curves::Curves;

const FONT: &str = "sans-serif";
const WIDTH: u32 = 860;
const INK: RGBColor = RGBColor(0x22, 0x26, 0x2b);
const FAINT_INK: RGBColor = RGBColor(0x6b, 0x72, 0x7b);
/// The number of PNG pixels for each SVG pixel.
const PNG_SCALE: u32 = 2;

/// Draws plots of the figures in the results into `folder`; returns the files.
///
/// # Errors
/// If a file cannot be written.
pub fn plot(results: &Results, folder: &Path) -> Result<Vec<PathBuf>> {
    // The text of PNGs is drawn here, so no font need be installed.
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .and_then(|()| register_font(FONT, FontStyle::Bold, dejavu::sans::bold()))
        .map_err(|_| anyhow!("the built-in font is damaged"))?;
    let mut files = Vec::new();
    for (name, figure) in figures(results) {
        let (svg, png) = (
            folder.join(format!("{name}.svg")),
            folder.join(format!("{name}.png")),
        );
        let size = |scale| (WIDTH * scale, figure.height() * scale);
        figure.draw(&Sheet::new(SVGBackend::new(&svg, size(1)), 1))?;
        figure.draw(&Sheet::new(
            BitMapBackend::new(&png, size(PNG_SCALE)),
            PNG_SCALE,
        ))?;
        files.extend([svg, png]);
    }
    Ok(files)
}

enum Figure<'a> {
    Bars(Bars),
    Curves(Curves<'a>),
}

impl Figure<'_> {
    fn height(&self) -> u32 {
        match self {
            Self::Bars(bars) => bars.height(),
            Self::Curves(_) => curves::HEIGHT,
        }
    }

    fn draw<D: DrawingBackend>(&self, sheet: &Sheet<D>) -> Result<()> {
        drawn(sheet.area.fill(&WHITE))?;
        match self {
            Self::Bars(bars) => bars.draw(sheet)?,
            Self::Curves(curves) => curves.draw(sheet)?,
        }
        drawn(sheet.area.present())
    }
}

fn figures(results: &Results) -> Vec<(&'static str, Figure<'_>)> {
    let mut figures = Vec::new();
    if let Some(curves) = Curves::largest(&results.storm) {
        figures.push(("storm", Figure::Curves(curves)));
    }
    if !results.flood.is_empty() {
        let bars = results.flood.iter().map(|flood| Bar {
            label: flood.contender.clone(),
            color: color(&flood.contender),
            value: flood.replies_per_second,
            note: match flood.lossless_per_second {
                _ if flood.bounded_by_generator => {
                    "no loss; shares its core with the clients".to_owned()
                }
                Some(rate) => format!("without a loss: {}", thousands(rate)),
                None => "never without a loss".to_owned(),
            },
            inner: flood.lossless_per_second,
        });
        figures.push((
            "flood",
            Figure::Bars(Bars {
                title: "Flood: replies a second".to_owned(),
                explanation: "20,000 clients, asking as fast as one core can. Dark: the highest \
                              rate at which nothing was lost."
                    .to_owned(),
                unit: "",
                rows: bars.collect(),
            }),
        ));
    }
    if let Some(cost) = &results.answer_cost {
        let bar = |label: String, contender, value| Bar {
            label,
            color: color(contender),
            value,
            note: String::new(),
            inner: Some(value),
        };
        figures.push((
            "ns",
            Figure::Bars(Bars {
                title: "The XDP program by itself: nanoseconds an answer".to_owned(),
                explanation: "BPF_PROG_TEST_RUN, medians, less a program that does nothing."
                    .to_owned(),
                unit: " ns",
                rows: vec![
                    bar("1,000 nodes in turn".to_owned(), "kernel", cost.hot_ns),
                    bar(
                        format!("{} at random", thousands(cost.many_nodes.into())),
                        "kernel",
                        cost.random_ns,
                    ),
                ],
            }),
        ));
    }
    figures
}

/// The color of a contender, which is the same in every plot.
fn color(contender: &str) -> RGBColor {
    match contender {
        "kernel" => RGBColor(0x1f, 0x5f, 0xbf),
        "af-xdp" => RGBColor(0x17, 0x9a, 0x9a),
        "raw" => RGBColor(0x4c, 0xa0, 0x3a),
        "dnsmasq" => RGBColor(0xe0, 0x7b, 0x1a),
        "reflector" => RGBColor(0x9a, 0xa1, 0xa9),
        _ => RGBColor(0xb0, 0x3a, 0x82),
    }
}

/// A drawing whose sizes are given in pixels of the SVG.
struct Sheet<D: DrawingBackend> {
    area: DrawingArea<D, Shift>,
    scale: u32,
}

impl<D: DrawingBackend> Sheet<D> {
    fn new(backend: D, scale: u32) -> Self {
        Self {
            area: backend.into_drawing_area(),
            scale,
        }
    }

    fn at(&self, x: i32, y: i32) -> (i32, i32) {
        let scale = self.scale.cast_signed();
        (x * scale, y * scale)
    }

    fn text(&self, size: u32, style: FontStyle, ink: RGBColor) -> TextStyle<'static> {
        (FONT, size * self.scale, style).into_font().color(&ink)
    }

    /// Draws the plot's first two lines.
    fn head(&self, title: &str, explanation: &str) -> Result<()> {
        let style = self.text(21, FontStyle::Bold, INK);
        drawn(self.area.draw_text(title, &style, self.at(20, 16)))?;
        let style = self.text(15, FontStyle::Normal, FAINT_INK);
        drawn(self.area.draw_text(explanation, &style, self.at(20, 44)))
    }
}

fn drawn<T, E: std::error::Error>(result: Result<T, E>) -> Result<T> {
    result.map_err(|error| anyhow!("cannot draw: {error}"))
}

/// A whole number with its digits grouped by three.
fn thousands(value: f64) -> String {
    grouped(&format!("{value:.0}"))
}

/// Digits grouped by three: `1,234` for `1234`.
pub fn grouped(digits: &str) -> String {
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_drawn_twice() {
        let text = include_str!("plot/example.json");
        let results: Results = serde_json::from_str(text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = plot(&results, folder.path()).unwrap();
        assert_eq!(files.len(), 6);
        for file in files {
            assert!(std::fs::metadata(&file).unwrap().len() > 1000, "{file:?}");
        }
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!(thousands(999.4), "999");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }
}
