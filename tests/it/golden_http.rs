//! What the reference server answered over HTTP, replayed against the HTTP front.
//!
//! `tests/golden/README.md` says how to read the transcripts. Texts of errors are our own: a 400 says what
//! is wrong after the reference's `Bad Request`.

use fluxlimit::time::Timestamp;
use serde_json::Value as Json;

use crate::golden_transcripts::{Replay, transcripts};
use crate::http_front::{Answer, Front};

/// Steps that are answered otherwise on purpose: transcript, path, our status, why.
const DEVIATIONS: [(&str, &str, u16, &str); 2] = [
    ("health-check", "/metrics", 200, "metrics have no port of their own"),
    ("json-without-rules", "/json", 503, "it is not the client who is wrong"),
];

/// Holds one answer to what was recorded.
fn check(name: &str, step: &Json, answer: &Answer) {
    let path = step["http"]["path"].as_str().unwrap();
    let deviation = DEVIATIONS.iter().find(|(of, at, ..)| (*of, *at) == (name, path));
    if let Some((.., status, _why)) = deviation {
        assert_eq!(answer.status, *status, "{name}: {path}");
        assert_ne!(step["status"], *status, "{name}: {path} is no deviation");
        return;
    }
    assert_eq!(step["status"], answer.status, "{name}: {step}: {}", answer.body);
    let content_type = format!("content-type: {}\r\n", step["contentType"].as_str().unwrap());
    assert!(answer.head.contains(&content_type), "{name}: {step}: {}", answer.head);
    if let Some(expected) = step.get("reply") {
        let mut reply: Json = serde_json::from_str(&answer.body).unwrap();
        if let Some(metadata) = reply["dynamicMetadata"].as_object_mut() {
            metadata.remove("decided_by");
        }
        // Looking for metadata that is not there has added a null.
        reply.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        assert_eq!(&reply, expected, "{name}: {step}");
    } else if answer.status == 400 {
        assert!(answer.body.starts_with("Bad Request: "), "{name}: {}", answer.body);
    } else {
        assert_eq!(step["text"], answer.body, "{name}: {step}");
    }
}

#[tokio::test]
async fn every_http_transcript_of_the_reference_is_answered_the_same() {
    let transcripts = transcripts("http");
    assert!(transcripts.len() >= 9, "only {} transcripts", transcripts.len());
    for (name, transcript) in transcripts {
        let replay = Replay::of(&transcript);
        let front = Front::start(replay.limiter.clone()).await;
        front.health.set_rules_loaded(true);
        front.health.set_store_answered(true);
        for step in transcript["steps"].as_array().unwrap() {
            replay.clock.set(Timestamp::from_ms(step["at_s"].as_u64().unwrap() * 1000));
            let http = |field: &str| step["http"][field].as_str().unwrap_or_default();
            let answer = front.ask(http("method"), http("path"), http("body")).await;
            check(&name, step, &answer);
        }
    }
}
