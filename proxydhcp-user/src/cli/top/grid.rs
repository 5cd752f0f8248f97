//! Every node as a character that shows its state by its shape and by its colour. If there are more nodes
//! than characters, each stands for several, and shows the state of the one that is least far.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use crate::api::activity::State;
use crate::api::storm::Row;
use crate::text::printable;

/// How a state looks.
pub(super) fn mark(state: State) -> (char, Color) {
    match state {
        State::Silent => ('.', Color::DarkGray),
        State::Asked => ('?', Color::Yellow),
        State::Answered => ('o', Color::Cyan),
        State::Refused => ('x', Color::LightRed),
        State::Fetching => ('~', Color::Blue),
        State::Fetched => ('#', Color::Green),
        State::Failed => ('!', Color::Magenta),
    }
}

/// What is worth seeing first: trouble, and then who is least far.
fn rank(state: State) -> u8 {
    match state {
        State::Failed => 0,
        State::Refused => 1,
        State::Silent => 2,
        State::Asked => 3,
        State::Fetching => 4,
        State::Answered => 5,
        State::Fetched => 6,
    }
}

/// The nodes in an area.
pub(super) struct Grid {
    /// The lines, with the name of a group and the place of its nodes among all.
    blocks: Vec<Block>,
    /// How many nodes a character stands for.
    pub(super) nodes_each: usize,
}

struct Block {
    name: String,
    first: usize,
    count: usize,
    lines: u16,
}

impl Grid {
    /// Fits groups into an area, each with a line for its name if there is room for that.
    pub(super) fn new(groups: &[(String, u32)], area: Rect) -> Self {
        let (width, height) = (usize::from(area.width.max(1)), usize::from(area.height));
        let nodes: usize = groups.iter().map(|(_, count)| *count as usize).sum();
        let all = [(String::new(), u32::try_from(nodes).unwrap_or(u32::MAX))];
        let groups = if groups.len() * 3 <= height {
            groups
        } else {
            &all
        };
        let named =
            usize::from(groups.len() > 1 || groups.iter().any(|(name, _)| !name.is_empty()));
        let mut nodes_each = 1;
        let lines = |each: usize| {
            let lines = groups.iter().map(|(_, count)| {
                let count = *count as usize;
                named + count.div_ceil(each).div_ceil(width)
            });
            lines.sum::<usize>()
        };
        while lines(nodes_each) > height && nodes_each < nodes {
            nodes_each += 1 + nodes_each / 16;
        }
        let mut first = 0;
        let blocks = groups.iter().map(|(name, count)| {
            let count = *count as usize;
            let lines = count.div_ceil(nodes_each).div_ceil(width);
            let block = Block {
                name: if named == 1 {
                    title(name, count)
                } else {
                    String::new()
                },
                first,
                count,
                lines: u16::try_from(lines).unwrap_or(u16::MAX),
            };
            first += count;
            block
        });
        Self {
            blocks: blocks.collect(),
            nodes_each,
        }
    }

    /// Draws the nodes, as far as there is room.
    pub(super) fn draw(&self, rows: &[Row], area: Rect, buffer: &mut Buffer, is_coloured: bool) {
        let mut y = area.y;
        for block in &self.blocks {
            if !block.name.is_empty() && y < area.bottom() {
                let style = Style::new().bold();
                buffer.set_stringn(area.x, y, &block.name, area.width.into(), style);
                y = y.saturating_add(1);
            }
            let nodes = rows
                .get(block.first..block.first + block.count)
                .unwrap_or_default();
            let states = nodes.chunks(self.nodes_each).filter_map(least_far);
            for (at, state) in states.enumerate() {
                let width = usize::from(area.width.max(1));
                let place = |offset: usize| u16::try_from(offset).unwrap_or(u16::MAX);
                let (column, line) = (place(at % width), place(at / width));
                let (x, y) = (area.x + column, y.saturating_add(line));
                if y >= area.bottom() {
                    break;
                }
                let (char, color) = mark(state);
                let style = if is_coloured {
                    Style::new().fg(color)
                } else {
                    Style::new()
                };
                if let Some(cell) = buffer.cell_mut((x, y)) {
                    cell.set_char(char).set_style(style);
                }
            }
            y = y.saturating_add(block.lines);
        }
    }
}

fn title(name: &str, count: usize) -> String {
    let name = if name.is_empty() { "others" } else { name };
    format!("{} ({count})", printable(name.as_bytes()))
}

fn least_far(nodes: &[Row]) -> Option<State> {
    let states = nodes.iter().map(|row| row.state);
    states.min_by_key(|state| rank(*state))
}

#[cfg(test)]
mod tests {
    use ratatui::buffer::Cell;

    use super::*;

    fn drawn(
        groups: &[(&str, u32)],
        rows: &[Row],
        width: u16,
        height: u16,
    ) -> (Vec<String>, usize) {
        let groups: Vec<_> = groups
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        let grid = Grid::new(&groups, area);
        grid.draw(rows, area, &mut buffer, true);
        let lines = buffer.content().chunks(width.max(1).into());
        let text = |cells: &[Cell]| cells.iter().map(Cell::symbol).collect();
        (lines.map(text).collect(), grid.nodes_each)
    }

    fn row(state: State) -> Row {
        Row {
            state,
            ..Row::default()
        }
    }

    #[test]
    fn groups_have_their_names_and_each_node_its_mark() {
        let rows = State::ALL.map(row);
        let (lines, each) = drawn(&[("rack1", 5), ("", 2)], &rows, 10, 6);
        assert_eq!(each, 1);
        assert_eq!(
            lines[..4],
            ["rack1 (5) ", ".?xo!     ", "others (2)", "~#        "]
        );
    }

    #[test]
    fn a_character_of_several_shows_the_one_that_is_least_far() {
        let mut rows = vec![row(State::Fetched); 1000];
        rows[999].state = State::Refused;
        rows[0].state = State::Answered;
        let (lines, each) = drawn(&[("", 1000)], &rows, 10, 5);
        assert!((20..=25).contains(&each), "{each}");
        let text = lines.concat();
        assert!(
            text.starts_with("o##") && text.trim_end().ends_with("#x"),
            "{text}"
        );
    }

    #[test]
    fn no_area_is_too_small() {
        let rows = vec![row(State::Silent); 100];
        for (width, height) in [(0, 0), (1, 1), (3, 1), (1, 3)] {
            drawn(&[("a", 60), ("b", 40)], &rows, width, height);
        }
    }
}
