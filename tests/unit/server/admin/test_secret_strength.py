"""Secrets chosen by a person: a guessable one is refused or warned about, a random one is not."""

import base64
import random
import string
import threading
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import ENROLLMENT_KEY, SECRET_KEY, seeded_bytes
from tests.deployment import PASSWORD
from tests.unit.web.conftest import Browser, signed_in

from lyftdata.core.enrollment_secrets import generate_enrollment_key
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.secret import Secret
from lyftdata.private_files import PrivateDirectory
from lyftdata.server.admin import secret_strength
from lyftdata.server.admin.passwords import check_new_password
from lyftdata.server.admin.secret_strength import (
    MIN_PASSWORD_GUESSES,
    PUBLISHED_EXAMPLE,
    assess_key,
    check_password,
    check_secret_key,
)
from lyftdata.server.runtime.secret_keys import load_secret_key
from lyftdata.server.runtime.settings import read_server_settings

MONOTONY = [
    "a" * 40,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
    "ab" * 20,
    "password" * 5,
    "0123456789" * 4,
    "deadbeef" * 4,
    "changeme" * 4,
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "qwertyuiopasdfghjklzxcvbnm1234567890",
    "aaaabbbbccccddddeeeeffffgggghhhhiiii",
]
PHRASES = [
    "Summer2026Summer2026Autumn2026Wint",
    "Winter2025Winter2025Spring2026Summ",
    # As long as a generated one, with the same characters.
    "SummerTwentySixSummerTwentySevenWinterIsHer",
    "correct-horse-battery-staple-abcdefgh",
    "correct horse battery staple orange window",
    "ThisIsOurSharedSecretForWorkers2026!",
    "MyCompanyEnrollmentKeyForWorkers2026",
    "lyftdata-auto-enrollment-secret-key",
    "This is our enrollment secret for the year 2026",
    "P@ssw0rdP@ssw0rdP@ssw0rd2026Acme!!!!",
    "MaryHadALittleLambItsFleeceWasWhite",
    "DasIstUnserGeheimesPasswort2026Server",
    "production-workers-shared-key-do-not-share",
    "192.168.0.1-admin-192.168.0.2-admin",
    "Lyftdata!Lyftdata?Lyftdata.Lyftdata",
]
WEAK = [PUBLISHED_EXAMPLE, *MONOTONY, *PHRASES]


def bytes_of(seed, count):
    """Return reproducible random bytes."""
    return seeded_bytes(seed)(count)


def letters(seed, alphabet, count):
    """Return reproducible random characters."""
    return "".join(random.Random(seed).choices(alphabet, k=count))


RANDOM = {
    "ours": lambda seed: generate_enrollment_key(seeded_bytes(seed)).reveal(),
    "openssl rand -hex 16": lambda seed: bytes_of(seed, 16).hex(),
    "openssl rand -hex 32": lambda seed: bytes_of(seed, 32).hex(),
    "openssl rand -base64 32": lambda seed: base64.b64encode(bytes_of(seed, 32)).decode(),
    "secret.key": lambda seed: base64.urlsafe_b64encode(bytes_of(seed, 32)).decode(),
    "base32": lambda seed: base64.b32encode(bytes_of(seed, 20)).decode(),
    "uuid": lambda seed: str(uuid.UUID(bytes=bytes_of(seed, 16), version=4)),
    "32 of letters and digits": lambda seed: letters(seed, string.ascii_letters + string.digits, 32),
    "a password manager's": lambda seed: letters(seed, string.printable[:94], 40),
}


@pytest.mark.parametrize("weak", WEAK)
def test_a_weak_enrollment_key_is_warned_about(weak):
    """The Server starts with it, because Workers have it, and names the variable and the command that generates a good one."""
    read = read_server_settings(
        {"LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY, "LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": weak}
    )
    (warning,) = read.warnings

    assert warning.startswith("LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS: ")
    assert "guessed" in warning or "Everyone knows it" in warning
    assert "lyftdata enrollment generate-key" in warning
    assert weak not in warning


@pytest.mark.parametrize(
    ("damaged", "flaw"),
    [(ENROLLMENT_KEY[:-1], "this one has 64"), (ENROLLMENT_KEY[:-1] + "w", "its checksum is wrong")],
)
def test_an_incomplete_enrollment_key_is_warned_about(damaged, flaw):
    """A Worker with the complete key could not enroll there."""
    (warning,) = read_server_settings({"LYFTDATA_AUTO_ENROLLMENT_KEY": damaged}).warnings

    assert warning.startswith("LYFTDATA_AUTO_ENROLLMENT_KEY: ")
    assert flaw in warning
    assert damaged[26:] not in warning


@pytest.mark.parametrize("weak", WEAK)
def test_a_weak_secret_key_is_refused(weak):
    """Only the Server knows it, so it is easy to replace."""
    with pytest.raises(SettingsError) as raised:
        read_server_settings({"LYFTDATA_SECRET_KEY": weak})
    (problem,) = raised.value.problems

    assert problem.startswith("LYFTDATA_SECRET_KEY: must be random")
    assert "lyftdata enrollment generate-key" in problem
    assert weak not in problem


@pytest.mark.parametrize("weak", [PUBLISHED_EXAMPLE, "a" * 40, PHRASES[0]])
def test_a_weak_secret_key_in_the_data_directory_is_refused(tmp_path, weak):
    """The file may have been written by hand: the same rule applies, and the error names the file."""
    directory = PrivateDirectory(tmp_path / "s", named_by="X", child="y")
    directory.make()
    directory.write("secret.key", weak.encode() + b"\n")
    with pytest.raises(SettingsError, match=r"secret\.key must be random") as raised:
        load_secret_key(directory.path, given=None, random_bytes=seeded_bytes())
    assert weak not in str(raised.value)


@pytest.mark.parametrize("kind", RANDOM)
@settings(max_examples=10)
@given(seed=st.integers())
def test_random_keys_cause_no_warning(kind, seed):
    """The output of common key generators is accepted."""
    assert assess_key(Secret(RANDOM[kind](seed))) is None


@pytest.mark.parametrize("kind", RANDOM)
def test_a_random_secret_key_is_accepted(kind):
    """The output of common key generators is accepted as a secret key."""
    check_secret_key(Secret(RANDOM[kind](1)))


@pytest.mark.parametrize(
    "weak",
    [
        "bbbbbbbbbbbb",
        "Password123!",
        "password1234",
        "P@ssw0rd2026",
        "administrator1",
        "lyftdata2026",
        "lyftdata-admin",
        "lyftdata-worker",
        "qwertyuiop12",
        "adminadmin12",
        "letmein-letmein",
        "Summer2026!!",
        "123456789012",
        "aB3$aB3$aB3$",
        "iloveyou1987",
        "b" * 500,
    ],
)
def test_a_weak_password_is_refused(weak):
    """The message says what was found and what to do, and does not repeat the password."""
    with pytest.raises(InvalidInputError) as raised:
        check_new_password(Secret(weak), operator="ada")

    assert raised.value.message.startswith("is too easy to guess. ")
    assert "unrelated words" in raised.value.message
    assert weak not in raised.value.message


def test_a_password_with_the_operators_name_is_refused():
    """The same password is accepted for another operator."""
    check_new_password(Secret("zyxomma-2026!"), operator="ada")
    check_password(Secret("zyxomma-2026!"), min_guesses=MIN_PASSWORD_GUESSES, known=["ada"])
    with pytest.raises(InvalidInputError, match="easy to guess"):
        check_password(Secret("zyxomma-2026!"), min_guesses=MIN_PASSWORD_GUESSES, known=["zyxomma"])


@pytest.mark.parametrize(
    "fine",
    [
        PASSWORD,
        "fluffy kitten 1987 sails",
        "kE2vx9QaT7mB",
        "correcthorsebatterystaple",
        "Grüße an Zwölf Boxkämpfer",
    ],
)
def test_a_good_password_is_accepted(fine):
    """Unrelated words, or random characters."""
    check_new_password(Secret(fine), operator="ada")


@pytest.mark.parametrize("around", [" x", "x ", "\tx", "\ufeffx"])
def test_a_password_with_surrounding_white_space_is_refused(around):
    """White space is stripped from a password that is piped in: its owner could not sign in."""
    with pytest.raises(InvalidInputError, match="white space"):
        check_new_password(Secret(around.replace("x", "correct horse battery")), operator="ada")


@pytest.mark.parametrize(
    ("password", "taken"),
    [("kE2vx9Qa", True), ("bbbbbbbb", False), ("Password123!", False), ("lyftdata2026", False)],
)
def test_the_first_password_is_assessed_too(password, taken):
    """With a lower limit, because it is changed at the first sign-in."""
    if taken:
        read_server_settings({"LYFTDATA_ADMIN_INIT_PASSWORD": password})
        return
    with pytest.raises(SettingsError, match="LYFTDATA_ADMIN_INIT_PASSWORD: is too easy to guess") as raised:
        read_server_settings({"LYFTDATA_ADMIN_INIT_PASSWORD": password})
    assert password not in str(raised.value)


def test_the_number_of_spellings_tried_is_limited():
    """Zxcvbn searches its dictionaries once for each way to read the symbols: a few, whatever the password contains."""
    from zxcvbn import matching

    def spellings(text):
        return len(matching.enumerate_l33t_subs(matching.relevant_l33t_subtable(text, matching.L33T_TABLE)))

    text = ("4@8({[<6913!|1$5+7%2" * 4)[: secret_strength._MAX_ASSESSED_LENGTH]
    assert spellings(text) > 500
    assert spellings(text.translate(secret_strength._ONE_SYMBOL_A_LETTER)) < 10


def test_concurrent_assessments_do_not_mix():
    """Each of many threads uses its own operator's name."""
    answers = {}

    def ask(name):
        try:
            check_password(Secret("zyxomma-2026!"), min_guesses=MIN_PASSWORD_GUESSES, known=[name])
            answers[name] = "taken"
        except InvalidInputError:
            answers[name] = "refused"

    names = ["zyxomma", *(f"somebody-else-{number}" for number in range(7))]
    asking = [threading.Thread(target=ask, args=(name,)) for name in names]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert {name for name, answer in answers.items() if answer == "refused"} == {"zyxomma"}


async def test_the_api_says_why_a_password_is_refused(server, admin):
    """With 422, the field and the reason, for one's own password and for another operator's; nothing is changed."""
    weak = "bbbbbbbbbbbb"
    await server.http.post("/api/operators", json={"name": "grace", "role": "viewer"}, headers=admin)
    for method, path, body in (
        ("POST", "/api/operators", {"name": "ada", "role": "viewer", "password": weak}),
        ("PATCH", "/api/operators/grace", {"password": weak}),
        ("POST", "/api/me/password", {"current_password": PASSWORD, "new_password": weak}),
    ):
        answer = await server.http.request(method, path, json=body, headers=admin)
        assert answer.status_code == 422
        assert answer.json()["field"] == "password"
        assert "too easy to guess" in answer.json()["detail"]
        assert weak not in answer.text
    await server.sign_in()


async def test_the_page_says_why_a_password_is_refused(server):
    """The form is shown again with the reason, and the old password stays valid."""
    browser = Browser(server.from_address("192.0.2.50"))
    await browser.sign_in("admin", PASSWORD)
    await browser.learn_token()
    answer = await browser.post(
        "/account/password", current=PASSWORD, new="bbbbbbbbbbbb", again="bbbbbbbbbbbb"
    )

    assert answer.status_code == 422
    assert "too easy to guess" in answer.text
    assert "bbbbbbbbbbbb" not in answer.text
    assert (await browser.sign_in("admin", PASSWORD)).status_code == 303


@pytest.mark.parametrize("written", [f" {PASSWORD}", f"\ufeff{PASSWORD}\r\n"])
async def test_a_pasted_password_signs_in(server, written):
    """White space and a byte order mark around a password are not part of it."""
    answer = await server.http.post("/api/login", json={"username": "admin", "password": written})

    assert answer.status_code == 200


def test_the_keys_of_the_tests_cause_no_warning():
    """Other tests rely on this."""
    read = read_server_settings(
        {"LYFTDATA_SECRET_KEY": SECRET_KEY, "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
    )
    assert read.warnings == ()


async def test_the_page_marks_a_weak_key(opened):
    """The Auto-Enrollment page says which of the two keys is weak, and what to do; it shows neither key."""
    weak = PHRASES[0]
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS=weak) as server:
        own = {"current_password": PASSWORD, "new_password": f"xxx {PASSWORD}"}
        await server.http.post("/api/me/password", json=own, headers=await server.sign_in())
        browser = await signed_in(server, "admin", own["new_password"])
        page = await browser.get("/enrollment")

    assert page.text.count("</i>weak</span>") == page.text.count("</i>good</span>") == 1
    assert "lyftdata enrollment generate-key" in page.text
    assert weak not in page.text
    assert ENROLLMENT_KEY not in page.text
