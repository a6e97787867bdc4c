"""The gate in front of every page: who passes, and what is refused before a handler sees the request."""

import html
from urllib.parse import quote

import httpx2
import msgspec
import pytest
from tests.builders import ISSUER
from tests.deployment import PASSWORD
from tests.unit.web.conftest import FROM_OUR_PAGE, Browser, signed_in

from lyftdata.app import create_app
from lyftdata.core.policy import ACTIONS
from lyftdata.core.records import Role
from lyftdata.store.tables import admin_sessions, api_tokens, operators
from lyftdata.web.routes import PAGES

POSTS = [entry for entry in PAGES if entry.method == "POST"]
GETS = [entry for entry in PAGES if entry.method == "GET"]
FOR_ADMINS = [entry for entry in PAGES if Role.VIEWER not in ACTIONS[entry.action].roles]


def name_of(entry):
    """Return the name of a subtest: the method and the path."""
    return f"{entry.method} {entry.path}"


def fill(path):
    """Return a path with its parameters filled in."""
    return path.format(
        worker_id="press-01",
        name="press-keys",
        reference="7K2M9QXD",
        session_id="s",
        kid="some-kid",
        passkey_id="some-passkey",
        request_id="some-request",
        alert_id="some-alert",
        number=1,
    )


async def state_of(server):
    """Return the number of the last audit event, which any change increases."""
    from lyftdata.store import audit_log

    events = await server.services.store.read(lambda conn: audit_log.list_events(conn, limit=1))
    return events[0].number


def test_every_form_is_for_admins_or_for_the_operators_own_account():
    """No page that takes a form uses an action that every operator may do to others' things."""
    # They change nothing. They are forms, not links: the text of an incident may hold a leaked key, which must not be in a URL, and
    # the rules of a rehearsal are form fields.
    asking = {"/incident", "/enrollment/{name}/rehearse"}
    for entry in (entry for entry in POSTS if entry.path not in asking):
        assert ACTIONS[entry.action].roles == {Role.ADMIN} or entry.action in {
            "own_account",
            "own_second_factor",
        }, name_of(entry)


async def test_every_page_redirects_to_sign_in_without_a_session(server, subtests):
    """The redirect has no content."""
    for entry in PAGES:
        answer = await server.http.request(entry.method, fill(entry.path), headers=FROM_OUR_PAGE)

        with subtests.test(name_of(entry)):
            assert answer.status_code == 303
            assert answer.headers["location"].partition("?")[0] == "/login"
            assert not answer.content


async def test_a_fragment_asked_for_without_a_session_sends_the_whole_page_to_sign_in(server):
    """The sign-in form must not appear inside a list that is being refreshed."""
    answer = await server.http.get("/workers", headers={"HX-Request": "true"})

    assert (answer.status_code, answer.headers["hx-redirect"], answer.content) == (401, "/login", b"")


FILTERED = "/workers?q=press+status%3Aonline+zone%3Deu-1"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", FILTERED, {}),
        ("GET", "/workers/press-01/waiting", {"HX-Request": "true", "HX-Current-URL": ISSUER + FILTERED}),
        ("POST", "/workers/press-01/disable", FROM_OUR_PAGE | {"Referer": ISSUER + FILTERED}),
    ],
)
async def test_signing_in_returns_to_the_page_with_its_query(server, method, path, headers):
    """After a page, a fragment that refreshes itself or a form, the operator returns to the page with its filter."""
    asked = await server.http.request(method, path, headers=headers)
    way = asked.headers.get("hx-redirect") or asked.headers["location"]
    form = await server.http.get(way)
    wanted = html.unescape(form.text.partition('name="next" value="')[2].partition('"')[0])

    answer = await Browser(server.from_address("192.0.2.50")).sign_in("admin", PASSWORD, next=wanted)

    assert answer.headers["location"] == FILTERED


async def test_changing_the_first_password_continues_to_the_requested_page(server):
    """An operator who followed a link before changing the first password arrives there afterwards."""
    browser = Browser(server.from_address("192.0.2.50"))
    await browser.sign_in("admin", PASSWORD)
    form = await browser.get((await browser.get(FILTERED)).headers["location"])
    wanted = html.unescape(form.text.partition('name="next" value="')[2].partition('"')[0])
    await browser.learn_token()

    passwords = {"current": PASSWORD, "new": "aaa " + PASSWORD, "again": "aaa " + PASSWORD}
    changed = await browser.post("/account/password", **passwords, next=wanted)

    assert changed.headers["location"] == FILTERED


async def test_the_sign_in_page_says_that_a_session_has_ended(server, browser):
    """
    It recognizes the cookie, even after the session's twelve hours. Other browsers do not see it, and the URL cannot cause it.
    """
    said = "Your session has ended."
    assert said not in (await server.http.get("/login?next=%2Fworkers&ended=yes")).text
    server.clock.forward(hours=12)

    asked = await browser.get(FILTERED)
    page = await browser.get(asked.headers["location"])

    assert said in page.text
    await browser.sign_in("admin", "xxx " + PASSWORD)
    await browser.learn_token()
    await browser.post("/logout")
    assert said not in (await browser.get("/login")).text


# --- errors while signed in ------------------------------------------------------------------------------

HTML = {"Accept": "text/html"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nope", 404),
        ("/workers/a/b", 404),
        ("/workers/nobody", 404),
        ("/workers/%00", 404),
        ("/workers?q=%00", 422),
        ("/logout", 405),
        ("/add-worker", 403),
        ("/workers/press-01/disable", 403),
    ],
)
async def test_an_error_page_keeps_the_menu(server, viewer, press, path, status):
    """A signed-in operator finds the menu, their name and *Sign out* on every error; an unknown caller finds none of it."""
    page = await viewer.get(path, headers=HTML)
    signed_out = await server.http.get(path, headers=HTML)

    assert page.status_code == status
    assert '<nav aria-label="Main">' in page.text
    assert "vera" in page.text
    assert '<nav aria-label="Main">' not in signed_out.text


async def test_an_unexpected_error_is_a_page_with_the_menu(server, viewer, press, monkeypatch):
    """It reveals nothing about the exception; programs get plain text."""

    def broken(*_arguments, **_more):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("lyftdata.server.admin.worker_queries.WorkerQueries.get", broken)
    for headers in (HTML, {}):
        with pytest.raises(RuntimeError):
            await viewer.get("/workers/press-01", headers=headers)
    quiet = httpx2.ASGITransport(create_app(server.services), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=quiet, base_url=ISSUER, cookies=viewer.http.cookies) as http:
        page = await http.get("/workers/press-01", headers=HTML)
        plain = await http.get("/workers/press-01")

    assert (page.status_code, '<nav aria-label="Main">' in page.text) == (500, True)
    assert "secret detail" not in page.text
    assert (plain.status_code, plain.text) == (500, "Internal Server Error")


async def test_a_viewer_cannot_change_anything(server, viewer, press, unhurried, subtests):
    """Every page that changes something answers a viewer with 403 and changes nothing."""
    before = await state_of(server)
    for entry in FOR_ADMINS:
        path = fill(entry.path)

        answer = await (
            viewer.get(path) if entry.method == "GET" else viewer.post(path, name="x", action="delete")
        )

        with subtests.test(name_of(entry)):
            assert answer.status_code == 403
            assert await state_of(server) == before


async def test_a_form_needs_the_csrf_token_of_its_session(
    server, browser, viewer, press, unhurried, subtests
):
    """A missing token, a wrong one or another session's gets 403, and nothing is changed."""
    before = await state_of(server)
    for entry in POSTS:
        for token in ("", "0" * 64, viewer.csrf, browser.csrf[:-1], "ü"):
            answer = await browser.post(fill(entry.path), csrf=token)

            with subtests.test(name_of(entry), token=token):
                assert answer.status_code == 403
                assert await state_of(server) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": ISSUER},
        {"Sec-Fetch-Site": "same-site", "Origin": ISSUER},
        {"Origin": "https://evil.example"},
        {"Origin": "https://lyft.example.evil.example"},
        {"Origin": "https://lyft.example:8443"},
        {"Origin": "null"},
        {},
    ],
)
@pytest.mark.parametrize("path", ["/logout", "/login"])
async def test_a_form_must_come_from_one_of_the_servers_pages(browser, headers, path):
    """From another site, a neighbouring host, another port or without an origin it gets 403; signing in too."""
    form = {"csrf": browser.csrf, "username": "admin", "password": "xxx " + PASSWORD}

    answer = await browser.http.post(path, data=form, headers=headers)

    assert answer.status_code == 403
    assert (await browser.get("/account")).status_code == 200


async def test_an_origin_header_alone_is_enough(browser):
    """Browsers send no Fetch Metadata over plain HTTP; the Origin header says the same."""
    answer = await browser.http.post("/logout", data={"csrf": browser.csrf}, headers={"Origin": ISSUER})

    assert answer.headers["location"] == "/login"


async def test_a_first_password_opens_only_the_page_that_changes_it(server, unhurried, subtests):
    """An operator who signed in with a password that another operator made must change it before anything else."""
    browser = Browser(server.from_address("192.0.2.50"))
    assert (await browser.sign_in("admin", PASSWORD)).headers["location"] == "/"
    await browser.learn_token()
    before = await state_of(server)
    for entry in PAGES:
        if entry.path in {"/account/password", "/logout"}:
            continue
        path = fill(entry.path)

        answer = await (browser.get(path) if entry.method == "GET" else browser.post(path))

        comes_back = entry.method == "GET" and path not in {"/", "/events"}
        way = f"?next={quote(path, safe='')}" if comes_back else ""
        with subtests.test(name_of(entry)):
            assert (answer.status_code, answer.headers["location"]) == (303, "/account/password" + way)
            assert await state_of(server) == before


async def test_changing_the_first_password_opens_all_pages(server):
    """From then on the new password is accepted and the first one is refused."""
    browser = Browser(server.from_address("192.0.2.50"))
    await browser.sign_in("admin", PASSWORD)
    await browser.learn_token()

    unequal = await browser.post(
        "/account/password", current=PASSWORD, new="aaa " + PASSWORD, again="bbb " + PASSWORD
    )
    assert (unequal.status_code, "must be typed the same twice" in unequal.text) == (422, True)
    changed = await browser.post(
        "/account/password", current=PASSWORD, new="aaa " + PASSWORD, again="aaa " + PASSWORD
    )

    assert (changed.status_code, changed.headers["location"]) == (303, "/")
    assert "Your password was changed." in (await browser.get("/")).text
    assert (await browser.sign_in("admin", PASSWORD)).status_code == 401


# --- the session's cookie --------------------------------------------------------------------------------


async def test_the_session_cookie_is_protected(server):
    """
    Under TLS it is for this host only, never sent over plain HTTP, not readable by scripts, and not sent with other sites' forms.
    """
    answer = await Browser(server.from_address("192.0.2.50")).sign_in("admin", PASSWORD)

    cookie = answer.headers["set-cookie"]
    name, _, attributes = cookie.partition("=")
    assert name == "__Host-lyftdata"
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= {a.strip() for a in attributes.split(";")}
    assert "domain" not in cookie.lower()


async def test_on_loopback_the_cookie_is_named_after_the_port(opened):
    """Browsers share cookies between ports: two Servers on one host must not sign each other's operators out."""
    async with opened(LYFTDATA_PUBLIC_URL="http://127.0.0.1:3000") as server:
        server.http.base_url = "http://127.0.0.1:3000"
        headers = {"Sec-Fetch-Site": "same-origin"}
        form = {"username": "admin", "password": PASSWORD}
        answer = await server.http.post("/login", data=form, headers=headers)

    assert answer.headers["set-cookie"].startswith("lyftdata_3000=")
    assert "Secure" not in answer.headers["set-cookie"]


async def test_the_api_does_not_accept_the_cookie(server, browser):
    """The API reads only the Authorization header, so another site's page cannot make a browser use it."""
    assert (await browser.get("/api/workers")).status_code == 401


async def test_pages_do_not_accept_the_command_lines_token(server, admin):
    """Pages read only the cookie."""
    assert (await server.http.get("/workers", headers=admin)).headers["location"].startswith("/login")


@pytest.mark.parametrize("role", ["nobody", "deleted", "ended", "expired"])
async def test_an_invalid_session_opens_no_page(server, browser, role):
    """Whether it is made up, of a deleted operator, ended elsewhere, or past its twelve hours."""
    other = await signed_in(server, "admin", "xxx " + PASSWORD)
    match role:
        case "nobody":
            other.http.cookies.set("__Host-lyftdata", "lyftdata_session_made_up", domain="lyft.example")
        case "deleted":
            admin = await server.sign_in(password="xxx " + PASSWORD)
            body = {"name": "eve", "role": "admin", "password": PASSWORD}
            await server.http.post("/api/operators", json=body, headers=admin)
            other = Browser(server.from_address("192.0.2.51"))
            await other.sign_in("eve", PASSWORD)
            await server.http.delete("/api/operators/eve", headers=admin)
        case "ended":
            await browser.post("/account/sign-out-everywhere")
        case "expired":
            server.clock.forward(hours=12)

    assert (await other.get("/workers")).headers["location"] == "/login?next=%2Fworkers"


# --- signing in ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/login",
        "",
        "evil.example",
        "/\r\nSet-Cookie: x=y",
        "/workers?next=\\\\evil.example",
        "/.//evil.example",
        "/x//evil.example",
        "/workers\\..",
        "/\x01/evil.example",
        "/\u2028/evil.example",
        "/login?next=/workers",
        "/login/",
        "/logout",
        "/events",
        "?next=/workers",
        "/" + "x" * 5_000,
    ],
)
async def test_signing_in_never_redirects_to_another_site(server, elsewhere):
    """Whatever `next` says, the redirect leads to a page of this Server."""
    answer = await Browser(server.from_address("192.0.2.50")).sign_in("admin", PASSWORD, next=elsewhere)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_signing_in_returns_to_the_requested_page(server, press):
    """The page arrives in the form as `next`, and is where the sign-in redirects to."""
    asked = await server.http.get("/workers/press-01")
    page = await server.http.get(asked.headers["location"])
    assert 'name="next" value="/workers/press-01"' in page.text

    answer = await Browser(server.from_address("192.0.2.50")).sign_in(
        "admin", PASSWORD, next="/workers/press-01"
    )

    assert answer.headers["location"] == "/workers/press-01"


async def test_guessing_passwords_locks_the_sign_in_page(server):
    """After five wrong passwords the sixth is not checked; unknown and known names get the same answer."""
    known, unknown = [
        await Browser(server.from_address("192.0.2.50")).sign_in(name, "wrong wrong wrong")
        for name in ("admin", "nobody")
    ]
    assert known.text.replace("admin", "") == unknown.text.replace("nobody", "").replace("admin", "")
    for _ in range(4):
        await Browser(server.from_address("192.0.2.50")).sign_in("admin", "wrong wrong wrong")

    answer = await Browser(server.from_address("192.0.2.50")).sign_in("admin", PASSWORD)

    assert answer.status_code == 429
    assert "Try again in" in answer.text
    assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"x" * 20_000, "application/x-www-form-urlencoded"),
        (b"username=%ff", "application/x-www-form-urlencoded"),
        ("username=ü".encode(), "application/x-www-form-urlencoded"),
        (b"a&" * 600, "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"", ""),
    ],
)
async def test_a_malformed_form_gets_a_page_that_says_so(server, body, kind):
    """Too large, not UTF-8, too many fields, or of another content type."""
    answer = await server.http.post("/login", content=body, headers=FROM_OUR_PAGE | {"Content-Type": kind})

    assert 400 <= answer.status_code < 500
    assert "form" in answer.text


async def post_in_two(browser, path, body, between, headers=None):
    """Send a form, or JSON with other headers, in two parts, and call `between` before the second."""

    async def parts():
        yield body[:-1].encode()
        await between()
        yield body[-1:].encode()

    kind = {"Content-Type": "application/x-www-form-urlencoded", **FROM_OUR_PAGE}
    return await browser.http.post(path, content=parts(), headers=headers or kind)


async def test_a_slow_form_has_no_effect_after_its_session_was_ended(server, browser):
    """Persistence: an admitted request creates no credential after its session was ended. The same holds for the API."""

    async def throw_out():
        await server.services.store.write(lambda tx: admin_sessions.delete_sessions_of(tx, "admin"))

    body = f"csrf={browser.csrf}&name=ci-deploy&role=admin&life=90d&scope="
    answer = await post_in_two(browser, "/issue-api-token", body, throw_out)
    assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login")

    headers = await server.sign_in(password="xxx " + PASSWORD) | {"Content-Type": "application/json"}
    body = '{"name": "ci-deploy", "role": "admin", "expires_in_s": 3600}'
    refused = await post_in_two(browser, "/api/api-tokens", body, throw_out, headers)

    assert refused.status_code == 401, refused.text
    assert await server.services.store.read(api_tokens.all_api_tokens) == []


async def test_a_slow_form_is_checked_against_the_role_at_its_end(server, browser, viewer):
    """Privilege escalation: an admin who was made a viewer in the meantime can only do what a viewer may."""
    store = server.services.store

    async def demote():
        record = await server.services.operators.get("admin")
        changed = msgspec.structs.replace(record, role=Role.VIEWER)
        await store.write(lambda tx: operators.replace_operator(tx, changed))

    answer = await post_in_two(browser, "/operators/vera/role", f"csrf={browser.csrf}&role=admin", demote)

    assert answer.status_code == 403
    assert (await server.services.operators.get("vera")).role is Role.VIEWER


# --- response headers of every page ----------------------------------------------------------------------


async def test_every_page_has_the_content_security_policy(server, browser, press, unhurried, subtests):
    """No script from elsewhere, no frame, and no copy in a cache, on error pages too."""
    for entry in GETS:
        if entry.path == "/events":
            continue

        answer = await browser.get(fill(entry.path))

        with subtests.test(name_of(entry)):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["cache-control"] == "no-store, no-transform"
            assert "<script>" not in answer.text
            assert " style=" not in answer.text
            assert " onclick" not in answer.text


async def test_an_unknown_path_is_a_404_page(server, browser):
    """A browser gets a page under the policy, other clients plain text; a wrong method stays 405."""
    page = await server.http.get("/nope<b>", headers={"Accept": "text/html"})
    plain = await server.http.get("/nope")

    assert (page.status_code, "no page &#39;/nope&lt;b&gt;&#39;" in page.text) == (404, True)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (plain.status_code, plain.text) == (404, "Not Found")
    assert (await server.http.get("/oauth2/token", headers={"Accept": "text/html"})).status_code == 405


async def test_static_files_are_cached_under_a_url_with_their_digest(server):
    """The URL changes with the content; no other file of the package is served."""
    page = await server.http.get("/login")
    (path,) = {part.split('"')[0] for part in page.text.split('href="') if part.startswith("/static/app.css")}

    answer = await server.http.get(path)

    assert "immutable" in answer.headers["cache-control"]
    for other in ("/static/../render.py", "/static/%2e%2e/render.py", "/static/", "/static/nope"):
        assert (await server.http.get(other)).status_code == 404


# --- findings of a security review -----------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"\xa0", b"\x85", b"\x0b", b"\x1f", b"\xa0 "])
async def test_a_cookie_set_by_a_neighbouring_host_is_rejected(server, browser, viewer, before):
    """Cookie tossing: a name that only a lenient parser reads as the session cookie's does not switch to another session."""
    token = viewer.http.cookies["__Host-lyftdata"].encode()
    own = browser.http.cookies["__Host-lyftdata"].encode()
    for cookie in (before + b"__Host-lyftdata=" + token, b"a=b; " + before + b"__Host-lyftdata=" + token):
        alone = await server.http.get("/account", headers=[(b"cookie", cookie)])
        assert alone.headers["location"].startswith("/login")
        with_own = await server.http.get(
            "/account", headers=[(b"cookie", b"__Host-lyftdata=" + own + b"; " + cookie)]
        )
        assert "<h1>admin</h1>" in with_own.text


async def test_a_duplicate_session_cookie_is_rejected(server, browser, viewer):
    """The Server cannot know which of the two is the right one."""
    both = f"__Host-lyftdata={browser.http.cookies['__Host-lyftdata']}; __Host-lyftdata={viewer.http.cookies['__Host-lyftdata']}"
    assert (await server.http.get("/account", headers={"Cookie": both})).status_code == 303


@pytest.mark.parametrize(
    "origin", ["http://[x]", "http://[", "http://[::1", "https://", "x" * 5000, "http://lyft.example"]
)
async def test_an_origin_is_compared_and_never_parsed(server, origin):
    """A malformed origin is refused like any other foreign one, and http is not https."""
    answer = await server.http.post("/login", data={"a": "b"}, headers={"Origin": origin})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("lyft.example", True),
        ("LYFT.example:443", True),
        ("localhost:3000", True),
        ("127.0.0.1:3000", True),
        ("[::1]:3000", True),
        ("192.0.2.7", True),
        ("rebind.evil.test", False),
        ("rebind.evil.test:3000", False),
        ("127.0.0.1.evil.test", False),
        ("[evil", False),
        ("localhost.evil.test", False),
        ("", False),
    ],
)
async def test_a_browser_is_answered_only_under_the_servers_names(server, browser, host, let_in):
    """A page whose own host name resolves to the Server cannot guess passwords from the operator's address (DNS rebinding)."""
    own = {"Host": host, "Sec-Fetch-Site": "same-origin"}
    body = {"username": "admin", "password": "xxx " + PASSWORD}

    page = await browser.get("/account", headers={"Host": host})
    form = await server.http.post("/login", data=body, headers=own)
    by_script = await server.http.post("/api/login", json=body, headers=own)
    by_program = await server.http.post("/api/login", json=body, headers={"Host": host})

    assert {page.status_code, form.status_code, by_script.status_code} <= ({200, 303} if let_in else {403})
    assert by_program.status_code == 200


async def test_a_trailing_slash_is_not_redirected(server):
    """A redirect would send the key in the body on, to a URL made from the request's headers."""
    for path in ("/oauth2/token/", "/api/login/", "/login/", "/api/workers/"):
        answer = await server.http.post(path, data={"client_secret": "x"}, headers={"Host": "evil.example"})
        assert answer.status_code in {404, 405, 415}
        assert "location" not in answer.headers


async def test_an_operator_who_exceeds_the_budget_gets_429(server, browser, monkeypatch):
    """Rendering pages competes with the answers to Workers, so an operator in debt must wait."""
    monkeypatch.setattr("lyftdata.server.api.operator_gate._HELD_FOR_S", 0)
    answers = [await browser.get("/account/password") for _ in range(60)]
    assert {answer.status_code for answer in answers} == {200}
    server.services.budget.charge("admin", 3_000)
    refused = await browser.get("/account/password")
    assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (429, True)
    assert refused.headers["content-type"].startswith("application/problem+json")

    page = await browser.get("/account/password", headers={"Accept": "text/html"})
    assert (page.status_code, int(page.headers["retry-after"]) >= 1) == (429, True)
    assert page.headers["content-type"].startswith("text/html")
    assert "content-security-policy" in page.headers
    assert "Wait a few seconds." in page.text
