"""Sentences are grammatical for every count, and text for machines is not shown to people."""

import re

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.test_gate import GETS, fill
from tests.unit.web.test_pages import text_of

from lyftdata.core.text import count
from lyftdata.web.snippets import snippets
from lyftdata.web.wording import describe_details, describe_program

MACHINE_TEXT = re.compile(
    r"\+00:00|\d:\d\d\.\d{3}|grace_s|enrolled_with|public_id|dpop_bound|\w=,|\bNone\b(?! in this| of )"
)


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"generation": "2", "grace_s": "604800"}, "generation 2, older generation works for 7 days"),
        ({"grace_s": "5400"}, "older generation works for 1 hour 30 minutes"),
        ({"grace_s": "0"}, "older generation works for no time"),
        ({"labels": "gpu=,rack=7"}, "labels gpu, rack=7"),
        ({"labels": "note=a=b"}, "labels note=a=b"),
        ({"labels": ""}, "labels none"),
        ({"public_id": "x", "workers": "all"}, "public ID x, workers every Worker"),
        ({"workers": "a,b"}, "workers a, b"),
        ({"workers": "a b"}, "workers a, b"),
        ({"since": "", "count": "3"}, "count 3"),
        (
            {
                "kind": "workers_lost",
                "key": "k",
                "title": "2 Workers went offline",
                "detail": "None signed off.",
            },
            " 2 Workers went offline. None signed off.",
        ),
        ({"kind": "approval", "key": "approval", "title": "1 Worker waits"}, " 1 Worker waits."),
        (
            {"workers": " ".join(f"w{number}" for number in range(1_010))},
            "workers w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, and 1,000 more",
        ),
        ({"name": "x", "strategy": "api_key"}, "name x, strategy API key"),
        ({"dpop_bound": "yes"}, "DPoP-bound yes"),
        ({"grace_s": "soon"}, "older generation works for soon"),
    ],
)
def test_details_are_shown_in_words(details, words):
    """Seconds become a duration, labels look as they are typed, and field names are words."""
    assert ", ".join(f"{name} {value}" for name, value in describe_details(details)) == words


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36",
            "Chrome 156 on Linux",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
            "Edge 140 on Windows",
        ),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 on Linux"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15",
            "Safari 26 on macOS",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1",
            "Safari 26 on iOS",
        ),
        ("Mozilla/5.0 (compatible; a crawler)", "Mozilla/5.0 (compatible; a crawler)"),
        ("lyftdata-cli/0.1.0", "lyftdata-cli/0.1.0"),
        ("curl/8.14 Chrome/1", "curl/8.14 Chrome/1"),
        ("", ""),
    ],
)
def test_browsers_are_shown_by_name_and_system(user_agent, words):
    """A list of sessions names the browser; other programs are shown by their User-Agent."""
    assert describe_program(user_agent) == words


def test_counts_agree_with_their_nouns():
    """One is singular; zero and more than one are plural."""
    assert [count(number, "Worker") for number in (0, 1, 2, 1_200)] == [
        "0 Workers",
        "1 Worker",
        "2 Workers",
        "1,200 Workers",
    ]


@pytest.mark.parametrize("url", ["http://localhost:3000", "https://lyft.example"])
def test_the_instructions_of_snippets_are_whole_sentences(url):
    """Each ends with a full stop, and there is a space between sentences."""
    given = {"LYFTDATA_URL": url, "LYFTDATA_WORKER_API_KEY": "x"}

    for snippet in snippets(given, secret="LYFTDATA_WORKER_API_KEY", name="press-01"):
        assert snippet.how.endswith(".")
        assert not re.search(r"[a-z]\.[A-Z]|[a-z] (?:Put|Replace|Paste|Build) ", snippet.how), snippet.how


@pytest.fixture
async def browser_with_history(server, browser, press):
    """Make changes on a Server that leave details, times and durations in its pages."""
    await browser.post("/workers/press-01", name="press-01", labels="gpu,rack=7")
    await browser.post(
        "/issue-api-key", name="press-keys", life="7d", **{"for": "chosen", "workers": "press-01"}
    )
    rotate = "/api-keys/press-keys/rotate"
    first = re.search(r"lyftdata_\w{10}_\w{38}", (await browser.post_shown(rotate, rotate, grace="1h")).text)
    assert first is not None
    await browser.post("/issue-api-key", name="short-keys", life="7d", **{"for": "all"})
    await browser.post(
        "/add-resource", name="broker", audience="https://broker.example", worker_ids="press-01"
    )
    await server.enrolled("scaler")
    server.clock.forward(days=8, seconds=1.234567)
    await server.token_by_key("press-01", first[0])
    await server.token_by_key(*press)
    await browser.sign_in("admin", "xxx " + PASSWORD)
    await browser.learn_token()
    return browser


async def test_no_page_shows_text_for_machines(browser_with_history, unhurried, subtests):
    """No time with a zone as Python writes it, no field names, and no labels with a bare `=`."""
    for path in sorted({entry.path for entry in GETS} - {"/events", "/audit/export"}):
        page = await browser_with_history.get(fill(path))

        shown = re.sub(r"(?s)<pre.*?</pre>", "", page.text.partition("<main")[2])
        with subtests.test(path):
            assert MACHINE_TEXT.findall(shown) == []


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({}, "No Worker gets tokens now for https://broker.example."),
        ({"worker_ids": "press-01"}, "1 Worker gets no more tokens for https://broker.example."),
        ({"worker_ids": "press-01 press-02"}, "2 Workers get no more tokens for https://broker.example."),
    ],
)
async def test_deleting_a_resource_says_how_many_workers_it_affects(browser, press, chosen, words):
    """For no, one and several Workers."""
    await browser.post("/add-worker", name="press-02", id="press-02", **{"with": "own"})
    await browser.post("/add-resource", name="broker", audience="https://broker.example", **chosen)

    assert words in text_of(await browser.get("/resources/broker/delete"))


@pytest.mark.parametrize("action", ["disable", "enable", "delete"])
@pytest.mark.parametrize("number", [1, 2])
async def test_a_confirmation_agrees_with_the_number_of_workers(server, browser, press, action, number):
    """One Worker is *it*, several are *they*."""
    await browser.post("/add-worker", name="press-02", id="press-02", **{"with": "own"})
    await browser.post("/workers/press-01/disable")
    ticked = "&".join(f"id=press-0{n + 1}" for n in range(number))

    words = text_of(await browser.get(f"/change-workers?action={action}&{ticked}"))

    expected = {
        "disable": ("It waits and connects again", "They wait and connect again"),
        "enable": (
            "1 Worker was disabled by an operator.",
            "1 Worker is enabled already: for it nothing changes.",
        ),
        "delete": ("The entry is gone, with its ID.", "The entries are gone, with their IDs."),
    }[action][number - 1]
    assert expected in words
