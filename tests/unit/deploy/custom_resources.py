"""Strict schemas of the custom resources in deploy/: the fields that are used here, and no others.

Written from the operators' API references; a field that is new here is looked up there first.
"""

from typing import Any

Schema = dict[str, Any]


def _object(*required: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
_DURATION: Schema = {"type": "string", "pattern": r"^(\d+h)?(\d+m)?(\d+s)?$", "minLength": 2}
_METADATA = _object("name", name=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS)


def _resource(spec: Schema) -> Schema:
    return _object(
        *("apiVersion", "kind", "metadata", "spec"),
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata=_METADATA,
        spec=spec,
    )


SCHEMAS: dict[tuple[str, str], Schema] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _resource(
        _object(
            *("selector", "endpoints"),
            selector=_object("matchLabels", matchLabels=_TEXTS),
            endpoints={
                "type": "array",
                "items": _object("port", port=_TEXT, interval=_DURATION, scrapeTimeout=_DURATION, path=_TEXT),
            },
        )
    ),
}
