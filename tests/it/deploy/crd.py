"""Holds objects of custom kinds against types made from their CustomResourceDefinitions.

    python crd.py FILE...       YAML files; kinds that are not known here are an error

The types ignore fields that they do not know; here such a field is a mistake.
"""

import functools
import importlib
import sys

import yaml
from jsonschema import Draft202012Validator

# Loading one takes seconds.
MODULES = {
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
    "networking.istio.io/v1alpha3": "cloudcoil.models.istio.networking.v1alpha3",
}


@functools.cache
def validator(version, kind):
    """What holds an object against its type."""
    if version not in MODULES:
        sys.exit(f"nothing is known about {version} {kind}")
    model = getattr(importlib.import_module(MODULES[version]), kind)
    return Draft202012Validator(closed(model.model_json_schema(by_alias=True)))


def closed(schema):
    """The same schema with no other fields than those that it names."""
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict):
            schema.setdefault("additionalProperties", False)
        return schema
    return [closed(item) for item in schema] if isinstance(schema, list) else schema


mistakes = 0
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        for document in filter(None, yaml.safe_load_all(file)):
            for error in validator(document["apiVersion"], document["kind"]).iter_errors(document):
                mistakes += 1
                print(f"{path}: {document['metadata']['name']}: {error.json_path}: {error.message}")
sys.exit(mistakes > 0)
