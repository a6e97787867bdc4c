"""A token in which every part has its maximum length is accepted by every verifier."""

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

# Each part at its maximum length; `test_each_part_has_a_limit` shows that one more character is rejected.
ISSUER = "https://" + "h" * 248
AUDIENCE = "https://" + "a" * 248
NAME = "\U0001f600" * 64
LABELS = {f"k{n:02}": "v" * 22 for n in range(31)} | {"k31": '"' * 26 + "v"}
SCOPES = [f"{n:02}".ljust(63, "s") for n in range(10)] + ["zzzz"]
FARTHEST = 10**16  # milliseconds since 1970, in more than 300,000 years


def longest_token(algorithm, **changes):
    """Mint the longest possible token: for another service, bound to a key, for an enrolled Worker."""
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
    """The limits leave little room unused."""
    given, token = longest_token(algorithm)

    keys = {given["signer"].kid: given["signer"].verification}
    claims = verify_worker_token(token, keys=keys, issuers=[ISSUER], audience=AUDIENCE, now=NOON)

    assert claims.labels == LABELS
    assert 4_000 < len(token) <= 4_096


def test_no_token_is_issued_that_would_be_too_long():
    """Labels stored under other limits could exceed the maximum; the Worker then gets an error instead of a useless token."""
    too_many_labels = worker("w-1", labels={f"k{n}": "v" * 63 for n in range(64)})

    with pytest.raises(TokenTooLongError) as refused:
        longest_token("ES256", worker=too_many_labels)

    assert refused.value.claimed_worker == "w-1"
    assert "4096" in refused.value.detail


def test_the_one_line_form_of_labels_is_not_longer_than_the_json():
    """So the limit on the JSON also limits the header that carries the labels."""
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
    """The longest text is accepted, one more character is rejected."""
    parse(longest)

    with pytest.raises(InvalidInputError):
        parse(longest + "x")
