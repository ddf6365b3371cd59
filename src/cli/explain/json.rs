//! An explanation for machines.

use serde_json::{Value as Json, json};

use super::why::{kind, statement, words};
use super::{Told, node};
use crate::cli::entries::shown;
use crate::cli::numbers;
use crate::rules::explain::{Applied, End, Explained, How, Spot, StepTaken};
use crate::rules::{HashTag, OnStoreFailure};

impl Told<'_> {
    /// All of it.
    pub(super) fn json(&self) -> Json {
        let files: Vec<&str> = self.explanation.files.iter().map(|file| file.name.as_str()).collect();
        let descriptors: Vec<Json> = self
            .explanation
            .descriptors
            .iter()
            .enumerate()
            .map(|(index, one)| self.descriptor(index, one))
            .collect();
        json!({
            "domain": self.explain.asked.domain,
            "files": files,
            "on_store_failure": self.explanation.on_store_failure().map(OnStoreFailure::name),
            "hash_tag": self.explanation.hash_tag().map(HashTag::name),
            "limited": self.explanation.is_limited(),
            "descriptors": descriptors,
        })
    }

    fn descriptor(&self, index: usize, explained: &Explained<'_>) -> Json {
        let entries = &self.request.descriptors[index].entries;
        let step = |(step, entry): (&StepTaken<'_>, _)| json!({"entry": shown(entry), "how": how(step.how), "node": spot(step.spot)});
        let steps: Vec<Json> = explained.steps.iter().zip(entries).map(step).collect();
        let counted = explained.counted(entries);
        let counted: Vec<String> = counted.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut told = json!({
            "entries": entries.iter().map(shown).collect::<Vec<_>>(),
            "steps": steps,
            "result": result(&explained.end),
        });
        match &explained.end {
            End::Limited { rule, limits } | End::Replaced { rule, limits } => {
                told["rule"] = spot(*rule);
                told["limits"] = limits.iter().map(|applied| self.limit(*rule, applied)).collect();
                told["quota_mode"] = rule.node.quota_mode.into();
                told["counted_under"] = counted.into();
            }
            End::Unlimited(rule) | End::Exempt(rule) => told["rule"] = spot(*rule),
            End::Override(limit) => {
                told["limits"] = json!([numbers::json(limit)]);
                told["counted_under"] = counted.into();
            }
            End::Miss { miss, expected, .. } => {
                told["reason"] = miss.name().into();
                told["statement"] = statement(*miss, &self.explain.asked.domain, explained, entries).into();
                told["expected"] = expected.iter().map(|one| spot(*one)).collect();
            }
        }
        let hints = explained.hints.iter().map(|hint| {
            let asks = hint.domain.is_some() || hint.descriptors.is_some();
            let command = asks.then(|| self.command(hint.domain, hint.descriptors.as_deref()));
            let words = words(&hint.why, index, &self.request.descriptors).join("; ");
            json!({"kind": kind(&hint.why), "statement": words, "command": command})
        });
        told["hints"] = hints.collect();
        told
    }

    fn limit(&self, rule: Spot<'_>, applied: &Applied<'_>) -> Json {
        let limit = applied.limit;
        let mut told = numbers::json(&limit.limit);
        told["name"] = limit.name.as_str().into();
        told["file"] = rule.file.into();
        told["line"] = limit.position.line.into();
        told["column"] = limit.position.column.into();
        told["shadow_mode"] = limit.shadow_mode.into();
        told["replaced_by"] = applied.replaced_by.map_or(Json::Null, spot);
        told["never_passes"] = numbers::never(&limit.limit, self.explain.asked.hits).into();
        told
    }
}

fn how(how: How) -> &'static str {
    match how {
        How::Exact => "exact",
        How::Pattern => "pattern",
        How::KeyAlone => "key_alone",
    }
}

fn result(end: &End<'_>) -> &'static str {
    match end {
        End::Limited { .. } => "limited",
        End::Override(_) => "override",
        End::Unlimited(_) => "unlimited",
        End::Exempt(_) => "exempt",
        End::Replaced { .. } => "replaced",
        End::Miss { .. } => "no_limit",
    }
}

fn spot(spot: Spot<'_>) -> Json {
    let position = spot.node.position;
    json!({"node": node(spot), "file": spot.file, "line": position.line, "column": position.column})
}
