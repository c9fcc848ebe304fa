//! The operational log: what a person who runs the gateway should know, on stderr.
//!
//! Only this crate's own messages are printed as they are. The engine and other libraries put request heads, targets
//! with their query and peer texts into their messages, at every level: of those only that there were any is printed,
//! from `warn` upwards, with the place that said it. `level` does not change that: there is no level at which a
//! credential may be read in a log. What became of a request stands in the access log.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::clock::Stopwatch;

/// Targets whose messages are about listening and starting, never about a request.
const HARMLESS: &[&str] = &["pingora_core::server", "pingora_core::services", "pingora_core::listeners"];

/// Messages, with their targets, that nobody needs: the engine was about to take a kept connection to an upstream while
/// another thread still laid it aside, and makes a new one instead. Under load that happens all the time.
const NEEDLESS: &[(&str, &str)] = &[("pingora_core::connectors", "failed to acquire reusable stream")];

/// Of each target so many messages are printed in one period; the rest is counted.
const MESSAGES_PER_PERIOD: u32 = 5;

/// Length of a period, in seconds.
const PERIOD_SECS: u64 = 10;

/// So many targets are told apart.
const MAX_TARGETS: usize = 64;

/// Starts logging for this process, as JSON lines or as text, from `level` (`error` to `trace`) upwards, and has panics
/// logged. Call once, before anything else runs.
///
/// # Errors
/// A text: logging has been started before.
pub fn install(json: bool, level: &str) -> Result<(), String> {
    let stderr = std::io::stderr;
    tracing::subscriber::set_global_default(subscriber(json, level, stderr, stderr().is_terminal()))
        .map_err(|error| error.to_string())?;
    log::set_boxed_logger(Box::new(Foreign::new())).map_err(|error| error.to_string())?;
    log::set_max_level(log::LevelFilter::Warn);
    std::panic::set_hook(Box::new(|panic| {
        // The payload may quote the text that was being worked on: only the place is told.
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, thread = thread.name().unwrap_or("?"), "a part of the gateway failed; please report it");
    }));
    Ok(())
}

fn subscriber<W>(json: bool, level: &str, writer: W, colours: bool) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    let ours = Targets::new().with_target("portcullis", level);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours && !json);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = if json {
        Box::new(layer.json().flatten_event(true).with_current_span(false).with_span_list(false).with_filter(ours))
    } else {
        Box::new(layer.with_filter(ours))
    };
    tracing_subscriber::registry().with(layer)
}

/// Receives what libraries log.
#[derive(Debug)]
struct Foreign {
    since: Stopwatch,
    counts: Mutex<HashMap<String, Count>>,
}

/// Messages of one target.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    period: u64,
    messages: u32,
}

impl Foreign {
    fn new() -> Self {
        Self { since: Stopwatch::start(), counts: Mutex::default() }
    }

    /// Whether one more message of `target` is to be printed, and how many of an earlier period were not.
    fn admit(&self, target: &str, period: u64) -> (bool, u32) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let target = if counts.contains_key(target) || counts.len() < MAX_TARGETS { target } else { "others" };
        let count = counts.entry(target.to_owned()).or_default();
        let mut untold = 0;
        if count.period != period {
            untold = count.messages.saturating_sub(MESSAGES_PER_PERIOD);
            *count = Count { period, messages: 0 };
        }
        count.messages = count.messages.saturating_add(1);
        (count.messages <= MESSAGES_PER_PERIOD, untold)
    }
}

impl log::Log for Foreign {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let target = record.target();
        if record.args().as_str().is_some_and(|text| NEEDLESS.contains(&(target, text))) {
            return;
        }
        let (admitted, untold) = self.admit(target, self.since.elapsed().as_secs() / PERIOD_SECS);
        if untold > 0 {
            tracing::warn!(source = target, messages = untold, "more messages of this library were not printed");
        }
        if !admitted {
            return;
        }
        let harmless = HARMLESS
            .iter()
            .any(|ours| target.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")));
        let told = format!("{}:{}", record.file().unwrap_or("?"), record.line().unwrap_or(0));
        let text = if harmless { record.args().to_string() } else { format!("message withheld, said at {told}") };
        // Without its text nobody can act on it; what it did to a request stands in the access log.
        if harmless && record.level() == log::Level::Error {
            tracing::error!(source = target, "{}", text);
        } else {
            tracing::warn!(source = target, "{}", text);
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use log::Log;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, json: bool, act: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        tracing::subscriber::with_default(subscriber(json, level, move || writer.clone(), false), act);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn say(foreign: &Foreign, target: &str, level: log::Level, text: &str) {
        foreign.log(
            &log::Record::builder()
                .target(target)
                .level(level)
                .file(Some("lib.rs"))
                .line(Some(7))
                .args(format_args!("{text}"))
                .build(),
        );
    }

    #[test]
    fn a_library_s_message_about_a_request_is_withheld_at_every_level() {
        let text = logged("trace", false, || {
            let foreign = Foreign::new();
            for target in ["pingora_proxy", "pingora_core::protocols::http::v1::server", "pingora_core_evil", "h2"] {
                for level in [log::Level::Error, log::Level::Warn, log::Level::Info, log::Level::Trace] {
                    say(&foreign, target, level, "GET /?token=hunter2 Authorization: Bearer hunter2");
                }
            }
            tracing::error!(target: "h2::codec", "hunter2");
        });
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(text.matches("message withheld, said at lib.rs:7").count(), 8, "{text}");
    }

    #[test]
    fn messages_about_listening_are_printed() {
        let text = logged("info", true, || {
            say(&Foreign::new(), "pingora_core::services::listening", log::Level::Error, "Accept() failed");
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "Accept() failed");
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["source"], "pingora_core::services::listening");
    }

    fn of_connections(args: std::fmt::Arguments<'_>) -> log::Record<'_> {
        log::Record::builder().target("pingora_core::connectors").level(log::Level::Error).args(args).build()
    }

    #[test]
    fn what_nobody_needs_is_left_out_and_nothing_else_of_its_source() {
        let text = logged("info", false, || {
            let foreign = Foreign::new();
            foreign.log(&of_connections(format_args!("failed to acquire reusable stream")));
            foreign.log(&of_connections(format_args!("something else")));
        });
        assert_eq!(text.matches("message withheld").count(), 1, "{text}");
    }

    #[test]
    fn a_flood_is_counted_and_told_once() {
        let foreign = Foreign::new();
        let admitted = (0..100).filter(|_| foreign.admit("pingora_proxy", 0).0).count();
        assert_eq!(admitted, 5);
        assert_eq!(foreign.admit("pingora_proxy", 1), (true, 95));
        assert_eq!(foreign.admit("pingora_proxy", 1), (true, 0));
        for n in 0..1000 {
            foreign.admit(&format!("target{n}"), 1);
        }
        assert!(foreign.counts.lock().unwrap().len() <= MAX_TARGETS + 1);
    }

    #[test]
    fn our_own_messages_follow_the_level() {
        let act = || {
            tracing::info!(generation = 2, "configuration reloaded");
            tracing::debug!("detail");
        };
        assert!(logged("info", false, act).contains("configuration reloaded generation=2"));
        assert!(!logged("info", false, act).contains("detail"));
        assert!(logged("debug", false, act).contains("detail"));
        assert_eq!(logged("error", false, act), "");
    }
}
