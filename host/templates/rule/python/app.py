"""The rule as `countersign:policy/ruling` wants it (wit/deps/countersign-policy/rule.wit).

A capability is imported by its name, `from wit_world.imports import log`, once wit/world.wit and `capabilities` below
name it, too. `wit_world` exists in the component alone: what tests look at is in judge.py.
"""

import json

from wit_world import exports
from wit_world.exports import ruling

from judge import SETTINGS_SCHEMA, judge, read_settings


class Ruling(exports.Ruling):
    def describe(self) -> ruling.Description:
        return ruling.Description(
            name="RULE-NAME",
            version="0.1.0",
            purpose="images come from these registries",
            settings_schema=json.dumps(SETTINGS_SCHEMA),
            capabilities=[],
            more=[],
        )

    def check_settings(self, settings: str) -> list[str]:
        """What is wrong with settings beyond what the schema can say."""
        _, mistakes = read_settings(settings)
        return mistakes

    def evaluate(self, question: ruling.Question) -> ruling.Answer:
        """The answer about one image. An exception here is no allow: it ends the rule, and the image is denied."""
        settings, mistakes = read_settings(question.settings)
        if mistakes:
            reasons = [("settings-invalid", mistake) for mistake in mistakes]
        else:
            reasons = judge(question.image.repository, settings)
        decision = ruling.Decision_Allow()
        if reasons:
            decision = ruling.Decision_Deny([ruling.Reason(code, message) for code, message in reasons])
        return ruling.Answer(
            decision=decision,
            warnings=[],
            annotations=[],
            # Seconds since 1970, if an allow ends by itself.
            valid_until=None,
            more=[],
        )
