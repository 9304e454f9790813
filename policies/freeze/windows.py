"""When deployments are frozen, and for whom: plain functions, which run without any sandbox."""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone


class Mistakes(Exception):
    """What is wrong with settings or with a document: one sentence for each mistake."""

    def __init__(self, mistakes: list[str]):
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class Once:
    """From one moment until before another, in seconds since 1970-01-01 UTC."""

    name: str
    begin: int
    end: int
    offset: timedelta

    def end_at(self, now: int) -> int | None:
        """When it ends, if `now` lies within it."""
        return self.end if self.begin <= now < self.end else None

    def next_begin(self, now: int) -> int | None:
        """When it begins, if that is after `now`."""
        return self.begin if self.begin > now else None


@dataclass(frozen=True)
class Weekly:
    """Every week again; `begin` in seconds since Monday 00:00 of the offset's clock."""

    name: str
    begin: int
    length: int
    offset: timedelta

    def end_at(self, now: int) -> int | None:
        passed = self._passed(now)
        return now - passed + self.length if passed < self.length else None

    def next_begin(self, now: int) -> int | None:
        return now - self._passed(now) + WEEK

    def _passed(self, now: int) -> int:
        """Since it last began."""
        local = now + int(self.offset.total_seconds()) - FIRST_MONDAY
        return (local - self.begin) % WEEK


@dataclass(frozen=True)
class Exempt:
    """Whom no window concerns. Names may end in `*`, which stands for any characters."""

    namespaces: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Settings:
    windows: tuple[Once | Weekly, ...] = ()
    documents: tuple[str, ...] = ()
    exempt: Exempt = field(default_factory=Exempt)
    controllers: str = "allow"
    without_workload: str = "judge"


def read_settings(text: str) -> Settings:
    """Settings as the policy has them. Raises `Mistakes`."""
    mistakes: list[str] = []
    given = _object(_json(text, "settings"), "settings", mistakes, SETTINGS)
    windows = _windows(given.get("windows", []), "windows", mistakes)
    documents = _texts(given.get("documents", []), "documents", mistakes)
    if not windows and not documents and not mistakes:
        mistakes.append("there are neither windows nor documents that have some: nothing would ever be frozen")
    exempt = _object(given.get("exempt", {}), "exempt", mistakes, EXEMPT)
    names = {name: _texts(exempt.get(name, []), f"exempt.{name}", mistakes) for name in EXEMPT[:3]}
    for name, texts in names.items():
        for text in texts:
            if "*" in text[:-1]:
                mistakes.append(f"exempt.{name} has {_quoted(text)}, but * may only be the last character")
    labels = exempt.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        mistakes.append("exempt.labels has to be an object of texts")
        labels = {}
    controllers = _choice(given, "controllers", ("allow", "judge"), mistakes)
    without_workload = _choice(given, "withoutWorkload", ("judge", "allow", "deny"), mistakes)
    if mistakes:
        raise Mistakes(mistakes)
    return Settings(
        windows=tuple(windows),
        documents=documents,
        exempt=Exempt(**names, labels=tuple(sorted(labels.items()))),
        controllers=controllers,
        without_workload=without_workload,
    )


def read_document(name: str, content: bytes | None) -> tuple[Once | Weekly, ...]:
    """The windows of a document. Raises `Mistakes`."""
    place = f"document {_quoted(name)}"
    if content is None:
        raise Mistakes([f"the policy names no {place} among the rule's data"])
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Mistakes([f"{place} is not UTF-8"]) from None
    mistakes: list[str] = []
    document = _object(_json(text, place), place, mistakes, ("windows",))
    if "windows" not in document and not mistakes:
        mistakes.append(f"{place} has no member windows")
    windows = _windows(document.get("windows", []), f"{place}: windows", mistakes)
    if mistakes:
        raise Mistakes(mistakes)
    return tuple(windows)


def show(time: int, offset: timedelta) -> str:
    """RFC 3339 on the clock of an offset; seconds where the calendar ends."""
    try:
        shown = (EPOCH + timedelta(seconds=time)).astimezone(timezone(offset)).isoformat()
    except (OverflowError, ValueError):
        return f"{time} seconds after 1970"
    return shown.removesuffix("+00:00") + "Z" if shown.endswith("+00:00") else shown


def _json(text: str, place: str):
    def once(pairs):
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError
        return members

    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise Mistakes([f"{place} is not JSON, or has a member twice"]) from None


def _object(value, place: str, mistakes: list[str], known: tuple[str, ...]) -> dict:
    if not isinstance(value, dict):
        mistakes.append(f"{place} has to be an object")
        return {}
    for name in value:
        if name not in known:
            mistakes.append(f"{place} has {_quoted(name)}, which is unknown; there are {', '.join(known)}")
    return value


def _texts(value, place: str, mistakes: list[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
        mistakes.append(f"{place} has to be a list of texts that are not empty")
        return ()
    return tuple(value)


def _choice(given: dict, name: str, choices: tuple[str, ...], mistakes: list[str]) -> str:
    value = given.get(name, choices[0])
    if value not in choices:
        mistakes.append(f"{name} has to be one of {', '.join(choices)}")
        return choices[0]
    return value


def _windows(value, place: str, mistakes: list[str]) -> list[Once | Weekly]:
    if not isinstance(value, list):
        mistakes.append(f"{place} has to be a list")
        return []
    windows = []
    for at, item in enumerate(value):
        try:
            windows.append(_window(item, f"{place}[{at}]"))
        except Mistakes as found:
            mistakes.extend(found.mistakes)
    return windows


def _window(value, place: str) -> Once | Weekly:
    mistakes: list[str] = []
    value = _object(value, place, mistakes, WINDOW)
    if not mistakes:
        for name in WINDOW:
            if name in value and not isinstance(value[name], str):
                mistakes.append(f"{place}.{name} has to be a text")
            elif name not in value and name != "offset":
                mistakes.append(f"{place}.{name} is missing")
    if mistakes:
        raise Mistakes(mistakes)
    if not value["name"]:
        raise Mistakes([f"{place}.name is empty"])
    if DAY_TIME.fullmatch(value["from"]) or DAY_TIME.fullmatch(value["to"]):
        return _weekly(value, place)
    return _once(value, place)


def _weekly(value: dict, place: str) -> Weekly:
    if "offset" not in value:
        raise Mistakes([f'{place}.offset is missing, the clock by which it is meant: "+01:00" or "Z"'])
    offset = _offset(value["offset"], f"{place}.offset")
    begin, end = (_day_time(value[name], f"{place}.{name}") for name in ("from", "to"))
    if begin == end:
        raise Mistakes([f"{place} ends when it begins; a freeze without end is a rule that denies everything"])
    return Weekly(value["name"], begin, (end - begin) % WEEK, offset)


def _once(value: dict, place: str) -> Once:
    if "offset" in value:
        raise Mistakes([f"{place}.offset is for weekly windows; moments have their own"])
    begin, end = (_moment(value[name], f"{place}.{name}") for name in ("from", "to"))
    if end <= begin:
        raise Mistakes([f"{place} ends before it begins"])
    seconds = (int((moment - EPOCH).total_seconds()) for moment in (begin, end))
    return Once(value["name"], *seconds, end.utcoffset())


def _day_time(text: str, place: str) -> int:
    """Seconds since Monday 00:00. `24:00` is the end of the day."""
    parts = DAY_TIME.fullmatch(text)
    if parts is None:
        raise Mistakes([f'{place} is {_quoted(text)}, but has to be like "fri 18:00", as the other end is'])
    day, hour, minute = DAYS.index(parts[1]), int(parts[2]), int(parts[3])
    if hour * 60 + minute > 24 * 60 or minute > 59:
        raise Mistakes([f"{place} is {_quoted(text)}, which is no time of a day"])
    return (day * DAY + hour * 3600 + minute * 60) % WEEK


def _moment(text: str, place: str) -> datetime:
    try:
        if MOMENT.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise Mistakes([f'{place} is {_quoted(text)}, but has to be like "2026-12-20T00:00:00Z" or "fri 18:00"'])


def _offset(text: str, place: str) -> timedelta:
    parts = OFFSET.fullmatch(text)
    if parts is None:
        raise Mistakes([f'{place} is {_quoted(text)}, but has to be like "+01:00" or "Z"'])
    if text == "Z":
        return timedelta()
    offset = timedelta(hours=int(parts[2]), minutes=int(parts[3]))
    return -offset if parts[1] == "-" else offset


def _quoted(text: str) -> str:
    return json.dumps(text)


DAY = 24 * 60 * 60
WEEK = 7 * DAY

# 1970-01-05, in seconds since 1970-01-01.
FIRST_MONDAY = 4 * DAY

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_TIME = re.compile(r"(mon|tue|wed|thu|fri|sat|sun) ([0-9]{2}):([0-9]{2})")

# RFC 3339, section 5.6, in whole seconds.
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])")
OFFSET = re.compile(r"Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9])")

SETTINGS = ("windows", "documents", "exempt", "controllers", "withoutWorkload")
EXEMPT = ("namespaces", "users", "groups", "labels")
WINDOW = ("name", "from", "to", "offset")
