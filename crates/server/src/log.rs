//! What the server says while it runs, on standard output: short lines for people, or JSON objects for machines.

use std::fmt;
use std::io::IsTerminal;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::timestamp::Timestamp;

/// What goes to the log, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// A level, or a list with parts of their own: `info,synapse_redis=debug`. Checked by [`check_filter`].
    pub(crate) filter: String,
    /// The form of a line.
    pub(crate) format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Time, level, message, fields.
    Text,
    /// A JSON object with `timestamp`, `level`, `message` and the fields.
    Json,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks a level or a list of levels, and writes it as the filter reads it. The filter itself would take any word for the name of a
/// module and log everything of it.
pub(crate) fn check_filter(text: &str) -> Result<String, String> {
    let mut parts = Vec::new();
    for part in text.split(',') {
        let (target, level) = match part.trim().split_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, part.trim()),
        };
        let level = match level.to_ascii_lowercase() {
            level if level == "warning" => "warn".to_owned(),
            level => level,
        };
        if !LEVELS.contains(&level.as_str()) {
            let shown: String = level
                .chars()
                .take(30)
                .flat_map(char::escape_debug)
                .collect();
            return Err(format!(
                "`{shown}` is not a level: write off, error, warn, info, debug or trace"
            ));
        }
        let is_module = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
        };
        match target {
            None => parts.push(level),
            Some(target) if is_module(target) => parts.push(format!("{target}={level}")),
            Some(_) => return Err("a part is written module=level".to_owned()),
        }
    }
    Ok(parts.join(","))
}

/// Starts the log of this process.
pub(crate) fn start(config: &LogConfig) {
    // What the adapter says at this level about coming and going, the server says itself.
    let filter = if config.filter == "info" {
        "info,synapse_redis=warn"
    } else {
        &config.filter
    };
    let filter = EnvFilter::new(filter);
    let colours = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stdout);
    // Another log of this process would be one that a test has started.
    let _ = match config.format {
        LogFormat::Text => builder.event_format(TextLine).finish().try_init(),
        LogFormat::Json => builder
            .event_format(
                tracing_subscriber::fmt::format()
                    .json()
                    .flatten_event(true)
                    .with_timer(Clock)
                    .with_current_span(false)
                    .with_span_list(false),
            )
            .fmt_fields(JsonFields::new())
            .finish()
            .try_init(),
    };
}

struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Timestamp::now())
    }
}

/// `2026-11-23T19:49:51.042Z INFO  message  field=value`
struct TextLine;

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let paint = Paint(writer.has_ansi_escapes());
        let level = *event.metadata().level();
        write!(
            writer,
            "{}{}{} ",
            paint.code(DIM),
            Timestamp::now(),
            paint.code(RESET)
        )?;
        write!(
            writer,
            "{}{level:<5}{} ",
            paint.code(colour(level)),
            paint.code(RESET)
        )?;
        // The module helps whoever asked for details, and is noise for others.
        if level > Level::INFO {
            write!(
                writer,
                "{}{}:{} ",
                paint.code(DIM),
                event.metadata().target(),
                paint.code(RESET)
            )?;
        }
        let mut line = Line::default();
        event.record(&mut line);
        write!(writer, "{}", line.message)?;
        for (name, value) in line.fields {
            write!(
                writer,
                "  {}{name}={}{value}",
                paint.code(DIM),
                paint.code(RESET)
            )?;
        }
        writeln!(writer)
    }
}

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// Whether colours are wanted.
struct Paint(bool);

impl Paint {
    fn code(&self, code: &'static str) -> &'static str {
        if self.0 { code } else { "" }
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    /// Keeps a value. Control characters are escaped, since a value may come from a client; only one with spaces gets quotes.
    fn keep(&mut self, field: &Field, value: &str) {
        let mut text = String::with_capacity(value.len());
        for c in value.chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        if field.name() == "message" {
            self.message = text;
            return;
        }
        if text.is_empty() || text.contains([' ', '"', '=']) {
            text = format!("\"{}\"", text.replace('"', "'"));
        }
        self.fields.push((field.name(), text));
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(Level::DEBUG)
            .with_writer(move || writer.clone())
            .event_format(TextLine)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = sink.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.split_once(' ').unwrap().1.to_owned()
    }

    #[test]
    fn a_line_is_short_and_has_its_fields_last() {
        assert_eq!(
            logged(|| tracing::info!(port = 3000, "listening")),
            "INFO  listening  port=3000\n"
        );
        assert_eq!(
            logged(|| tracing::warn!(reason = "no route", "lost")),
            "WARN  lost  reason=\"no route\"\n"
        );
        assert_eq!(
            logged(|| tracing::debug!(error = %"x", "e")),
            "DEBUG synapse::log::tests: e  error=x\n"
        );
    }

    #[test]
    fn a_value_cannot_forge_a_line() {
        let line = logged(|| tracing::info!(name = "a\nINFO  forged \u{1b}[2J", "said"));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains('\u{1b}'));
    }

    #[test]
    fn filters_are_checked() {
        for (text, expect) in [
            ("info", Ok("info")),
            ("WARNING", Ok("warn")),
            ("off", Ok("off")),
            ("info, synapse_redis=debug", Ok("info,synapse_redis=debug")),
            (
                "synapse_redis",
                Err("`synapse_redis` is not a level: write off, error, warn, info, debug or trace"),
            ),
            (
                "",
                Err("`` is not a level: write off, error, warn, info, debug or trace"),
            ),
            ("info,=debug", Err("a part is written module=level")),
            ("[span]=debug", Err("a part is written module=level")),
        ] {
            assert_eq!(
                check_filter(text).as_deref().map_err(String::as_str),
                expect,
                "{text}"
            );
        }
    }
}
