//! What a line of the log looks like.

use std::env;
use std::fmt;
use std::io::{IsTerminal, stderr};

use serde_json::json;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, layer};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::Outlet;
use crate::sys::journal::{self, Priority, marked};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// For people.
    #[default]
    Text,
    /// An object of JSON in each line.
    Json,
}

impl LineFormat {
    /// The line that says that so many lines were lost.
    pub(super) fn lost(self, lost: u64) -> String {
        let told = format!("log lines lost, because nobody read them in time: {lost}");
        self.line(Priority::Warning, &told)
    }

    /// A line that is no event, without a time, as stderr takes it.
    pub(super) fn line(self, priority: Priority, message: &str) -> String {
        let level = match priority {
            Priority::Error => "ERROR",
            Priority::Warning => "WARN",
            Priority::Info => "INFO",
            Priority::Debug => "DEBUG",
        };
        let text = match self {
            Self::Text => message.to_owned(),
            Self::Json => json!({"level": level, "message": message}).to_string(),
        };
        journal::for_stderr(priority, &text) + "\n"
    }
}

/// The layer that formats lines as they appear on stderr.
pub(crate) fn to_stderr<S>(
    outlet: &Outlet,
    format: LineFormat,
) -> Box<dyn Layer<S> + Send + Sync + 'static>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let outlet = outlet.clone();
    let is_journal = journal::is_stderr();
    let is_coloured = stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
    let layer = layer()
        .with_writer(move || outlet.clone())
        // Otherwise write errors would go to stderr themselves, and the daemon would die of a
        // closed terminal.
        .log_internal_errors(false)
        .with_ansi(is_coloured && format == LineFormat::Text);
    match (format, is_journal) {
        (LineFormat::Text, false) => layer.boxed(),
        (LineFormat::Text, true) => layer.event_format(Marked(text())).boxed(),
        (LineFormat::Json, false) => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
        (LineFormat::Json, true) => layer
            .fmt_fields(JsonFields::new())
            .event_format(Marked(json()))
            .boxed(),
    }
}

/// For people, without the time, which the journal has.
fn text() -> Format<Full, ()> {
    Format::default().without_time()
}

fn json() -> Format<Json, ()> {
    let format = Format::default().json().flatten_event(true);
    format.with_current_span(false).without_time()
}

/// Begins each line with its priority.
struct Marked<F>(F);

impl<S, N, F> FormatEvent<S, N> for Marked<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0
            .format_event(context, Writer::new(&mut text), event)?;
        let priority = match *event.metadata().level() {
            Level::ERROR => Priority::Error,
            Level::WARN => Priority::Warning,
            Level::INFO => Priority::Info,
            _ => Priority::Debug,
        };
        // Levels are padded.
        writeln!(writer, "{}", marked(priority, text.trim()))
    }
}
