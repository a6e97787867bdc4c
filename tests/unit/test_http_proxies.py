"""Which proxy from the environment a request uses, and the error for one that cannot be used."""

import pytest

from lyftdata.core.errors import SettingsError
from lyftdata.http_proxies import find_proxy

URL = "https://lyft.example:3000"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove every proxy from the environment."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("given", "url", "variable"),
    [
        ({"HTTPS_PROXY": "http://p.example:3128"}, "http://p.example:3128", "HTTPS_PROXY"),
        ({"https_proxy": "http://p.example:3128"}, "http://p.example:3128", "https_proxy"),
        ({"ALL_PROXY": "p.example:3128"}, "http://p.example:3128", "ALL_PROXY"),
        (
            {"HTTPS_PROXY": "https://a:b@p.example", "ALL_PROXY": "socks5://x"},
            "https://a:b@p.example",
            "HTTPS_PROXY",
        ),
    ],
)
def test_https_proxy_takes_precedence_over_all_proxy(environment, given, url, variable):
    """Even if the latter is of a kind that is not supported: it is not used."""
    for name, value in given.items():
        environment.setenv(name, value)

    found = find_proxy(URL)

    assert found is not None
    assert (found.url, found.variable) == (url, variable)
    assert "a:b" not in repr(found) + found.address


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:1", "ftp://p.example", "nonsense://", "http://p.example:x"]
)
@pytest.mark.parametrize("no_proxy", ["lyft.example", ".example", "other, lyft.example:3000", "*"])
def test_a_server_in_no_proxy_is_reached_directly(environment, proxy, no_proxy):
    """However invalid the proxy: it is not used."""
    environment.setenv("ALL_PROXY", proxy)
    environment.setenv("HTTPS_PROXY", proxy)
    environment.setenv("NO_PROXY", no_proxy)

    assert find_proxy(URL) is None


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://me:hunter2@127.0.0.1:1",
        "socks5h://127.0.0.1:1",
        "socks4://127.0.0.1:1",
        "ftp://me:hunter2@p.example",
        "http://",
        "http://p.example:x",
        "http://p.example:99999",
        "http://[::1",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
def test_an_unusable_proxy_is_reported_with_its_variable(environment, proxy, variable):
    """In one sentence, with the remedy and without the password."""
    environment.setenv(variable, proxy)

    with pytest.raises(SettingsError) as refused:
        find_proxy(URL)

    (problem,) = refused.value.problems
    assert problem.startswith(f"{variable}: ")
    assert "NO_PROXY=lyft.example" in problem
    assert "hunter2" not in problem
