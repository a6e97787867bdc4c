"""The public documents: caching, revalidation, and reading them from other sites."""

import pytest

DOCUMENTS = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/.well-known/jwks.json",
]


@pytest.mark.parametrize("path", DOCUMENTS)
@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', 'W/"other" ,{}', "*"])
async def test_a_client_with_the_current_document_gets_304(server, path, form):
    """For its tag, alone or in a list, with the headers that a cache needs."""
    first = await server.http.get(path)
    again = await server.http.get(path, headers={"If-None-Match": form.format(first.headers["etag"])})

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    for name in ("etag", "cache-control", "access-control-allow-origin"):
        assert again.headers[name] == first.headers[name]


@pytest.mark.parametrize("path", DOCUMENTS)
@pytest.mark.parametrize("tag", ['"other"', "other", "", '""'])
async def test_a_client_with_another_tag_gets_the_document(server, path, tag):
    """As does one without a tag."""
    answer = await server.http.get(path, headers={"If-None-Match": tag})

    assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=300")
    assert answer.json()


async def test_changed_keys_get_a_new_tag(server):
    """Once the next key is published, a client with the old tag gets both keys."""
    first = await server.http.get(DOCUMENTS[2])
    server.clock.forward(days=29)
    await server.services.signing_keys.refresh()

    again = await server.http.get(DOCUMENTS[2], headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, len(again.json()["keys"])) == (200, 2)
    assert again.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_head_and_preflight_are_answered(server, path):
    """HEAD matches GET; OPTIONS lets a page send any header, and read the document."""
    read = await server.http.get(path)
    head = await server.http.head(path)
    preflight = await server.http.options(
        path,
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "mcp-protocol-version",
        },
    )

    assert (head.status_code, head.headers["etag"]) == (200, read.headers["etag"])
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert (
        preflight.headers["access-control-allow-origin"]
        == preflight.headers["access-control-allow-headers"]
        == "*"
    )
    assert preflight.headers["access-control-allow-methods"] == "GET, HEAD"
    assert (await server.http.post(path)).status_code == 405


@pytest.mark.parametrize(
    "path", ["/oauth2/token", "/oauth2/register", "/api/workers", "/auth/verify", "/metrics", "/login", "/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_nothing_else_is_readable_from_other_sites(server, admin, path, method):
    """Neither what takes or gives a credential, nor what is about Workers."""
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"} | admin
    answer = await server.http.request(method, path, headers=headers)

    assert not [name for name in answer.headers if name.startswith("access-control-")]
