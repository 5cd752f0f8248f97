//! `proxydhcp top`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::api::client;
use crate::api::storm::View;
use crate::cli::args::ControlArgs;
use crate::cli::exit::Exit;
use crate::text::with_causes;

mod grid;
mod rates;
mod screen;
mod terminal;

use rates::Rates;
use screen::Screen;
use terminal::{Ending, Signals, Terminal};

/// How often the daemon is asked.
const TICK: Duration = Duration::from_secs(1);
/// How long a key may have to wait for a signal, and the other way round.
const LOOK: Duration = Duration::from_millis(100);

/// Arguments of `top`.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Shows the storm until somebody presses q.
///
/// # Errors
///
/// If no daemon can be reached at first, there is no terminal, or it goes away.
pub(super) fn run(args: &TopArgs) -> Result<ExitCode> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("top needs a terminal; `proxydhcp status` does not");
    }
    let socket = &args.control.socket;
    // An error that can be read belongs onto the ordinary screen.
    let mut view = View::default();
    take(&mut view, socket)?;
    let signals = Signals::block()?;
    let news = ask_by_and_by(socket.clone(), view.clone());
    let terminal = Terminal::take()?;
    let ended = watch(terminal, &signals, &news, view)?;
    Ok(match ended {
        Ending::Quit => Exit::Done.into(),
        Ending::Signal(number) => ExitCode::from(number.saturating_add(128)),
    })
}

/// What the daemon says now, or why it says nothing.
type News = Result<View, String>;

fn take(view: &mut View, socket: &Path) -> Result<()> {
    let update = client::storm(socket, view.position)?;
    if !view.take(update) {
        bail!("the daemon has another version");
    }
    Ok(())
}

/// Asks the daemon in a thread of its own, so that keys work while it is busy.
fn ask_by_and_by(socket: PathBuf, view: View) -> Receiver<News> {
    let (sender, news) = sync_channel(1);
    thread::spawn(move || ask(&socket, view, &sender));
    news
}

fn ask(socket: &Path, mut view: View, sender: &SyncSender<News>) {
    loop {
        thread::sleep(TICK);
        let told = match take(&mut view, socket) {
            Ok(()) => Ok(view.clone()),
            Err(error) => {
                // A daemon that starts anew has other nodes.
                view = View::default();
                Err(with_causes(&error))
            }
        };
        if sender.send(told).is_err() {
            return;
        }
    }
}

fn watch(
    mut terminal: Terminal,
    signals: &Signals,
    news: &Receiver<News>,
    view: View,
) -> Result<Ending> {
    let mut rates = Rates::default();
    rates.count(&view);
    let mut screen = Screen::new(view);
    let mut drawn: Option<Instant> = None;
    loop {
        let mut is_stale = drawn.is_none_or(|drawn| drawn.elapsed() >= TICK);
        match news.try_recv() {
            Ok(Ok(view)) => {
                rates.count(&view);
                screen.show(view);
                is_stale = true;
            }
            Ok(Err(trouble)) => {
                screen.trouble = Some(trouble);
                is_stale = true;
            }
            Err(_) => {}
        }
        if is_stale {
            // This fails when the terminal is gone.
            terminal.draw(|frame| screen.draw(frame, &rates))?;
            drawn = Some(Instant::now());
        }
        if let Some(number) = signals.arrived()? {
            return Ok(Ending::Signal(number));
        }
        if !event::poll(LOOK)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release && quits(key) => {
                return Ok(Ending::Quit);
            }
            Event::Resize(..) => drawn = None,
            _ => {}
        }
    }
}

fn quits(key: KeyEvent) -> bool {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers == KeyModifiers::CONTROL;
    is_interrupt || matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc)
}
