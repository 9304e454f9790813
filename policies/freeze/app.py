"""The rule as `countersign:policy/ruling` wants it (wit/deps/countersign-policy/rule.wit)."""

import json

from wit_world import exports
from wit_world.exports import ruling
from wit_world.imports import data

from judge import judge
from schema import SETTINGS_SCHEMA
from windows import Mistakes, read_document, read_settings


class Ruling(exports.Ruling):
    def describe(self) -> ruling.Description:
        return ruling.Description(
            name="freeze",
            version="1.0.0",
            purpose="nothing is deployed in given windows of time",
            settings_schema=json.dumps(SETTINGS_SCHEMA),
            capabilities=["data"],
            more=[],
        )

    def check_settings(self, settings: str) -> list[str]:
        try:
            read_settings(settings)
        except Mistakes as found:
            return found.mistakes
        return []

    def evaluate(self, question: ruling.Question) -> ruling.Answer:
        try:
            settings = read_settings(question.settings)
        except Mistakes as found:
            return deny([("settings-invalid", mistake) for mistake in found.mistakes])
        windows, mistakes = list(settings.windows), []
        for name in settings.documents:
            try:
                windows.extend(read_document(name, data.read(name)))
            except Mistakes as found:
                mistakes.extend(found.mistakes)
        if mistakes:
            return deny([("document-unusable", mistake) for mistake in mistakes])
        opinion = judge(question.workload, question.now, settings, windows)
        if opinion.code is not None:
            return deny([(opinion.code, opinion.message)])
        return ruling.Answer(
            decision=ruling.Decision_Allow(),
            warnings=[],
            annotations=opinion.annotations,
            valid_until=opinion.valid_until,
            more=[],
        )


def deny(reasons: list[tuple[str, str]]) -> ruling.Answer:
    return ruling.Answer(
        decision=ruling.Decision_Deny([ruling.Reason(code, message) for code, message in reasons]),
        warnings=[],
        annotations=[],
        valid_until=None,
        more=[],
    )
