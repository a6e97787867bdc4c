"""
Parses and checks names, IDs and labels.

Every parser takes text as received and returns it as it is stored, or raises an InvalidInputError that names the field.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.records import Labels
from lyftdata.core.redaction import holds_credential
from lyftdata.core.token_size import MAX_LABELS_BYTES

MAX_LABELS = 32
_MAX_WORKER_NAME = 64
_MAX_LABEL_PART = 63

_WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")
_API_KEY_NAME = re.compile(r"[A-Za-z0-9_-]{5,50}")
_OPERATOR_NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
# Printable ASCII without the two separators of the one-line form.
_LABEL_VALUE = re.compile(r"[ -+\--<>-~]{0,63}")

# Default_Ignorable_Code_Point (Unicode, DerivedCoreProperties) as far as Python calls it printable, and the blank
# pattern of Braille.
_SHOWS_NOTHING = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_MAX_MARKS = 2
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")

# Crockford's base32: without letters that are easily mistaken for others.
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

RandomBytes = Callable[[int], bytes]


def parse_worker_id(text: str) -> str:
    """Read a Worker ID: 1 to 64 ASCII letters, digits, `.` and `-`, starting with a letter or digit."""
    if not _WORKER_ID.fullmatch(text):
        raise InvalidInputError(
            "id", "must be 1 to 64 ASCII letters, digits, '.' or '-', starting with a letter or digit"
        )
    return text


def parse_worker_name(text: str) -> str:
    """Read a Worker name: 1 to 64 printable characters, trimmed and in Unicode's composed form (NFC)."""
    return _parse_shown_name(text)


def parse_passkey_name(text: str) -> str:
    """Read an operator's name for a passkey; the same rule."""
    return _parse_shown_name(text)


def _parse_shown_name(text: str) -> str:
    name = unicodedata.normalize("NFC", text).strip()
    # Spoofing: two names must not look alike to an operator by bidi overrides and zero-width characters (which are not printable),
    # by printable characters that show nothing, or by stacked combining marks. Homoglyphs of other scripts are allowed.
    if (
        not 1 <= len(name) <= _MAX_WORKER_NAME
        or not name.isprintable()
        or _SHOWS_NOTHING.search(name)
        or _has_stacked_marks(name)
    ):
        raise InvalidInputError("name", "must be 1 to 64 printable characters")
    check_no_credential("name", name)
    return name


def check_no_credential(field: str, text: str) -> None:
    """
    Refuse text that contains a lyftdata credential: it would be stored, and shown to everyone who may read names.

    Raises:
        InvalidInputError: It contains one. The message does not repeat it.
    """
    if holds_credential(text):
        raise InvalidInputError(
            field,
            "must not hold an API key or another credential; replace that one, since it may have been seen",
        )


def _has_stacked_marks(name: str) -> bool:
    in_a_row = 0
    for character in name:
        in_a_row = in_a_row + 1 if unicodedata.combining(character) else 0
        if in_a_row > _MAX_MARKS:
            return True
    return False


def parse_api_key_name(text: str) -> str:
    """Read an API key's name: 5 to 50 letters, digits, `-` and `_`."""
    if not _API_KEY_NAME.fullmatch(text):
        raise InvalidInputError("name", "must be 5 to 50 ASCII letters, digits, '-' or '_'")
    return text


def parse_operator_name(text: str) -> str:
    """Read an operator's name: 1 to 64 lower-case letters, digits, `.`, `-` and `_`, starting with a letter."""
    if not _OPERATOR_NAME.fullmatch(text):
        raise InvalidInputError(
            "name",
            "must be 1 to 64 lower-case ASCII letters, digits, '.', '-' or '_', starting with a letter",
        )
    return text


def parse_labels(labels: Mapping[str, str]) -> Labels:
    """
    Check labels: keys of 1 to 63 letters, digits and `._/-`; values of up to 63 printable ASCII characters.

    At most 32, and together at most 1,024 bytes as JSON: every token of the Worker carries them.
    """
    if len(labels) > MAX_LABELS:
        raise InvalidInputError("labels", f"must be at most {MAX_LABELS}")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise InvalidInputError(
                "labels",
                "keys must be 1 to 63 ASCII letters, digits, '.', '_', '-' or '/', starting with a letter or digit",
            )
        if not _LABEL_VALUE.fullmatch(value) or value != value.strip():
            raise InvalidInputError(
                "labels",
                f"values must be at most {_MAX_LABEL_PART} printable ASCII characters without ',' and '='",
            )
        check_no_credential("labels", key)
        check_no_credential("labels", value)
    size = len(msgspec.json.encode(labels))
    if size > MAX_LABELS_BYTES:
        raise InvalidInputError(
            "labels",
            f"must be at most {MAX_LABELS_BYTES} bytes together, as JSON, to fit into a worker token; these are {size}",
        )
    return dict(labels)


def parse_label_text(text: str) -> Labels:
    """Read the one-line form `zone=eu-1,gpu`; a repeated key is refused."""
    labels: dict[str, str] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        key, _, value = part.strip().partition("=")
        if key.strip() in labels:
            raise InvalidInputError("labels", "a key comes twice")
        labels[key.strip()] = value.strip()
    return parse_labels(labels)


def format_labels(labels: Mapping[str, str]) -> str:
    """Return the one-line form, sorted by key."""
    return ",".join(f"{key}={value}" if value else key for key, value in sorted(labels.items()))


def generate_worker_id(random_bytes: RandomBytes) -> str:
    """Return a new Worker ID: `w-` and 16 characters (80 random bits)."""
    return "w-" + _crockford_base32(random_bytes, 16).lower()


def generate_reference(random_bytes: RandomBytes) -> str:
    """Return a new refusal reference: 8 characters (40 random bits)."""
    return _crockford_base32(random_bytes, 8)


def check_storable(field: str, text: str) -> None:
    """
    Refuse text that not every encoding and database can store: NUL, and lone surrogates.

    Every field has further rules of its own.
    """
    if _NOT_STORABLE.search(text):
        raise InvalidInputError(field, "must be text without NUL and without halves of surrogate pairs")


def _crockford_base32(random_bytes: RandomBytes, length: int) -> str:
    # 32 divides 256, so the low five bits of a random byte are unbiased.
    return "".join(_CROCKFORD[byte & 31] for byte in random_bytes(length))
