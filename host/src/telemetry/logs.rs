//! Logs: one line for each event, on stderr.
//!
//! Events carry what they are about in fields of their own. Spans are for traces and are not logged, so
//! that they cost nothing where nothing is traced.

use std::io::{self, Write};

use tracing::Dispatch;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use super::traces::Traces;

/// What is logged, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logs {
    /// How a line looks.
    pub format: Format,
    /// The least important level that is logged: `error`, `warn`, `info`, `debug`, `trace` or `off`. Parts
    /// of the program may have one of their own: `info,countersign::verdicts=debug,hyper=off`.
    pub level: String,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// One JSON object, the event's fields beside `timestamp`, `level`, `target` and `message`.
    #[default]
    Json,
    /// Words for a person.
    Text,
}

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogsError {
    /// The administrator asks for a level that there is not.
    #[error(
        "`{part}` of log level `{level}` is neither a level (error, warn, info, debug, trace, off) nor \
         of the form target=level"
    )]
    Level {
        /// As configured.
        level: String,
        /// What of it is wrong.
        part: String,
    },
    /// Logs were started before in this process.
    #[error("logs of this process were started before")]
    Started,
}

/// From now on events go to stderr, and spans to `traces`.
///
/// # Errors
///
/// Every [`LogsError`].
pub fn start(logs: &Logs, traces: Option<&Traces>) -> Result<(), LogsError> {
    let dispatch = dispatch(logs, traces, io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogsError::Started)
}

fn dispatch<W>(logs: &Logs, traces: Option<&Traces>, writer: W) -> Result<Dispatch, LogsError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(false);
    let lines = match logs.format {
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
        Format::Text => lines.with_writer(Lines(writer)).boxed(),
    };
    let events = filter_fn(|metadata| metadata.is_event());
    let lines = lines.with_filter(levels(&logs.level)?.and(events));
    let subscriber = tracing_subscriber::registry().with(lines);
    Ok(match traces {
        // An absent layer would still have every span made.
        None => Dispatch::new(subscriber),
        Some(traces) => Dispatch::new(subscriber.with(traces.layer())),
    })
}

/// `info,target=debug`. A word that is neither is refused: a misspelt level would silence everything.
fn levels(level: &str) -> Result<Targets, LogsError> {
    let mut levels = Targets::new();
    for part in level.split(',').map(str::trim) {
        let wrong = || LogsError::Level { level: level.to_owned(), part: part.to_owned() };
        let parsed = |text: &str| text.parse::<LevelFilter>().map_err(|_| wrong());
        levels = match part.split_once('=') {
            Some(("", _)) => return Err(wrong()),
            Some((target, level)) => levels.with_target(target, parsed(level)?),
            // The parser takes an empty text for `error`.
            None if part.is_empty() => return Err(wrong()),
            None => levels.with_default(parsed(part)?),
        };
    }
    Ok(levels)
}

/// Keeps an event on one line: what came from outside cannot look like another event, nor move a
/// terminal's cursor.
struct Lines<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Lines<W> {
    type Writer = Line<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self.0.make_writer())
    }
}

struct Line<W>(W);

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.contains(char::is_control) {
            let mut escaped = String::with_capacity(text.len() + 16);
            for c in line.chars() {
                if c.is_control() {
                    escaped.extend(c.escape_default());
                } else {
                    escaped.push(c);
                }
            }
            escaped.push('\n');
            self.0.write_all(escaped.as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn json_has_fields_beside_message() {
        let written = written(Format::Json, "info", || {
            tracing::info!(image = "r.example/app:1", count = 2, "decided\nfine");
        });
        let line: serde_json::Value = serde_json::from_str(&written).expect("one JSON object");
        assert_eq!(line["message"], "decided\nfine");
        assert_eq!(line["image"], "r.example/app:1");
        assert_eq!(line["count"], 2);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "countersign::telemetry::logs::tests");
        assert!(line["timestamp"].as_str().expect("a time").ends_with('Z'), "{line}");
    }

    #[test]
    fn text_of_others_stays_on_its_line() {
        let written = written(Format::Text, "info", || {
            let image = "x\n2030-01-01T00:00:00Z  INFO countersign: allowed\x1b[2K\r\u{9b}";
            tracing::info!(%image, "denied {image}");
        });
        assert_eq!(written.matches('\n').count(), 1, "{written}");
        assert!(written.ends_with('\n'), "{written}");
        assert!(!written.trim_end().contains(char::is_control), "{written}");
    }

    #[test]
    fn targets_have_levels_of_their_own() {
        let log = || {
            tracing::debug!(target: "countersign::verdicts", "first");
            tracing::debug!(target: "countersign::serve", "second");
            tracing::error!(target: "hyper", "third");
        };
        let written = written(Format::Text, "info, countersign::verdicts=debug,hyper=off", log);
        assert!(written.contains("first"), "{written}");
        assert!(!written.contains("second") && !written.contains("third"), "{written}");
    }

    #[test]
    fn refuses_levels_that_are_none() {
        for level in ["", "inof", "info,", "=info", "countersign=loud", "countersign", "info;debug"]
        {
            let error = levels(level).expect_err(level);
            assert!(error.to_string().contains("neither a level"), "{error}");
        }
    }

    #[test]
    fn spans_are_not_made_where_nothing_is_traced() {
        written(Format::Text, "trace", || {
            assert!(tracing::error_span!("request").is_disabled());
        });
    }

    fn written(format: Format, level: &str, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let logs = Logs { format, level: level.to_owned() };
        let writer = buffer.clone();
        let dispatch = dispatch(&logs, None, move || writer.clone()).expect("a level");
        tracing::dispatcher::with_default(&dispatch, log);
        let written = buffer.0.lock().expect("no panic").clone();
        String::from_utf8(written).expect("text")
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
