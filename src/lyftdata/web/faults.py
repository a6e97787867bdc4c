"""
Finds the form field that an error is about, so that the page shows the error next to it and puts the focus there.

The rules use the API's field names. A form may use others, and a conflict or a missing object names no field at all: this is the
one table for all forms. Only fields that the form has sent are considered; other errors are only shown above the form.
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

# An API field, or the code of another error: the names of form fields that it may be about, the most likely one first.
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

# Fields that scripts and the page itself fill in, not a person.
_CARRIED = frozenset({"before", "csrf", "next", "passkey", "seen", "setup"})
# Their hints describe how a program sends what a page has a field for.
_HINTS_FOR_PROGRAMS = frozenset({"second_factor_required"})


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a field of a form, by its name in the form."""

    name: str
    sentence: str


def find_fault(problem: LyftdataError | None, given: AbstractSet[str]) -> Fault | None:
    """
    Return the fault to show next to a field; None if the problem is not about a field.

    Args:
        problem: What is wrong with the form, if anything.
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
    Return the attributes of a form field, which depend on whether it is at fault.

    Args:
        context: The template's, with `fault`.
        name: The field's name.
        rule: The ID of the text that explains its rule; empty for none.
        focus: Whether this field initially has the focus, if no other one is at fault.
    """
    fault: Fault | None = context["fault"]
    if fault is None or fault.name != name:
        attributes = Markup(' aria-describedby="{}"').format(rule) if rule else Markup("")
        return attributes + (Markup(" autofocus") if focus and fault is None else Markup(""))
    texts = f"error-{name} {rule}".strip()
    return Markup(' id="field-{}" aria-invalid="true" aria-describedby="{}" autofocus').format(name, texts)


@pass_context
def error_of(context: Context, name: str) -> Markup:
    """Return what is wrong with a field, to be shown after it; empty if it is not at fault."""
    fault: Fault | None = context["fault"]
    if fault is None or fault.name != name:
        return Markup("")
    return Markup('<p class="fault" id="error-{}">{}</p>').format(name, code(fault.sentence))


def code(text: str, now: datetime | None = None) -> Markup:
    """Return one of the program's sentences, with text in backticks as code, and times in the zone of `now`; the rest is escaped."""
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
    """Return a sentence in which API fields such as `refuse_below` are written as words; quoted text is unchanged."""
    return _API_NAME.sub(lambda found: found[0].replace("_", " "), sentence)


def _sentence(message: str) -> str:
    """Turn a rule such as `must be 5 to 50 letters` into a sentence."""
    text = in_words(message[:1].upper() + message[1:])
    return text if text.endswith((".", "!", "?")) else text + "."
