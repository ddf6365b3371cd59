//! Manifests as `kubectl apply -k` would send them, written by kubectl's own kustomize.

use serde_json::Value;

use super::{documents, succeeds, tool};

/// What one folder of `examples/kubernetes/` comes to.
pub(super) struct Rendered {
    pub(super) objects: Vec<Value>,
}

impl Rendered {
    pub(super) fn of(folder: &str) -> Self {
        Self::at(&format!("examples/kubernetes/{folder}"))
    }

    pub(super) fn at(path: &str) -> Self {
        let text = succeeds(tool("kubectl").args(["kustomize", path]));
        Self { objects: documents(&text) }
    }

    pub(super) fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The one object of this kind, or of this kind whose name begins so.
    pub(super) fn one(&self, kind: &str, name: &str) -> &Value {
        let is_named = |object: &&Value| text(&object["metadata"]["name"]).starts_with(name);
        let mut found = self.objects.iter().filter(|object| object["kind"] == kind).filter(is_named);
        let object = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
        assert!(found.next().is_none(), "several {kind} {name}");
        object
    }

    /// The Pods that are made: of each Deployment and Job.
    pub(super) fn pods(&self) -> Vec<&Value> {
        let makers = self.objects.iter().filter(|object| object["spec"]["template"]["spec"].is_object());
        makers.map(|maker| &maker["spec"]["template"]).collect()
    }

    pub(super) fn server(&self) -> &Value {
        &self.one("Deployment", "fluxlimit")["spec"]["template"]["spec"]["containers"][0]
    }
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
