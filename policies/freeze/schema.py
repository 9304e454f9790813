"""JSON Schema of the settings."""

TEXT = {"type": "string", "minLength": 1}

SETTINGS_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "freeze",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "windows": {
            "description": "When nothing is deployed: every week (`from` and `to` like `fri 18:00`, by the clock of "
            "`offset`), or once (`from` and `to` like `2026-12-20T00:00:00Z`).",
            "type": "array",
            "default": [],
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "from", "to"],
                "properties": {
                    "name": {**TEXT, "description": "What people are told."},
                    "from": {**TEXT, "description": "The first moment of it."},
                    "to": {**TEXT, "description": "The first moment after it."},
                    "offset": {**TEXT, "description": "Of a weekly window: `+01:00`, `Z`."},
                },
            },
        },
        "documents": {
            "description": "Names of documents (capability `data`) that have a member `windows`, as above.",
            "type": "array",
            "default": [],
            "items": TEXT,
        },
        "exempt": {
            "description": "Whom no window concerns. Names may end in `*`, which stands for any characters.",
            "type": "object",
            "additionalProperties": False,
            "default": {},
            "properties": {
                "namespaces": {"type": "array", "items": TEXT, "default": []},
                "users": {"type": "array", "items": TEXT, "default": []},
                "groups": {"type": "array", "items": TEXT, "default": []},
                "labels": {
                    "description": "Label and value; one of them is enough.",
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "default": {},
                },
            },
        },
        "controllers": {
            "description": "Whether the cluster's own controllers go on replacing pods and running jobs.",
            "enum": ["allow", "judge"],
            "default": "allow",
        },
        "withoutWorkload": {
            "description": "What to say where no cluster asks, as on the command line.",
            "enum": ["judge", "allow", "deny"],
            "default": "judge",
        },
    },
}
