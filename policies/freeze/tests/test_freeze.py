"""Run with `python3 -m unittest discover -s tests` in the rule's folder."""

import json
import sys
import unittest
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent.parent))

from judge import fits, is_controller, judge  # noqa: E402
from schema import SETTINGS_SCHEMA  # noqa: E402
from windows import EXEMPT, SETTINGS, WEEK, WINDOW, Mistakes, read_document, read_settings, show  # noqa: E402

WEEKEND = {"name": "weekend", "from": "fri 18:00", "to": "mon 06:00", "offset": "+01:00"}
YEAR_END = {"name": "year end", "from": "2026-12-20T00:00:00+01:00", "to": "2027-01-03T00:00:00+01:00"}
REPLICA_SETS = "system:serviceaccount:kube-system:replicaset-controller"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def settings(windows=(WEEKEND,), **others):
    return read_settings(json.dumps({"windows": list(windows), **others}))


def workload(**members):
    known = {"operation": "CREATE", "namespace": "shop", "user": "alice", "groups": [], "labels": []}
    return SimpleNamespace(**{**known, **members})


def ask(now: str, asker=None, **given):
    chosen = settings(**given)
    return judge(asker or workload(), at(now), chosen, list(chosen.windows))


def mistakes(given) -> list[str]:
    try:
        read_settings(given if isinstance(given, str) else json.dumps(given))
    except Mistakes as found:
        return found.mistakes
    return []


class Windows(unittest.TestCase):
    def test_a_weekly_window_has_its_first_second_and_not_its_last(self):
        for now, frozen in (
            ("2026-11-20T17:59:59+01:00", False),
            ("2026-11-20T18:00:00+01:00", True),
            ("2026-11-22T12:00:00+01:00", True),
            ("2026-11-23T05:59:59+01:00", True),
            ("2026-11-23T06:00:00+01:00", False),
        ):
            self.assertEqual(ask(now).code, "frozen" if frozen else None, now)

    def test_the_offset_is_that_of_the_window(self):
        # 18:30 in Paris, 17:30 in London.
        now = "2026-11-20T17:30:00+00:00"
        self.assertEqual(ask(now).code, "frozen")
        self.assertIsNone(ask(now, windows=[{**WEEKEND, "offset": "Z"}]).code)
        self.assertIsNone(ask(now, windows=[{**WEEKEND, "offset": "-05:00"}]).code)

    def test_a_weekly_window_may_reach_over_the_end_of_the_week(self):
        night = {"name": "night", "from": "sun 22:00", "to": "mon 02:00", "offset": "Z"}
        for now, frozen in (
            ("2026-11-22T21:59:59Z", False),
            ("2026-11-22T22:00:00Z", True),
            ("2026-11-23T01:59:59Z", True),
            ("2026-11-23T02:00:00Z", False),
        ):
            self.assertEqual(ask(now, windows=[night]).code, "frozen" if frozen else None, now)

    def test_the_end_of_sunday_is_the_begin_of_monday(self):
        whole_day = {"name": "sunday", "from": "sun 00:00", "to": "sun 24:00", "offset": "Z"}
        self.assertEqual(ask("2026-11-22T23:59:59Z", windows=[whole_day]).code, "frozen")
        self.assertIsNone(ask("2026-11-23T00:00:00Z", windows=[whole_day]).code)

    def test_an_interval_has_its_first_second_and_not_its_last(self):
        for now, frozen in (
            ("2026-12-19T22:59:59Z", False),
            ("2026-12-19T23:00:00Z", True),
            ("2027-01-02T22:59:59Z", True),
            ("2027-01-02T23:00:00Z", False),
        ):
            self.assertEqual(ask(now, windows=[YEAR_END]).code, "frozen" if frozen else None, now)

    def test_an_allow_ends_before_the_next_window_begins(self):
        opinion = ask("2026-12-17T12:00:00Z", windows=[WEEKEND, YEAR_END])
        self.assertEqual(opinion.valid_until, at("2026-12-18T18:00:00+01:00") - 1)
        opinion = ask("2026-12-17T12:00:00Z", windows=[YEAR_END])
        self.assertEqual(opinion.valid_until, at("2026-12-19T23:00:00Z") - 1)

    def test_an_allow_after_the_last_window_has_no_end(self):
        self.assertIsNone(ask("2027-02-01T00:00:00Z", windows=[YEAR_END]).valid_until)

    def test_an_allow_holds_up_to_its_last_second(self):
        chosen = settings([WEEKEND, YEAR_END])
        now = at("2026-12-16T00:00:00Z")
        last = judge(workload(), now, chosen, list(chosen.windows)).valid_until
        self.assertIsNone(judge(workload(), last, chosen, list(chosen.windows)).code)
        self.assertEqual(judge(workload(), last + 1, chosen, list(chosen.windows)).code, "frozen")

    def test_names_the_window_that_ends_last(self):
        opinion = ask("2026-12-20T12:00:00Z", windows=[WEEKEND, YEAR_END])
        self.assertEqual(
            opinion.message,
            "deployments are frozen until 2027-01-03T00:00:00+01:00 (year end); deploy after that, or ask for an "
            "exemption",
        )

    def test_agrees_with_the_calendar_in_every_hour_of_a_week(self):
        chosen = settings([WEEKEND])
        begin = at("2026-11-16T00:00:00+01:00")
        for hour in range(WEEK // 3600):
            frozen = judge(workload(), begin + hour * 3600, chosen, list(chosen.windows)).code is not None
            self.assertEqual(frozen, hour < 6 or hour >= 4 * 24 + 18, hour)

    def test_times_without_a_date_are_shown_in_seconds(self):
        self.assertEqual(show(2**64 - 1, timedelta()), f"{2**64 - 1} seconds after 1970")
        self.assertEqual(show(0, timedelta()), "1970-01-01T00:00:00Z")

    def test_the_end_of_an_allow_is_a_time(self):
        chosen = settings([WEEKEND])
        for now in range(2**64 - WEEK, 2**64, 3600):
            opinion = judge(workload(), now, chosen, list(chosen.windows))
            if opinion.code is None:
                self.assertTrue(now <= opinion.valid_until < 2**64)


class Exemptions(unittest.TestCase):
    NOW = "2026-11-21T12:00:00Z"

    def code(self, asker, **given):
        return ask(self.NOW, asker, **given).code

    def test_namespaces_users_groups_and_labels(self):
        exempt = {
            "namespaces": ["monitoring", "sandbox-*"],
            "users": ["bob"],
            "groups": ["on-call"],
            "labels": {"freeze": "hotfix"},
        }
        for members in (
            {"namespace": "monitoring"},
            {"namespace": "sandbox-7"},
            {"user": "bob"},
            {"groups": ["dev", "on-call"]},
            {"labels": [("a", "b"), ("freeze", "hotfix")]},
        ):
            opinion = ask(self.NOW, workload(**members), exempt=exempt)
            self.assertIsNone(opinion.code, members)
            self.assertEqual([name for name, _ in opinion.annotations], ["exempt"], members)
        for members in (
            {"namespace": "monitoring-2"},
            {"namespace": "sandbox"},
            {"namespace": None},
            {"user": "bobby"},
            {"groups": ["on-call-2"]},
            {"labels": [("freeze", "no")]},
        ):
            self.assertEqual(self.code(workload(**members), exempt=exempt), "frozen", members)

    def test_without_a_freeze_nothing_is_said_of_exemptions(self):
        opinion = ask("2026-11-18T12:00:00Z", workload(user="bob"), exempt={"users": ["bob"]})
        self.assertEqual((opinion.code, opinion.annotations, opinion.valid_until), (None, [], None))

    def test_nothing_is_deployed_by_deleting(self):
        self.assertIsNone(self.code(workload(operation="DELETE")))
        for operation in ("CREATE", "UPDATE", "", "create", "SOMETHING"):
            self.assertEqual(self.code(workload(operation=operation)), "frozen", operation)

    def test_controllers_go_on_unless_told_not_to(self):
        for user in (REPLICA_SETS, "system:kube-controller-manager"):
            self.assertIsNone(self.code(workload(user=user)), user)
            self.assertEqual(self.code(workload(user=user), controllers="judge"), "frozen", user)

    def test_others_are_no_controllers(self):
        for user in (
            "replicaset-controller",
            "system:serviceaccount:shop:replicaset-controller",
            "system:serviceaccount:kube-system:replicaset-controller-2",
            "system:serviceaccount:kube-system:flux",
            "",
        ):
            self.assertFalse(is_controller(user), user)

    def test_a_star_stands_for_any_characters(self):
        self.assertTrue(fits(("*",), ""))
        self.assertTrue(fits(("a*",), "a"))
        self.assertFalse(fits(("a*",), "ba"))
        self.assertFalse(fits((), "a"))


class WithoutWorkload(unittest.TestCase):
    def code(self, now: str, **given):
        chosen = settings(**given)
        return judge(None, at(now), chosen, list(chosen.windows)).code

    def test_the_windows_count_unless_told_otherwise(self):
        frozen, free = "2026-11-21T12:00:00Z", "2026-11-18T12:00:00Z"
        self.assertEqual(self.code(frozen), "frozen")
        self.assertIsNone(self.code(free))
        self.assertIsNone(self.code(frozen, withoutWorkload="allow"))
        self.assertEqual(self.code(free, withoutWorkload="deny"), "no-workload")


class Settings(unittest.TestCase):
    def test_finds_mistakes(self):
        def window(**members):
            return {"windows": [{**WEEKEND, **members}]}

        for given in (
            "",
            "[]",
            '{"windows":[],"windows":[]}',
            {},
            {"windows": []},
            {"windows": {}},
            {"windows": [1]},
            {"windows": [{}]},
            {"window": []},
            window(name=""),
            window(name=1),
            window(days=["mon"]),
            {"windows": [{"name": "x", "from": "fri 18:00", "to": "mon 06:00"}]},
            window(offset="CET"),
            window(offset="+24:00"),
            window(offset="01:00"),
            window(to="fri 18:00"),
            window(to="2026-12-20T00:00:00Z"),
            window(to="Mon 06:00"),
            window(to="mon 6:00"),
            window(to="mon 24:01"),
            window(to="mon 05:60"),
            {"windows": [{**YEAR_END, "offset": "Z"}]},
            {"windows": [{**YEAR_END, "to": "2026-12-20T00:00:00+01:00"}]},
            {"windows": [{**YEAR_END, "to": "2026-12-20"}]},
            {"windows": [{**YEAR_END, "to": "2027-02-30T00:00:00Z"}]},
            {"windows": [{**YEAR_END, "to": "2027-01-03T00:00:00"}]},
            {"windows": [WEEKEND], "documents": "x"},
            {"windows": [WEEKEND], "documents": [""]},
            {"windows": [WEEKEND], "exempt": []},
            {"windows": [WEEKEND], "exempt": {"namespace": ["x"]}},
            {"windows": [WEEKEND], "exempt": {"namespaces": ["*-x"]}},
            {"windows": [WEEKEND], "exempt": {"labels": {"a": 1}}},
            {"windows": [WEEKEND], "controllers": "deny"},
            {"windows": [WEEKEND], "withoutWorkload": True},
            {"windows": [WEEKEND], "withoutWorkload": []},
        ):
            self.assertTrue(mistakes(given), given)

    def test_accepts_what_the_page_shows(self):
        for given in (
            {"windows": [WEEKEND, YEAR_END]},
            {"documents": ["windows"]},
            {"windows": [WEEKEND], "exempt": {name: [] for name in EXEMPT[:3]}},
            {"windows": [WEEKEND], "controllers": "judge", "withoutWorkload": "deny"},
        ):
            self.assertEqual(mistakes(given), [])

    def test_names_the_place_of_a_mistake(self):
        self.assertEqual(
            mistakes({"windows": [WEEKEND, {**WEEKEND, "offset": "CET"}]}),
            ['windows[1].offset is "CET", but has to be like "+01:00" or "Z"'],
        )

    def test_the_schema_knows_every_setting(self):
        properties = SETTINGS_SCHEMA["properties"]
        self.assertEqual(tuple(properties), SETTINGS)
        self.assertEqual(tuple(properties["exempt"]["properties"]), EXEMPT)
        self.assertEqual(tuple(properties["windows"]["items"]["properties"]), WINDOW)


class Documents(unittest.TestCase):
    def test_a_document_has_windows(self):
        document = json.dumps({"windows": [WEEKEND, YEAR_END]}).encode()
        self.assertEqual([window.name for window in read_document("d", document)], ["weekend", "year end"])

    def test_a_document_without_windows_is_one_that_freezes_nothing(self):
        self.assertEqual(read_document("d", b'{"windows":[]}'), ())

    def test_a_document_that_cannot_be_used_is_no_empty_one(self):
        for content in (None, b"", b"\xff", b"[]", b"{}", b'{"windows":1}', b'{"windows":[],"x":1}', b"[" * 100_000):
            with self.assertRaises(Mistakes, msg=content):
                read_document("d", content)


if __name__ == "__main__":
    unittest.main()
