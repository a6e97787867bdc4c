"""`/auth/verify` and `/auth/ext_authz` with bound tokens: a proof counts only for the service that the proxy names."""

import pytest
from tests.oauth_requests import bound, define, dpop

from lyftdata.core.identity_keys import generate_identity_key

API, OTHER = "https://api.example", "https://other.example"


@pytest.fixture
def key():
    """Return a key to which a token is bound."""
    return generate_identity_key()


@pytest.fixture
async def token(server, press, key):
    """Return a token that is bound to the key."""
    return await bound(server, press, key)


@pytest.fixture
async def named(server, admin):
    """Name two services."""
    await define(server, admin, name="api", audience=API)
    await define(server, admin, name="other", audience=OTHER)


def forwarded(**changes):
    """Return the headers with which Caddy and Traefik describe the request; a header changed to None is left out."""
    sent = {"Method": "GET", "Proto": "https", "Host": "api.example", "Uri": "/things"} | changes
    return {f"X-Forwarded-{name}": value for name, value in sent.items() if value is not None}


class ProxyClient:
    """Asks a Server as proxies do."""

    def __init__(self, server, token, key):
        self.server, self.token, self.key = server, token, key

    def proof(self, url, method="GET"):
        """Make a proof for a request."""
        return dpop(self.key, self.server, method=method, url=url, token=self.token)

    async def verify(self, proof, path="/auth/verify/api", headers=None):
        """Ask as nginx, Caddy and Traefik do."""
        shown = {"Authorization": f"DPoP {self.token}", "DPoP": proof}
        return await self.server.http.get(path, headers=shown | (forwarded() if headers is None else headers))

    async def ext_authz(self, proof, target, method="GET", headers=None):
        """Ask as Envoy does."""
        shown = {"Authorization": f"DPoP {self.token}", "DPoP": proof} | (headers or {})
        return await self.server.http.request(method, f"/auth/ext_authz{target}", headers=shown)

    async def refusal(self, answer):
        """Return the code and detail that operators find under an answer's reference; the caller reads neither."""
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        assert "code" not in answer.json()
        headers = await self.server.sign_in()
        path = f"/api/refusals/{answer.json()['reference']}"
        shown = (await self.server.http.get(path, headers=headers)).json()
        return shown["code"], shown["detail"]


@pytest.fixture
def proxy(server, token, key):
    """Return a proxy that asks the Server."""
    return ProxyClient(server, token, key)


@pytest.mark.usefixtures("named")
async def test_a_proof_is_accepted_for_the_named_service(proxy):
    """It must be for exactly this request, and it is single use."""
    proof = proxy.proof(f"{API}/things", "PUT")
    headers = forwarded(Method="PUT", Uri="/things?x=1")

    assert (await proxy.verify(proof, headers=headers | {"X-Forwarded-Method": "GET"})).status_code == 401
    answer = await proxy.verify(proof, headers=headers)
    assert (answer.status_code, answer.headers["X-Lyftdata-Worker-Id"]) == (204, "press-01")
    assert (await proxy.verify(proof, headers=headers)).status_code == 401


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    "sent",
    [
        {"Host": "other.example"},
        {"Host": "other.example", "Proto": "http"},
        {"Host": "api.example/things?"},
        {"Host": None, "Proto": None},
    ],
)
async def test_a_client_does_not_choose_the_host(proxy, sent):
    """The forwarded host and scheme usually come from the client, so they never change the decision."""
    headers = forwarded(**sent)

    refused = await proxy.verify(proxy.proof(f"{OTHER}/things"), headers=headers)
    assert (await proxy.refusal(refused))[0] == "wrong_token"
    assert (await proxy.verify(proxy.proof(f"{API}/things"), headers=headers)).status_code == 204


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("host", ["api.example", "other.example", "unnamed.example"])
async def test_a_proof_is_refused_if_the_proxy_names_no_service(proxy, host):
    """Even if the forwarded host belongs to a resource: a proxy configured for another service fails closed."""
    proof = proxy.proof(f"https://{host}/things")

    answer = await proxy.verify(proof, "/auth/verify", forwarded(Host=host))

    code, detail = await proxy.refusal(answer)
    assert code == "unnamed_service"
    assert f"'{host}'" in detail


@pytest.mark.usefixtures("named")
async def test_a_proxy_may_check_bearer_tokens_without_naming_a_service(server, press):
    """Tokens that are not bound to a key need no service."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"} | forwarded()
    for path in ("/auth/verify", "/auth/verify/api"):
        assert (await server.http.get(path, headers=headers)).status_code == 204


@pytest.mark.parametrize(
    "path", ["/auth/verify/api", "/auth/verify/", "/auth/verify/api/", "/auth/ext_authz/api/things"]
)
@pytest.mark.parametrize("is_bound", [True, False])
async def test_a_proxy_that_names_an_unknown_service_is_refused(server, press, proxy, path, is_bound):
    """No request passes, with a bound or a bearer token, and operators see which resource does not exist."""
    plain = (await server.token_by_key(*press)).json()["access_token"]
    proof = proxy.proof(f"{API}/things")
    shown = (
        {"Authorization": f"DPoP {proxy.token}", "DPoP": proof}
        if is_bound
        else {"Authorization": f"Bearer {plain}"}
    )

    answer = await server.http.get(path, headers=shown | forwarded())

    code, detail = await proxy.refusal(answer)
    assert code == "unnamed_service"
    assert detail.startswith("There is no resource '")


@pytest.mark.usefixtures("named")
async def test_a_service_is_closed_when_its_resource_is_deleted(server, admin, proxy):
    """The next request is refused."""
    assert (await proxy.verify(proxy.proof(f"{API}/things"))).status_code == 204

    await server.http.delete("/api/resources/api", headers=admin)

    assert (await proxy.verify(proxy.proof(f"{API}/things"))).status_code == 401


@pytest.mark.parametrize(
    ("audience", "target", "url"),
    [
        ("https://api.example", "/things", "https://api.example/things"),
        ("https://api.example/", "/things", "https://api.example:443/things"),
        ("https://API.example", "", "https://api.example"),
        ("https://api.example:8443", "/things", "https://api.example:8443/things"),
        ("http://api.example", "/things", "http://api.example/things"),
        ("https://api.example/v1", "/v1/things", "https://api.example/v1/things"),
        ("https://api.example/v1", "/v1", "https://api.example/v1"),
        ("https://api.example/v1/", "/v1?x=1", "https://api.example/v1"),
        ("https://api.example?x=1", "/things", "https://api.example/things"),
        ("https://someone@api.example", "/things", "https://api.example/things"),
        ("https://api.example", "/a[1]", "https://api.example/a[1]"),
        ("https://api.example", "/a%2Fb", "https://api.example/a%2Fb"),
        ("https://api.example", "/~a%2Fb", "https://api.example/%7ea%2fb"),
        ("https://api.example", "/%7Ea%2fb", "https://api.example/~a%2Fb"),
        ("https://api.example", "/a;v=1/~me", "https://api.example/a;v=1/~me"),
        ("https://api.example", "//a", "https://api.example//a"),
        ("https://api.example", "/a?x=/b#c", "https://api.example/a"),
    ],
)
async def test_the_audience_is_the_public_url_of_the_service(server, admin, proxy, audience, target, url):
    """Scheme, host, port and path prefix come from the audience; the rest of the path from the client's request."""
    await define(server, admin, name="api", audience=audience)

    assert (await proxy.verify(proxy.proof(url), headers=forwarded(Uri=target))).status_code == 204


@pytest.mark.parametrize(
    ("audience", "target", "url"),
    [
        ("https://api.example", "/things", "http://api.example/things"),
        ("https://api.example", "/things", "https://api.example:8443/things"),
        ("https://api.example:8443", "/things", "https://api.example/things"),
        ("http://api.example", "/things", "https://api.example/things"),
        ("https://api.example", "/things", "https://www.api.example/things"),
        ("https://api.example", "/other", "https://api.example/things"),
        ("https://api.example", "/things", "https://api.example/things/"),
        ("https://api.example", "/a%2Fb", "https://api.example/a/b"),
        ("https://api.example", "/admin", "https://api.example/public/../admin"),
        ("https://api.example", "/public/%2e%2e/admin", "https://api.example/admin"),
        ("https://api.example", "/public#/../admin", "https://api.example/public"),
        ("https://api.example", ":443@api.example/public", "https://api.example/public"),
        ("https://api.example", "@api.example/public", "https://api.example/public"),
        ("https://api.example", "/pub\tlic", "https://api.example/public"),
        ("https://api.example", "https://api.example/things", "https://api.example/things"),
        ("https://api.example/v1", "/v1/things", "https://api.example/things"),
    ],
)
async def test_a_proof_for_another_address_is_refused(server, admin, proxy, audience, target, url):
    """Another scheme, host, port or path, or a target that two programs may parse differently: `wrong_token`."""
    await define(server, admin, name="api", audience=audience)

    answer = await proxy.verify(proxy.proof(url), headers=forwarded(Uri=f"{target}?key=secret"))

    code, detail = await proxy.refusal(answer)
    assert code == "wrong_token"
    assert "Its htu is not the address of this request." in detail
    assert "secret" not in detail


@pytest.mark.parametrize(
    ("audience", "target"),
    [
        ("https://api.example/v1", "/v2/things"),
        ("https://api.example/v1", "/v10"),
        ("https://api.example/v1", "/"),
        ("https://api.example/v1/", "/%761/things"),
        ("urn:example:api", "/things"),
        ("broker", "/things"),
        ("ftp://api.example", "/things"),
    ],
)
async def test_a_request_outside_the_audience_is_refused(server, admin, proxy, audience, target):
    """The path tells two services on one host apart, and an audience that is not a URL matches no request."""
    await define(server, admin, name="api", audience=audience)

    answer = await proxy.verify(
        proxy.proof(f"https://api.example{target}"), headers=forwarded(Uri=f"{target}?key=secret")
    )

    code, detail = await proxy.refusal(answer)
    assert code == "unnamed_service"
    assert audience in detail
    assert target in detail
    assert "secret" not in detail


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("name", ["Method", "Uri"])
@pytest.mark.parametrize("values", [[], ["GET", "GET"], ["/things", "/things"]])
async def test_a_missing_or_repeated_method_or_target_is_refused(server, proxy, name, values):
    """If a header occurs twice, one of the two may be the client's."""
    pairs = [*forwarded(**{name: None}).items(), *((f"X-Forwarded-{name}", value) for value in values)]
    proof = proxy.proof(f"{API}/things")

    answer = await server.http.get(
        "/auth/verify/api", headers=[("Authorization", f"DPoP {proxy.token}"), ("DPoP", proof), *pairs]
    )

    assert (await proxy.refusal(answer))[0] == "unnamed_service"


async def test_a_direct_request_may_prove_possession_for_auth_verify_itself(server, proxy):
    """There a proof for the issuer's own `/auth/verify` counts."""
    proof = proxy.proof(f"{server.services.issuer}/auth/verify")
    assert (await proxy.verify(proof, "/auth/verify", {"X-Forwarded-Method": "PUT"})).status_code == 204


@pytest.mark.usefixtures("named")
async def test_an_invalid_token_is_refused_before_the_service_is_checked(server, proxy):
    """The recorded cause is the token, not the service."""
    proof = proxy.proof("https://unnamed.example/things")
    headers = {"Authorization": "DPoP nonsense", "DPoP": proof} | forwarded()
    for path in (
        "/auth/verify",
        "/auth/verify/api",
        "/auth/verify/nothing",
        "/auth/ext_authz/nothing/things",
    ):
        assert (await proxy.refusal(await server.http.get(path, headers=headers)))[0] == "wrong_token"


# --- Envoy -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_envoy_asks_with_the_method_and_the_path_of_the_request(proxy, method):
    """For any method and path the answer is 200 and the Worker's ID; the proof is for exactly that request."""
    proof = proxy.proof(f"{API}/a%2Fb/c", method)

    assert (await proxy.ext_authz(proof, "/api/a/b/c", method)).status_code == 401
    assert (await proxy.ext_authz(proof, "/other/a%2Fb/c", method)).status_code == 401
    answer = await proxy.ext_authz(proof, "/api/a%2Fb/c?x=1", method)

    assert (answer.status_code, answer.headers["X-Lyftdata-Worker-Id"]) == (200, "press-01")
    assert answer.content == b""


@pytest.mark.usefixtures("named")
async def test_headers_of_a_client_do_not_change_what_envoy_asks(proxy):
    """No header from the client changes the service, method or path that is checked."""
    lies = forwarded(Method="GET", Host="other.example", Uri="/other") | {
        "X-Original-URL": "/other",
        "X-HTTP-Method-Override": "GET",
        "X-Envoy-Original-Path": "/other",
    }
    refused = await proxy.ext_authz(proxy.proof(f"{OTHER}/other"), "/api/things", "PUT", lies)
    assert refused.status_code == 401
    proof = proxy.proof(f"{API}/things", "PUT")
    assert (await proxy.ext_authz(proof, "/api/things", "PUT", lies)).status_code == 200


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("target", ["/api", "/api/", "/api?x=1", "/api/?x=1"])
async def test_envoy_asks_about_the_root(proxy, target):
    """A request for `/` is one for the root of the service, with and without a trailing slash."""
    assert (await proxy.ext_authz(proxy.proof(f"{API}/"), target)).status_code == 200


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("target", ["/%2e%2e/other/things", "/..%2fother/things", "//other/things", ""])
async def test_a_path_does_not_choose_the_service(proxy, target):
    """What a client appends to Envoy's prefix stays below it."""
    assert (await proxy.ext_authz(proxy.proof(f"{OTHER}/things"), f"/api{target}")).status_code == 401


@pytest.mark.usefixtures("named")
async def test_another_spelling_of_envoys_prefix_is_not_found(server, press):
    """The prefix comes from a configuration file and is compared exactly."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (await server.http.get("/auth/ext_authz/api/x", headers=headers)).status_code == 200
    assert (await server.http.get("/auth/ext%5Fauthz/api/x", headers=headers)).status_code == 404


@pytest.mark.usefixtures("named")
async def test_envoy_gets_401_without_a_valid_token(server):
    """With a challenge, whether the token is missing, invalid, or of another scheme."""
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}):
        answer = await server.http.post("/auth/ext_authz/api/things", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


# `T` stands for the token and `P` for an unused proof.
AMBIGUOUS = {
    "two proofs": [("Authorization", "DPoP T"), ("DPoP", "P"), ("DPoP", "P")],
    "a proof and nonsense": [("Authorization", "DPoP T"), ("DPoP", "P"), ("DPoP", "nonsense")],
    "a proof and an empty one": [("Authorization", "DPoP T"), ("DPoP", "P"), ("DPoP", "")],
    "two proofs in one header": [("Authorization", "DPoP T"), ("DPoP", "P, P")],
    "two tokens": [("Authorization", "DPoP T"), ("Authorization", "DPoP T"), ("DPoP", "P")],
    "a bearer token behind it": [("Authorization", "DPoP T"), ("Authorization", "Bearer T"), ("DPoP", "P")],
    "a bearer token before it": [("Authorization", "Bearer T"), ("Authorization", "DPoP T"), ("DPoP", "P")],
    "two tokens in one header": [("Authorization", "DPoP T, DPoP T"), ("DPoP", "P")],
    "an empty token behind it": [("Authorization", "DPoP T"), ("Authorization", ""), ("DPoP", "P")],
}


@pytest.mark.parametrize("shown", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_two_tokens_or_two_proofs_are_refused(server, named, token, key, shown):
    """However a proxy joins the headers, at every endpoint for proxies (RFC 9449, section 4.3)."""
    proxy = ProxyClient(server, token, key)

    async def status(path, given, url):
        filled = [
            (name, value.replace("T", token, 2) if name == "Authorization" else value)
            for name, value in given
        ]
        headers = [
            (name, value.replace("P", proxy.proof(url)) if name == "DPoP" else value)
            for name, value in filled
        ]
        return (await server.http.get(path, headers=[*headers, *forwarded().items()])).status_code

    clear = [("Authorization", "DPoP T"), ("DPoP", "P")]
    for path in ("/auth/verify/api", "/auth/ext_authz/api/things"):
        assert await status(path, clear, f"{API}/things") < 300
        assert await status(path, shown, f"{API}/things") == 401
