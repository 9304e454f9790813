"""What the rule says: plain functions, which tests run without any sandbox."""

import json

# JSON Schema (draft 2020-12). Settings that do not fit are refused when the policy is loaded.
SETTINGS_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "RULE-NAME",
    "type": "object",
    "additionalProperties": False,
    "required": ["hosts"],
    "properties": {
        "hosts": {
            "description": "`registry.example.com`, or with a port: `registry.example.com:5000`",
            "type": "array",
            "items": {"type": "string"},
        },
    },
}


def read_settings(text: str) -> tuple[list[str], list[str]]:
    """The registries that the policy names, and what is wrong with its settings."""
    settings = json.loads(text)
    hosts = settings.get("hosts") if isinstance(settings, dict) else None
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        return [], ["hosts has to be a list of registries"]
    if not hosts:
        return [], ["hosts is empty, which would deny every image"]
    return hosts, []


def judge(repository: str | None, hosts: list[str]) -> list[tuple[str, str]]:
    """Why an image is not allowed: codes and messages, none if it is."""
    if not repository:
        return [("registry-missing", "the image does not come from a registry")]
    host = repository.split("/")[0]
    if host not in hosts:
        return [("registry-unknown", f"the image comes from {host}; expected {' or '.join(hosts)}")]
    return []
