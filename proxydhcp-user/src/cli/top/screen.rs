//! What is on the screen.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline};

use super::grid::{Grid, mark};
use super::rates::Rates;
use crate::api::activity::State;
use crate::api::status::age;
use crate::api::storm::{Row, View};
use crate::text::{count, printable};

/// The width of the lists beside the nodes, if there is room for both.
const LISTS: u16 = 30;

/// What is shown.
pub(super) struct Screen {
    view: View,
    /// The number of the slowest nodes, and of the silent, in their order.
    slowest: Vec<usize>,
    silent: Vec<usize>,
    /// Why there is nothing newer.
    pub(super) trouble: Option<String>,
    is_coloured: bool,
}

impl Screen {
    pub(super) fn new(view: View) -> Self {
        let mut screen = Self {
            view: View::default(),
            slowest: Vec::new(),
            silent: Vec::new(),
            trouble: None,
            is_coloured: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        screen.show(view);
        screen
    }

    /// Takes up what is new.
    pub(super) fn show(&mut self, view: View) {
        /// More are in no terminal.
        const MOST: usize = 200;
        let rows = || view.rows.iter().enumerate();
        let is_silent = |(_, row): &(usize, &Row)| row.state == State::Silent;
        self.silent = rows()
            .filter(is_silent)
            .map(|(node, _)| node)
            .take(MOST)
            .collect();
        let mut took: Vec<_> = rows()
            .filter_map(|(node, row)| Some((row.took().filter(|took| *took > 0)?, node)))
            .collect();
        if took.len() > MOST {
            took.select_nth_unstable_by(MOST, |a, b| b.cmp(a));
            took.truncate(MOST);
        }
        took.sort_unstable_by(|a, b| b.cmp(a));
        self.slowest = took.into_iter().map(|(_, node)| node).collect();
        self.view = view;
        self.trouble = None;
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>, rates: &Rates) {
        let interfaces = u16::try_from(self.view.totals.interfaces.len().min(4)).unwrap_or(4);
        let rows = [
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(interfaces.max(2)),
            Constraint::Min(1),
            Constraint::Length(1),
        ];
        let [head, legend, figures, nodes, foot] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(self.head(rates), head);
        frame.render_widget(self.legend(), legend);
        self.figures(frame, figures, rates);
        let lists = if nodes.width > 2 * LISTS { LISTS } else { 0 };
        let columns = [Constraint::Min(1), Constraint::Length(lists)];
        let [nodes, lists] = Layout::horizontal(columns).areas(nodes);
        self.nodes(frame, nodes);
        if lists.width > 0 {
            self.lists(frame, lists);
        }
        frame.render_widget(self.foot(), foot);
    }

    fn head(&self, rates: &Rates) -> Line<'static> {
        let totals = &self.view.totals;
        let time = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), duration);
        let nodes = count(self.view.nodes.len(), "node");
        let text = format!(
            "proxydhcp  {nodes}  {} answers/s  conversations: p50 {}, p99 {}",
            rates.total(),
            time(totals.p50),
            time(totals.p99)
        );
        Line::from(text).bold()
    }

    fn legend(&self) -> Line<'static> {
        let states = State::ALL.into_iter().zip(self.view.totals.states);
        let spans = states.map(|(state, count)| {
            let (char, color) = mark(state);
            let span = Span::raw(format!("{char} {} {count}  ", state.name()));
            if self.is_coloured {
                span.fg(color)
            } else {
                span
            }
        });
        spans.collect()
    }

    fn figures(&self, frame: &mut Frame<'_>, area: Rect, rates: &Rates) {
        let columns = [
            Constraint::Fill(2),
            Constraint::Fill(1),
            Constraint::Fill(1),
        ];
        let [interfaces, refused, history] = Layout::horizontal(columns).spacing(1).areas(area);
        let lines = self.view.totals.interfaces.iter().map(|it| {
            let lost = match it.lost {
                0 => String::new(),
                lost => format!(", {lost} LOST"),
            };
            let name = printable(it.name.as_bytes());
            let datapath = printable(it.datapath.as_bytes());
            Line::from(format!(
                "{name} ({datapath}): {} answers, {}/s{lost}",
                it.answered,
                rates.of(&it.name)
            ))
        });
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), interfaces);
        frame.render_widget(Paragraph::new(self.refused()), refused);
        frame.render_widget(Sparkline::default().data(&rates.history), history);
    }

    /// The reasons of refusals, the most frequent first.
    fn refused(&self) -> Vec<Line<'static>> {
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for interface in &self.view.totals.interfaces {
            for (reason, count) in &interface.refused {
                *reasons.entry(reason).or_default() += count;
            }
            *reasons.entry("rate limit").or_default() += interface.limited;
        }
        let mut reasons: Vec<_> = reasons
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let line = |(reason, count): (&str, u64)| {
            Line::from(format!("refused: {count} {}", printable(reason.as_bytes())))
        };
        reasons.into_iter().map(line).collect()
    }

    fn nodes(&self, frame: &mut Frame<'_>, area: Rect) {
        let block = Block::new().borders(Borders::TOP);
        let inner = block.inner(area);
        let grid = Grid::new(&self.view.groups, inner);
        let title = match grid.nodes_each {
            1 => "nodes".to_owned(),
            each => format!("nodes, {each} a character, which shows the one that is least far"),
        };
        frame.render_widget(block.title(title), area);
        grid.draw(&self.view.rows, inner, frame.buffer_mut(), self.is_coloured);
    }

    fn lists(&self, frame: &mut Frame<'_>, area: Rect) {
        let slowest =
            Constraint::Max(u16::try_from(self.slowest.len()).unwrap_or(u16::MAX).min(8) + 1);
        let [slow, silent] = Layout::vertical([slowest, Constraint::Min(1)]).areas(area);
        let lines = self.slowest.iter().map(|&node| {
            let took = self.view.rows.get(node).and_then(Row::took).unwrap_or(0);
            format!("{:>7} {}", duration(took), self.name(node))
        });
        list(frame, slow, "slowest", lines);
        let [count, ..] = self.view.totals.states;
        let names = self.silent.iter().map(|&node| self.name(node));
        list(frame, silent, &format!("silent: {count}"), names);
    }

    fn name(&self, node: usize) -> String {
        let name = self.view.nodes.get(node).map_or("", |node| &node.name);
        printable(name.as_bytes())
    }

    fn foot(&self) -> Line<'static> {
        let quit = Span::raw("q quits  ");
        match &self.trouble {
            Some(trouble) => {
                Line::from_iter([quit, Span::from(printable(trouble.as_bytes())).bold()])
            }
            None => Line::from(quit),
        }
    }
}

fn list(frame: &mut Frame<'_>, area: Rect, title: &str, lines: impl Iterator<Item = String>) {
    let block = Block::new()
        .borders(Borders::TOP | Borders::LEFT)
        .title(title.to_owned())
        .border_style(Style::new().dim());
    let room = usize::from(block.inner(area).height);
    let lines: Vec<_> = lines.take(room).map(Line::from).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..120_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => age(Duration::from_millis(milliseconds)),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::api::storm::{Counted, Named};

    #[test]
    fn hostile_names_reach_the_terminal_in_printable_letters() {
        let name = "n\x1b[2J\u{7}";
        let mut view = View {
            nodes: vec![Named {
                name: name.to_owned(),
                winpe: 0,
                address: None,
                addresses: 0,
            }],
            rows: vec![Row::default()],
            groups: vec![(name.to_owned(), 1)],
            ..View::default()
        };
        view.totals.states = [1, 0, 0, 0, 0, 0, 0];
        view.totals.interfaces = vec![Counted {
            name: name.to_owned(),
            ..Counted::default()
        }];
        let screen = Screen::new(view);
        for (width, height) in [(100, 20), (30, 8), (1, 1)] {
            let mut terminal = ratatui::Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal
                .draw(|frame| screen.draw(frame, &Rates::default()))
                .unwrap();
            let text = terminal.backend().to_string();
            assert!(!text.contains(['\x1b', '\u{7}']), "{text}");
            assert!(
                width < 100 || text.matches("n\\u{1b}[2J\\u{7}").count() == 3,
                "{text}"
            );
        }
    }
}
