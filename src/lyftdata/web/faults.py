"""
Which field of a form an error is about, so that the page says it next to that field and puts the focus there.

The rules name fields as the API does. A form may call them otherwise, and a conflict or a missing thing names no field at
all: here is one table for all forms. Only a field that the form has sent is found; all else is said above the form alone.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

import msgspec
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from lyftdata.core.errors import InvalidInputError, LyftdataError
from lyftdata.web.zones import local_times

# A field of the API, or the code of another error: the names that forms have for what it is about, the likeliest first.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "password": ("new", "password"),
    "login_failed": ("current", "password"),
    "login_locked": ("current", "password"),
    "second_factor_failed": ("code",),
    "second_factor_required": ("code",),
    "labels": ("labels", "scope"),
    "max_uses": ("uses",),
    "expires_in_s": ("life", "expires"),
    "grace_s": ("grace",),
    "duration": ("expires", "until", "since", "for", "grace", "life"),
    "worker_ids": ("worker_ids", "workers", "worker"),
    "workers": ("workers", "worker"),
    "for": ("workers", "for"),
    "worker_id": ("id", "worker", "workers"),
    "worker_not_found": ("worker", "workers", "worker_ids"),
    "worker_id_taken": ("id",),
    "worker_name_taken": ("name",),
    "api_key": ("key_name",),
    "api_key_not_found": ("key_name",),
    "api_key_expired": ("key_name",),
    "api_key_revoked": ("key_name",),
    "api_key_name_taken": ("key_name", "name"),
    "api_token_name_taken": ("name",),
    "enrollment_key_name_taken": ("name",),
    "event_destination_name_taken": ("name",),
    "operator_name_taken": ("name",),
    "resource_name_taken": ("name",),
    "resource_audience_taken": ("audience",),
    "unknown_code": ("user_code",),
    "disabled_note": ("note",),
    "disabled_until": ("until",),
    "incident_subject_not_found": ("subject",),
    "incident_subject_ambiguous": ("subject",),
}

_API_NAME = re.compile(r"(?<!['`\w-])[a-z]+(?:_[a-z]+)+(?!['`\w-])")

# What scripts and the page itself put into a form: no person fills it in.
_CARRIED = frozenset({"before", "csrf", "next", "passkey", "seen", "setup"})
# Their hints say how a program sends what a page has a field for.
_HINTS_FOR_PROGRAMS = frozenset({"second_factor_required"})


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a field of a form, by the name that it has there."""

    name: str
    sentence: str


def find_fault(problem: LyftdataError | None, given: AbstractSet[str]) -> Fault | None:
    """
    Return what to say next to a field; None if the problem is about none of them.

    Args:
        problem: What was wrong with the form, if it was.
        given: The names of the fields that it has sent.
    """
    if problem is None:
        return None
    key = problem.field if isinstance(problem, InvalidInputError) else problem.code
    name = next((name for name in (*_NAMES.get(key, ()), key) if name in given - _CARRIED), None)
    return None if name is None else Fault(name, _sentence(problem.message))


@pass_context
def field(context: Context, name: str, rule: str = "", *, focus: bool = False) -> Markup:
    """
    Return the attributes of a form's field that depend on whether it is the one at fault.

    Args:
        context: The template's, with `fault`.
        name: The field's name.
        rule: The ID of the text that says its rule; empty for none.
        focus: Whether the page begins with the focus in this field, if no other one is at fault.
    """
    fault: Fault | None = context["fault"]
    if fault is None or fault.name != name:
        attributes = Markup(' aria-describedby="{}"').format(rule) if rule else Markup("")
        return attributes + (Markup(" autofocus") if focus and fault is None else Markup(""))
    texts = f"error-{name} {rule}".strip()
    return Markup(' id="field-{}" aria-invalid="true" aria-describedby="{}" autofocus').format(name, texts)


@pass_context
def error_of(context: Context, name: str) -> Markup:
    """Return what is wrong with a field, to be put behind it; nothing if it is not at fault."""
    fault: Fault | None = context["fault"]
    if fault is None or fault.name != name:
        return Markup("")
    return Markup('<p class="fault" id="error-{}">{}</p>').format(name, code(fault.sentence))


def code(text: str, now: datetime | None = None) -> Markup:
    """Return one of the program's sentences, with text between backticks as code, and times in the zone of `now`; the rest is escaped."""
    parts = str(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part)
        if number % 2
        else escape(part)
        if now is None
        else local_times(part, now)
        for number, part in enumerate(parts)
    )


def hint(problem: LyftdataError) -> Markup:
    """Return what to do about an error, for people."""
    return Markup("") if problem.code in _HINTS_FOR_PROGRAMS else code(problem.hint)


def in_words(sentence: str) -> str:
    """Return a sentence in which fields of the API, such as `refuse_below`, are words; what is quoted stays."""
    return _API_NAME.sub(lambda found: found[0].replace("_", " "), sentence)


def _sentence(message: str) -> str:
    """Return a rule such as `must be 5 to 50 letters` as a sentence."""
    text = in_words(message[:1].upper() + message[1:])
    return text if text.endswith((".", "!", "?")) else text + "."
