"""A token that says everything at its longest is one that every check accepts."""

from typing import Any

import pytest
from tests.builders import NOON, worker

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.keyring import generate_signing_key
from lyftdata.core.names import format_labels, parse_labels, parse_worker_id, parse_worker_name
from lyftdata.core.records import Strategy
from lyftdata.core.refusals import TokenTooLongError
from lyftdata.core.resources import check_fits_token, parse_audience, parse_scopes
from lyftdata.core.tokens import format_credential, mint_worker_token, verify_worker_token
from lyftdata.server.runtime.settings_values import parse_bind_address, parse_public_url

# The longest of each part; `test_each_part_has_a_limit` shows that one character more is refused.
ISSUER = "https://" + "h" * 248
AUDIENCE = "https://" + "a" * 248
NAME = "\U0001f600" * 64
LABELS = {f"k{n:02}": "v" * 22 for n in range(31)} | {"k31": '"' * 26 + "v"}
SCOPES = [f"{n:02}".ljust(63, "s") for n in range(10)] + ["zzzz"]
FARTHEST = 10**16  # milliseconds since 1970, in more than 300,000 years


def longest_token(algorithm, **changes):
    """Mint what takes most room in each part: for another service, bound to a key, by an enrolled Worker."""
    check_fits_token(AUDIENCE, SCOPES)
    given: dict[str, Any] = {
        "signer": generate_signing_key(algorithm),
        "issuer": parse_public_url(ISSUER),
        "audience": parse_audience(AUDIENCE, issuer=ISSUER),
        "worker": worker(
            parse_worker_id("w" * 64),
            name=parse_worker_name(NAME),
            labels=parse_labels(LABELS),
            strategy=Strategy.AUTO_ENROLLMENT,
        ),
        "credential": format_credential("jkt", "t" * 43, FARTHEST),
        "now": NOON,
        "ttl_s": 86_400,
        "jti": "j" * 22,
        "scope": " ".join(parse_scopes(SCOPES)),
        "bound_to": "t" * 43,
    } | changes
    return given, mint_worker_token(**given)


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519"])
def test_the_longest_token_verifies(algorithm):
    """Every part at its longest makes a token that is accepted, and the limits leave little room unused."""
    given, token = longest_token(algorithm)

    keys = {given["signer"].kid: given["signer"].verification}
    claims = verify_worker_token(token, keys=keys, issuers=[ISSUER], audience=AUDIENCE, now=NOON)

    assert claims.labels == LABELS
    assert 4_000 < len(token) <= 4_096


def test_what_was_stored_under_other_limits_makes_no_token():
    """A token that no check would accept is not given out: the Worker is told why instead."""
    too_many_labels = worker("w-1", labels={f"k{n}": "v" * 63 for n in range(64)})

    with pytest.raises(TokenTooLongError) as refused:
        longest_token("ES256", worker=too_many_labels)

    assert refused.value.claimed_worker == "w-1"
    assert "4096" in refused.value.detail


def test_the_one_line_form_is_no_longer_than_the_json():
    """A limit on the JSON is one on the header that carries the labels, too."""
    assert len(format_labels(LABELS)) <= 1_024


@pytest.mark.parametrize(
    ("parse", "longest"),
    [
        (parse_public_url, ISSUER),
        (lambda text: parse_audience(text, issuer=ISSUER), AUDIENCE),
        (parse_worker_name, NAME),
        (lambda text: parse_bind_address(f"{text}:3000"), "h" * 241),
        (lambda text: parse_labels(LABELS | {"k31": text}), LABELS["k31"]),
        (lambda text: check_fits_token(AUDIENCE, [*SCOPES[:-1], text]), SCOPES[-1]),
    ],
    ids=["public URL", "audience", "name", "bind address", "labels", "audience and scopes"],
)
def test_each_part_has_a_limit(parse, longest):
    """The longest text is accepted, one character more is refused."""
    parse(longest)

    with pytest.raises(InvalidInputError):
        parse(longest + "x")
