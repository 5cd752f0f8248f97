//! The log of the daemon in xCAT's place: the local syslog, which xCAT's own daemons write to.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::Duration;

use anyhow::Result;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt::layer};

use crate::daemon::logging::{self, LineFormat, Log, Outlet};

/// The socket of the local syslog.
const SOCKET: &str = "/dev/log";
/// The tag that names the origin of the lines.
const TAG: &str = "xcat";
/// Facility local4 (20), severity informational (6): the only ones that xCAT's daemon uses.
const PRIORITY: u8 = 20 * 8 + 6;
/// How long a line waits for a syslog that does not read, before it is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends the log to the local syslog, and to stderr too if `to_stderr` is set; `RUST_LOG` filters
/// it. Call it after privileges are dropped, because it starts threads.
///
/// # Errors
///
/// If stderr cannot be duplicated or a thread cannot be started.
pub(super) fn start(to_stderr: bool) -> Result<Log> {
    let format = LineFormat::Text;
    let syslog = Outlet::new("syslog", LineFormat::Text, Lines(socket().ok()))?;
    let stderr = to_stderr.then(|| Outlet::stderr(format)).transpose()?;
    let writer = syslog.clone();
    let to_syslog = layer()
        .event_format(Plain)
        // A syslog writes escapes as text.
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(move || writer.clone());
    let to_stderr = stderr.as_ref();
    let to_stderr = to_stderr.map(|outlet| logging::to_stderr(outlet, format));
    tracing_subscriber::registry()
        .with(to_syslog.and_then(to_stderr).with_filter(logging::filter()))
        .init();
    Ok(Log::new([syslog].into_iter().chain(stderr)))
}

/// Sends a single line to the syslog.
pub(super) fn tell(line: &str) {
    let _ = Lines(socket().ok()).write(line.as_bytes());
}

/// Formats a line without time, level and origin, which the syslog adds. Warnings and errors are
/// marked by a word, because the severity is the same for all lines.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(match *event.metadata().level() {
            Level::ERROR => "Error: ",
            Level::WARN => "Warning: ",
            _ => "",
        })?;
        context.format_fields(writer, event)
    }
}

/// Sends each write as one line.
struct Lines(Option<UnixDatagram>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(socket) = &self.0 {
            // RFC 3164, section 4.1, without the time and the host name, which a local syslog adds.
            // The socket is not connected, so that a restarted syslog gets the line. If there is no
            // syslog, the line is lost, because it has nowhere else to go.
            let head = format!("<{PRIORITY}>{TAG}[{}]: ", process::id());
            let _ = socket.send_to(&[head.as_bytes(), line].concat(), SOCKET);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn socket() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}
