//! Horizontal bars, one for each contender, with the value written beside each.

use anyhow::Result;
use plotters::prelude::{Color, DrawingBackend, FontStyle, RGBColor, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{FAINT_INK, INK, Sheet, drawn, thousands};

const TOP: i32 = 80;
const ROW: i32 = 36;
const THICKNESS: i32 = 24;
/// The left end of the bars, and the length of the longest.
const LEFT: i32 = 176;
const LONGEST: f64 = 280.0;

pub(super) struct Bars {
    pub(super) title: String,
    pub(super) explanation: String,
    pub(super) unit: &'static str,
    pub(super) rows: Vec<Bar>,
}

pub(super) struct Bar {
    pub(super) label: String,
    pub(super) color: RGBColor,
    pub(super) value: f64,
    /// Text after the value.
    pub(super) note: String,
    /// A darker bar within the bar.
    pub(super) inner: Option<f64>,
}

impl Bars {
    pub(super) fn height(&self) -> u32 {
        let rows = u32::try_from(self.rows.len()).unwrap_or_default();
        TOP.unsigned_abs() + rows * ROW.unsigned_abs() + 14
    }

    pub(super) fn draw<D: DrawingBackend>(&self, sheet: &Sheet<D>) -> Result<()> {
        sheet.head(&self.title, &self.explanation)?;
        let largest = self.rows.iter().map(|bar| bar.value).fold(1.0, f64::max);
        let mut y = TOP;
        for bar in &self.rows {
            self.draw_bar(sheet, bar, largest, y)?;
            y += ROW;
        }
        Ok(())
    }

    fn draw_bar<D: DrawingBackend>(
        &self,
        sheet: &Sheet<D>,
        bar: &Bar,
        largest: f64,
        y: i32,
    ) -> Result<()> {
        let middle = y + THICKNESS / 2;
        let label = sheet
            .text(16, FontStyle::Normal, INK)
            .pos(Pos::new(HPos::Right, VPos::Center));
        let at = sheet.at(LEFT - 10, middle);
        drawn(sheet.area.draw_text(&bar.label, &label, at))?;

        let end = |value: f64| LEFT + length(value, largest);
        let rectangle = |value| [sheet.at(LEFT, y), sheet.at(end(value), y + THICKNESS)];
        let light = bar.color.mix(0.45).filled();
        drawn(
            sheet
                .area
                .draw(&Rectangle::new(rectangle(bar.value), light)),
        )?;
        if let Some(inner) = bar.inner {
            let inner = rectangle(inner.min(bar.value));
            drawn(sheet.area.draw(&Rectangle::new(inner, bar.color.filled())))?;
        }

        let value = sheet
            .text(16, FontStyle::Bold, INK)
            .pos(Pos::new(HPos::Left, VPos::Center));
        let text = format!("{}{}", thousands(bar.value), self.unit);
        // Digits of this font are 9 pixels wide at this size, commas half of that.
        let width = 9 * i32::try_from(text.len()).unwrap_or_default() + 12;
        let x = end(bar.value) + 8;
        drawn(sheet.area.draw_text(&text, &value, sheet.at(x, middle)))?;
        let note = sheet
            .text(14, FontStyle::Normal, FAINT_INK)
            .pos(Pos::new(HPos::Left, VPos::Center));
        let at = sheet.at(x + width, middle);
        drawn(sheet.area.draw_text(&bar.note, &note, at))
    }
}

/// The length of a bar in pixels, never so short that it is invisible.
fn length(value: f64, largest: f64) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "no bar is longer than the longest"
    )]
    let pixels = (value / largest * LONGEST).clamp(2.0, LONGEST) as i32;
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion() {
        assert_eq!(length(500.0, 1000.0), 140);
        assert_eq!(length(1000.0, 1000.0), 280);
        assert_eq!(length(0.0, 1000.0), 2);
    }
}
