//! What the admin listener shows of this server.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::Parts;
use crate::admin::Sources;
use crate::config::Config;
use crate::reload::Reloader;
use crate::telemetry::Log;
use crate::time::{Clock, SystemClock};

pub(super) fn sources(config: &Config, parts: &Parts, reloader: &Arc<Reloader>, log: Log) -> Sources {
    Sources {
        limiter: parts.limiter.clone(),
        reloader: reloader.clone(),
        health: parts.health.clone(),
        watch: parts.supervisor.watch.clone(),
        store: config.store_shown().into(),
        log,
        settings: Arc::new(settings(config)),
        started_at: SystemClock.now(),
    }
}

fn settings(config: &Config) -> Json {
    let settings = config.shown().into_iter();
    let settings = settings
        .map(|shown| (shown.path.to_owned(), json!({ "value": shown.value, "source": shown.source })));
    json!({ "settings": settings.collect::<serde_json::Map<_, _>>() })
}
