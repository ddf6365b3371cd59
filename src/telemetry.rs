//! What the server says of itself: log lines on standard error.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt::layer, reload};

use crate::yaml::{Message, either, nearest, quoted};

/// How the log is written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Which lines are written.
    pub filter: Filter,
    /// What a line looks like.
    pub format: Format,
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people: time, level, module, message and fields.
    #[default]
    Text,
    /// For log collectors: one JSON object a line.
    Json,
}

/// Which log lines are written: a level, or levels by module, such as `info,fluxlimit::grpc=debug`.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    targets: Targets,
    /// As somebody wrote it.
    text: Box<str>,
}

/// The longest filter, in bytes.
const MAX_FILTER_BYTES: usize = 4096;

/// The names of the levels, from nothing to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What moves bytes for us; at most its information is logged unless it is named.
const WIRE: [&str; 5] = ["h2", "hyper", "hyper_util", "tonic", "tower"];

impl Default for Filter {
    /// `info`: starts, stops, loads, and what an operator should look at; nothing per request.
    fn default() -> Self {
        Self::of(&Targets::new().with_default(LevelFilter::INFO), "info")
    }
}

impl Filter {
    /// The filter that `text` describes.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Message> {
        if text.len() > MAX_FILTER_BYTES {
            let message = Message::new(format!("a log filter of {} bytes is too long", text.len()));
            return Err(message.expected(format!("at most {MAX_FILTER_BYTES}")));
        }
        for part in text.split(',') {
            // A word alone could name a module, but a level is what people mean.
            let level = part.rsplit('=').next().unwrap_or(part);
            if !LEVELS.contains(&level) {
                let message = Message::new(format!("unknown log level {}", quoted(level)));
                return Err(message.expected(either(LEVELS)).did_you_mean(nearest(level, LEVELS)));
            }
        }
        let targets = Targets::from_str(text).map_err(|_| {
            Message::new(format!("{} is not a log filter", quoted(text)))
                .expected("a level, or levels by module such as `info,fluxlimit::grpc=debug`")
        })?;
        Ok(Self::of(&targets, text))
    }

    /// `targets`, which may name any module, over what is quiet unless it is named.
    fn of(targets: &Targets, text: &str) -> Self {
        // It warns of every watched directory that is gone, and for us that is an everyday event.
        let quiet = Targets::new().with_target("notify", LevelFilter::ERROR);
        let level = targets.default_level().unwrap_or(LevelFilter::OFF);
        // They tell of every frame, also of those that carry traces away: a line for each would make more of them.
        let quiet = quiet.with_targets(WIRE.map(|target| (target, level.min(LevelFilter::INFO))));
        Self { targets: quiet.with_default(level).with_targets(targets.iter()), text: text.into() }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The log of this process, whose filter can be changed while it is written.
#[derive(Debug, Clone)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    configured: Filter,
    current: Mutex<Filter>,
    /// `None` if something else writes the log.
    handle: Option<reload::Handle<Targets, Registry>>,
}

/// The filter of the log cannot be changed, because it is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log of this process is written by something else")]
pub struct NotOurs;

impl Log {
    /// A log that is written by something else.
    #[must_use]
    pub fn of_others() -> Self {
        Self::new(Filter::default(), None)
    }

    fn new(configured: Filter, handle: Option<reload::Handle<Targets, Registry>>) -> Self {
        let current = Mutex::new(configured.clone());
        Self(Arc::new(Inner { configured, current, handle }))
    }

    /// The filter that the settings say.
    #[must_use]
    pub fn configured(&self) -> &Filter {
        &self.0.configured
    }

    /// The filter in force.
    #[must_use]
    pub fn current(&self) -> Filter {
        self.0.current.lock().clone()
    }

    /// Puts `filter` in force; `tell` is called with the one before it, while the lines of `target` are written
    /// whatever both say.
    ///
    /// # Errors
    /// Something else writes the log.
    pub fn change(&self, filter: Filter, target: &str, tell: impl FnOnce(&Filter)) -> Result<(), NotOurs> {
        let handle = self.0.handle.as_ref().ok_or(NotOurs)?;
        // Held all along, so that two changes do not mix.
        let mut current = self.0.current.lock();
        handle.reload(filter.targets.clone().with_target(target, LevelFilter::INFO)).map_err(|_| NotOurs)?;
        tell(&current);
        handle.reload(filter.targets.clone()).map_err(|_| NotOurs)?;
        *current = filter;
        Ok(())
    }
}

/// Writes log lines to standard error from now on. Does nothing if something else does so already.
pub fn start(settings: &Settings) -> Log {
    let (filter, handle) = reload::Layer::new(settings.filter.targets.clone());
    let written = match settings.format {
        Format::Json => {
            layer().json().flatten_event(true).with_span_list(false).with_writer(io::stderr).boxed()
        }
        // Colours stay on only where they show; the layer itself respects `NO_COLOR`.
        Format::Text if io::stderr().is_terminal() => layer().with_writer(io::stderr).boxed(),
        Format::Text => layer().with_writer(io::stderr).with_ansi(false).boxed(),
    };
    let started = tracing_subscriber::registry().with(written.with_filter(filter)).try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "the log goes where it went before");
        return Log::new(settings.filter.clone(), None);
    }
    Log::new(settings.filter.clone(), Some(handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_module() {
        for text in ["info", "off", "warn,fluxlimit=debug", "info,fluxlimit::grpc=trace,h2=off"] {
            assert!(Filter::parse(text).is_ok(), "{text}");
        }
        assert_eq!(Filter::parse("info"), Ok(Filter::default()));
    }

    #[test]
    fn the_watcher_of_files_is_quiet_unless_it_is_named() {
        use tracing::Level;
        let warns =
            |text: &str| Filter::parse(text).unwrap().targets.would_enable("notify::inotify", &Level::WARN);
        assert!(!warns("debug"));
        assert!(!warns("off"));
        assert!(warns("off,notify=debug"));
        let debug = Filter::parse("warn,fluxlimit::grpc=debug").unwrap().targets;
        assert!(debug.would_enable("fluxlimit::grpc", &Level::DEBUG));
        assert!(!debug.would_enable("fluxlimit::reload", &Level::INFO));
    }

    #[test]
    fn a_wrong_level_is_answered_with_the_one_that_was_meant() {
        let message = Filter::parse("fluxlimit=debgu").unwrap_err().to_string();
        assert!(message.starts_with("unknown log level `debgu`"), "{message}");
        assert!(message.ends_with("hint: did you mean `debug`?"), "{message}");
        assert!(Filter::parse("").is_err());
    }
}
