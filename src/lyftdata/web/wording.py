"""Readable names for codes in the audit log; the API and exports keep the codes."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta

from lyftdata.core.durations import describe_span

_NAMES = {
    "public_id": "public ID",
    "dpop_bound": "DPoP-bound",
    "grace_s": "older generation works for",
    "enrolled_with": "enrolled with",
}
# A mass change names a thousand Workers, which would fill the page; the exports have all of them.
_MOST_WORKERS = 10
# What the event of an alert has; its kind is the action's name, and its key means something to programs alone.
_ALERT = frozenset({"kind", "key", "title"})
_STRATEGIES = {"api_key": "API key", "auto_enrollment": "Auto-Enrollment"}


def describe_details(details: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return details as pairs of a name and a value, both for people; those without a value are left out."""
    if details.keys() >= _ALERT:
        return [("", f"{details['title']}. {details.get('detail', '')}".strip())]
    if details.keys() & {"added", "removed"} and "labels" in details:
        return [("labels:", _changed_labels(details))]
    return [
        (_NAMES.get(name, name.replace("_", " ")), _VALUES.get(name, str)(value))
        for name, value in details.items()
        if value or name in _VALUES
    ]


def describe_program(user_agent: str) -> str:
    """Return `Chrome 140 on Linux` for the user agent of a browser; what any other program sends, as it is."""
    if not user_agent.startswith("Mozilla/5.0 ("):
        return user_agent
    for part, name in _BROWSERS.items():
        if found := re.search(rf"\b{part}/(\d{{1,4}})", user_agent):
            system = next((name for part, name in _SYSTEMS.items() if part in user_agent), "")
            return f"{name} {found[1]}{' on ' if system else ''}{system}"
    return user_agent


def _seconds(text: str) -> str:
    return describe_span(timedelta(seconds=int(text))) if text.isascii() and text.isdigit() else text


def _labels(text: str) -> str:
    """Return `gpu=,rack=7` as `gpu, rack=7`."""
    return ", ".join(part.removesuffix("=") for part in text.split(",") if part) or "none"


def _changed_labels(details: Mapping[str, str]) -> str:
    """Return label changes as `+rack=7` and `-owner=ann`; a label with a changed value is in both."""
    signs = {"added": "+", "removed": "\N{MINUS SIGN}"}
    return " ".join(
        f"{sign}{part.removesuffix('=')}"
        for name, sign in signs.items()
        for part in details.get(name, "").split(",")
        if part
    )


def _workers(text: str) -> str:
    if text in {"all", "nobody"}:
        return "every Worker" if text == "all" else "none"
    names = text.replace(",", " ").split()
    more = [f"and {len(names) - _MOST_WORKERS:,} more"] if len(names) > _MOST_WORKERS else []
    return ", ".join(names[:_MOST_WORKERS] + more)


# By what their user agents contain, the most telling first: all of them also name others, for old sites.
_BROWSERS: Mapping[str, str] = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "FxiOS": "Firefox",
    "CriOS": "Chrome",
    "HeadlessChrome": "Chrome",
    "Chrome": "Chrome",
    "Version": "Safari",
}
_SYSTEMS: Mapping[str, str] = {
    "Windows": "Windows",
    "iPhone": "iOS",
    "iPad": "iPadOS",
    "Android": "Android",
    "CrOS": "ChromeOS",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}

_VALUES: Mapping[str, Callable[[str], str]] = {
    "grace_s": _seconds,
    "labels": _labels,
    "workers": _workers,
    "strategy": lambda text: _STRATEGIES.get(text, text),
}
