"""
Generate the reference pages from the program, or check that they are current.

    python tools/generate_docs.py           rewrite docs/reference/*.md
    python tools/generate_docs.py --check   exit 1 if a page differs from the program
"""

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from lyftdata.cli.given_token import TABLE as COMMAND_TABLE
from lyftdata.core.audit_actions import AUDIT_ACTIONS
from lyftdata.core.errors import LyftdataError
from lyftdata.core.log_events import client as client_events
from lyftdata.core.log_events import common, events_of
from lyftdata.core.log_events import server as server_events
from lyftdata.core.log_events import verifier as verifier_events
from lyftdata.core.log_events import worker as worker_events
from lyftdata.core.query_words import MAX_LENGTH, MAX_VALUES, MAX_WORDS
from lyftdata.core.refusals import RefusedError, all_causes
from lyftdata.core.settings import Setting
from lyftdata.core.worker_query import FIELDS as SEARCH_FIELDS
from lyftdata.doctor.findings import ALL_CHECKS
from lyftdata.server.api.admin.app import admin_app
from lyftdata.server.delivery.messages import EVENT_SCHEMA
from lyftdata.server.runtime.settings_table import TABLE as SERVER_TABLE
from lyftdata.worker.settings import TABLE as WORKER_TABLE

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
_NOTE = (
    "<!-- Written by tools/generate_docs.py from the program. Change the program, then run `make docs`. -->\n"
)


def settings_page() -> str:
    """Return the settings of Server, Worker and command line, from their tables."""
    return "\n".join(
        [
            "# Settings",
            "",
            _NOTE,
            "You configure lyftdata with environment variables. Most have a flag, which takes precedence. Every secret `X` can also be set as",
            "`X_FILE`, the path of a file that contains it (as Docker, Kubernetes and systemd provide credentials). **A secret is",
            "never taken from the command line**, where `ps` would show it. An empty variable counts as unset. Unknown",
            "`LYFTDATA_*` names cause a warning. White space and a byte order mark around a value are removed. A secret in quotes, or with",
            "an invisible character in it, is rejected, by Server and Worker alike. `lyftdata config check server` and `lyftdata config check worker` report every fault at once.",
            "",
            "## Server (`lyftdata run server`)",
            "",
            *_settings_table(SERVER_TABLE),
            "",
            "## Worker (`lyftdata run worker`)",
            "",
            *_settings_table(WORKER_TABLE),
            "",
            "`LYFTDATA_WORKER_TOKEN_FILE` and `LYFTDATA_WORKER_TOKEN_SOCKET` are not settings: the Worker sets them for its COMMAND",
            "([how to](../how-to/run-a-program-under-an-identity.md)).",
            "",
            "## Commands of operators (`lyftdata workers`, `lyftdata api-key` and the others)",
            "",
            *_settings_table(COMMAND_TABLE),
            "",
            "They find the Server as a Worker does: by `LYFTDATA_URL`, `LYFTDATA_ALLOW_HTTP`, `LYFTDATA_TLS_CA` and `LYFTDATA_TLS_INSECURE`. The",
            "sessions of `lyftdata login` are kept in `LYFTDATA_CONFIG_DIR`, by default in the user's configuration directory.",
            "",
            "## Which strategy a Worker uses",
            "",
            "| the Worker is given | it uses |",
            "|---|---|",
            "| `LYFTDATA_WORKER_ID` and `LYFTDATA_WORKER_API_KEY` | API key |",
            "| `LYFTDATA_WORKER_NAME` and `LYFTDATA_AUTO_ENROLLMENT_KEY` | Auto-Enrollment |",
            "| a directory with an identity for this Server, and no other Worker's settings | that identity; no enrollment key is read |",
            "| such a directory, and another `LYFTDATA_WORKER_NAME` | that identity, if the Server has renamed the Worker to that name |",
            "| both strategies, an incomplete one, or an identity of another Worker or Server | none: it exits with 2 and one message that names the variables |",
            "",
            "The Worker name is optional with the API key strategy.",
            "",
        ]
    )


def _settings_table(table: Sequence[Setting]) -> Iterator[str]:
    yield "| variable | flag | default | meaning |"
    yield "|---|---|---|---|"
    for setting in table:
        name = f"`{setting.name}`" + (" (+ `_FILE`)" if setting.secret else "")
        flag = f"`{setting.flag}`" if setting.flag else "none" if not setting.secret else "none: a secret"
        yield f"| {name} | {flag} | {setting.default_doc} | {setting.doc} |"


def refusals_page() -> str:
    """Return every cause of a refusal, from the classes."""
    return "\n".join(
        [
            "# Refusals",
            "",
            _NOTE,
            "A caller that has not proved its key always gets the same answer: `invalid_client` or `invalid_token`, and a reference. A Worker",
            "that has proved its key gets the code. Operators see everything: `lyftdata refusals list`, `lyftdata refusals show REFERENCE`.",
            "",
            "*Final* means that retrying with the same credential is pointless: the agent exits with 3. After any other refusal it",
            "stops its program, keeps running, retries at growing intervals, and reconnects when it is accepted again.",
            "",
            "## Causes shown to a Worker that has proved its key",
            "",
            *_causes(proved=True),
            "",
            "## Causes shown to operators only",
            "",
            *_causes(proved=False),
            "",
        ]
    )


def _causes(*, proved: bool) -> Iterator[str]:
    yield "| code | meaning | what to do | final |"
    yield "|---|---|---|---|"
    causes: list[type[RefusedError]] = [cause for cause in all_causes() if cause.proved is proved]
    for cause in causes:
        final = ("yes" if cause.final else "no") if proved else "–"
        yield f"| `{cause.code}` | {cause.meaning} | {cause.remedy} | {final} |"


def log_events_page() -> str:
    """Return every log event of Server, Worker and verifier, from the registry."""
    return "\n".join(
        [
            "# Log events",
            "",
            _NOTE,
            "Each line of the log is one event. `event` is its identifier: it is stable, and alerts and dashboards match on it. `message`",
            "is a sentence for people and may change. The other fields are typed. With `LYFTDATA_LOG_FORMAT=json` a line is one JSON object",
            "with `timestamp` (ISO 8601 UTC), `level`, `logger`, `event`, `message` and the fields below; fields without a value are omitted.",
            "From level `warning` on, `remedy` says what to do. Lines of libraries have their text in `event`.",
            "",
            "## Server",
            "",
            *_events(common, server_events),
            "",
            "## Worker",
            "",
            *_events(common, worker_events),
            "",
            "## `lyftdata.verify` and `lyftdata.client`",
            "",
            "Written to the loggers of these names of the standard library as `event: message field=value …`. The record has the attributes",
            "`event` and `fields`.",
            "",
            *_events(client_events, verifier_events),
            "",
        ]
    )


def _events(*registries: ModuleType) -> Iterator[str]:
    yield "| event | level | message | fields | what to do |"
    yield "|---|---|---|---|---|"
    found = [event for registry in registries for event in events_of(vars(registry))]
    for event in sorted(found, key=lambda each: each.name):
        level = (
            f"{event.level}; {event.also_level} when {event.also_when}" if event.also_level else event.level
        )
        fields = "; ".join(f"`{name}`: {meaning}" for name, meaning in event.fields.items()) or "–"
        yield f"| `{event.name}` | {level} | {event.message} | {fields} | {event.remedy or '–'} |"


def cli_page() -> str:
    """Return the help of every command, as the program prints it."""
    parts = ["# Command line", "", _NOTE]
    parts += [
        "Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 refused permanently by the Server. `--json` gives stable",
        "keys in snake_case and times in ISO 8601 UTC. Tables and colour are for terminals; piped output is plain.",
        "",
    ]
    for path, command in _walk("lyftdata", _root()):
        context = click.Context(
            command, info_name=path, max_content_width=100, terminal_width=100, help_option_names=_HELP
        )
        parts += [f"## `{path}`", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(parts)


# As the program itself says it; click remembers the help option from the first context that asks.
_HELP = ["-h", "--help"]


def _root() -> click.Command:
    from lyftdata.cli.main import cli as root

    return root


def _walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path, help_option_names=_HELP)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _walk(f"{path} {name}", child)


_WIRE = """\
## For Workers and services: OAuth 2.0

| endpoint | standard | what it does |
|---|---|---|
| `GET /.well-known/oauth-authorization-server` | RFC 8414 | the addresses of all endpoints |
| `GET /.well-known/openid-configuration` | OpenID Connect Discovery | the same, for clients that support only this |
| `GET /.well-known/jwks.json` | RFC 7517 | the keys that sign worker tokens, the next one among them |
| `GET`, `POST /oauth2/authorize` | RFC 6749 §3.1 | refuses every request; metadata must name an authorization endpoint |
| `POST /oauth2/token` | RFC 6749 §4.4, RFC 7523, RFC 9068 | a worker token for a Worker's credential |
| `POST /oauth2/nonce` | [decision 12](../decisions/0012-an-enrolled-worker-signs-by-the-servers-time.md) | a nonce for the next assertion of the Worker `client_id` |
| `POST /oauth2/register` | RFC 7591 | Auto-Enrollment |
| `GET`, `PUT`, `DELETE /oauth2/register/{worker_id}` | RFC 7592 | an enrolled Worker reads its entry, changes its key, or removes the entry |
| `POST /oauth2/introspect` | RFC 7662 | whether a token is valid now; for the resource it is for, or its Worker |
| `POST /oauth2/revoke` | RFC 7009 | a Worker revokes one of its tokens |
| `POST /api/worker/identity-key` | lyftdata's own; the client authenticates by RFC 7523 | a Worker registers the key that takes the place of its identity key at its first use |
| `POST /api/worker/session` | lyftdata's own: a long poll | keeps a Worker *connected*: it reports presence and gets directives |
| `GET /auth/verify`, `GET /auth/verify/{resource}` | nginx `auth_request`, `forward_auth` | 204 with the Worker's identity, or 401 |
| `/auth/ext_authz/{resource}/…`, any method | Envoy `ext_authz` | 200 with the Worker's identity, or 401 |
| `POST /auth/rabbitmq/user`, `/vhost`, `/resource`, `/topic` | RabbitMQ's `rabbitmq_auth_backend_http` | `allow` or `deny` |
| `POST /auth/rabbitmq/connections` | lyftdata's own | which of a broker's connections must be closed |
| `GET /healthz`, `GET /readyz`, `GET /metrics` | | alive; able to work; Prometheus, not through a proxy |

The documents under `/.well-known/` can be cached for five minutes and revalidated by their `ETag`. Pages of any site may read
them (CORS), but nothing else.

Send parameters as a form in the body, each at most once. A parameter without a value counts as omitted; one in the URL is refused.

### A worker token

```console
$ printf 'user = "%s:%s"' press-01 "$(cat press-01.key)" | curl -K - -d grant_type=client_credentials http://localhost:3000/oauth2/token
{"access_token":"eyJ…","token_type":"Bearer","expires_in":900}
```

`client_secret_basic` and `client_secret_post` take the Worker ID and an API key; `private_key_jwt` takes an assertion signed by the
identity key of an auto-enrolled Worker (`ES256`, or `EdDSA`, which RFC 9864 calls `Ed25519`; `aud` is the issuer or the token endpoint; at
most 5 minutes from its `iat`; each `jti` once).

The token is a JWT of type `at+jwt` with `iss`, `sub` and `client_id` (the Worker ID), `aud`, `jti`, `iat`, `exp`, `worker_name`,
`auth_strategy`, `labels` and `cred` (which credential it was minted from; opaque to others).

### A token for another service

With `resource=AUDIENCE` (RFC 8707) the token is for the service that an operator has defined as a *resource* (`lyftdata resources add`), with the
scopes in `scope`, or all scopes of that resource if `scope` is omitted. A resource that does not exist or is not granted to this Worker is
`invalid_target`, a scope that the resource does not have is `invalid_scope`. The Server itself does not accept such a token. `audience` is another name for
`resource`; if you send both, they must be equal.

A client that cannot send either may send `scope` alone: the token is for the one resource granted to this Worker that has every scope asked for. If none
has, the answer is `invalid_scope`; if several have, it is `invalid_target`.

Parameters that would change what a token means and are not supported (`authorization_details`, `claims`, `actor_token`, `requested_token_type`,
`req_cnf` and others) are refused; other unknown parameters are ignored ([the list, and why](../decisions/0019-what-a-token-request-may-ask-for.md)).

### A token that is bound to a key (DPoP, RFC 9449)

A token request with a `DPoP` header gets a token of `token_type` `DPoP`, bound by `cnf.jkt` to the key of the proof. The proof must carry a nonce: the
first answer is `use_dpop_nonce` with one in `DPoP-Nonce`. At `/auth/verify` and at the session, send such a token with `Authorization: DPoP …`
and a proof for exactly this request (`ath`, `htm`, `htu`; at most 60 seconds old; each once). Behind a proxy, the proof is for the request that the proxy
[asks about](#authverify).

### Introspection and revocation

Both take `token` and authenticate their caller like the token endpoint does. A resource authenticates with its name as `client_id` and its key
(`lyftdata resources issue-key`) as `client_secret`, and can introspect tokens with its `aud`; a Worker can introspect its own. All other callers get
`{"active": false}`. Revoking always answers 200; more than twenty in a row have to wait.

### Registration

`POST /oauth2/register` with `client_name`, `jwks` (one public key), optionally `labels`, and as bearer token either a proof or the raw
enrollment key. A proof is a JWS with `"alg":"Ed25519"` (or `"EdDSA"`) and `"typ":"lyftdata-enrollment-proof+jwt"` over `aud` (the issuer), `name`, `jkt`
(RFC 7638 thumbprint of the public key), `jti`, `iat` and `exp` (at most 60 seconds later). It is signed with the Ed25519 key pair
that is [derived from the enrollment key](../decisions/0023-enrollment-keys.md#choice); if that is a generated key (`lyftdata_enroll_…`), its public id is
the `kid`.

If a member breaks a rule, the answer names both: 400 with `invalid_client_metadata`, `invalid_redirect_uri` or `unapproved_software_statement`.
A client is always registered for `private_key_jwt` and `client_credentials`. A member that would have an effect on security and is not supported
(`redirect_uris`, `response_types`, `scope`, `jwks_uri`, `client_secret`, `software_statement`, `authorization_details_types`,
`tls_client_certificate_bound_access_tokens`, `tls_client_auth_…`, `introspection_…_response_…`, `require_signed_request_object`,
`require_pushed_authorization_requests`) is refused; null, false and empty values count as omitted; other members are ignored. With
`"dpop_bound_access_tokens": true` the Worker gets only tokens that are bound to a key, and a token request without a DPoP proof is refused (RFC 9449,
section 5.2). `copy_of` is the ID of a Worker whose identity the client had a copy of and has discarded: the name that this Worker holds is refused (409 `name_in_use`).
`"ephemeral": true` in the answer says that the entry is removed when the Worker leaves.

A client that sends the raw key is given a `registration_access_token` and a `registration_client_uri` (RFC 7592): with it, it reads its entry, gives it
another key (`PUT` with `client_id`, the same `client_name`, and the new `jwks`; `dpop_bound_access_tokens` changes that, and stays as it is if omitted), or
removes it. Name and labels cannot be changed so. One of its own worker
tokens serves to read the entry; to change it only a token that is bound to the Worker's identity key (DPoP, with that key), since every service that the
Worker talks to sees its bearer tokens. Registering the same key again gives the same ID, and no second `registration_access_token`. More than twenty
changes in a row have to wait (503 with `Retry-After`).

### A Worker that waits for approval

By an enrollment key of mode `approve` a registration succeeds (201), and the token endpoint answers 400 until an operator has decided:

| `error` | `code` | what the client does |
|---|---|---|
| `authorization_pending` (RFC 8628, section 3.5) | `awaiting_approval` | ask again, with a new assertion, after the seconds in `Retry-After` |
| `access_denied` | `approval_denied` | end: an operator has denied it |
| `expired_token` | `approval_expired` | end: no operator has decided in time |

With `Prefer: wait=15` (RFC 7240; at most 30) the Server holds the request for so many seconds, and answers as soon as an operator decides. It holds one request of a Worker.
If too many Workers wait, a registration is answered 429 with `temporarily_unavailable`, `code` `approval_queue_full` and `Retry-After`. `host` among the client metadata (`hostname`,
`os`, `python`, `agent_version`, `pid`; all optional) is shown to the operator.

### Errors

`{"error", "error_description", "reference"}` with the RFCs' codes. An unproven caller reads 401 `invalid_client` (token) or
`invalid_token` (elsewhere), whatever the cause. A Worker that has proved its key reads `code`, `final` and `remedy` too. Too many
failures from one address: 429 with `Retry-After`; a right credential from there still passes.

### `/auth/verify`

Answers 204 with `X-Lyftdata-Worker-Id`, `-Name` (percent-encoded UTF-8), `-Strategy` and `-Labels`, or 401. Revocation takes effect at once. The token must be
for the Server (no `resource`).

A proxy that asks about another request asks `/auth/verify/{resource}`: a resource whose audience is the public URL of the service that the proxy stands for. A token
that is bound to a key needs a proof for a request to that URL: scheme, host and port from the audience, method and path from `X-Forwarded-Method` and
`X-Forwarded-Uri`, which the proxy must send exactly once. The path must be at or below the audience's. `X-Forwarded-Host`, `X-Forwarded-Proto` and `Host` are not read. At `/auth/verify` no
proof for a proxied request is taken. If there is no such resource, nothing is let through. All of this is refused as `unnamed_service`
([why](../decisions/0015-a-proxy-names-its-service.md), [how to set proxies up](../how-to/check-workers-at-a-proxy.md)).

### `/auth/ext_authz/{resource}/…`

The same for Envoy, which keeps the method, appends path and query of the request, and accepts only 200. Method and path are those of Envoy's own request; no
`X-Forwarded-` header is read for them.

### `/auth/rabbitmq/…`

The broker authenticates as a resource: HTTP Basic with the resource's name and key (else 401, whatever was asked). `user` takes `username`, the Worker
ID, and `password`, a worker token whose `aud` is that resource. The others take what the plugin sends by POST: `username`, `vhost`, `name`,
`permission`, `routing_key`. The answer depends on the present state of the Worker's entry, of the credential it logged in with, and of the resource, whose
scopes have the syntax of RabbitMQ's OAuth 2 plugin: `read:VHOST/NAME`, `write:…`, `configure:…`, for topics with
`/ROUTING-KEY`, with `*` for any name and `%2F` for a slash, and optionally with the audience and a dot in front. A token that expired after
the login is still accepted; a revoked one is not. The answer never has a tag.

`connections` takes `{"connections": [{"username", "vhost", "age_s"}]}`, at most 100, and answers `{"close": [0, 3]}`, the indexes of those that must be closed
([why, and by what](../how-to/celery-on-rabbitmq.md)).

### `/api/worker/identity-key`

A form with `client_assertion` and `client_assertion_type`, as at `/oauth2/token`, signed by the Worker's current identity key, and `next_key`: the public half of another key, as a JWK. 200 means that the Server has kept
it. From then on it accepts assertions of both keys; an assertion of the new one must name it in the header (`kid`, the RFC 7638 thumbprint). The first one that is accepted ends the current key. Another `next_key`
replaces the one before.

### `/api/worker/session`

`{"boot_id", "host": {…}, "labels", "sign_off", "await_slot", "max_hold_s"}` with a worker token. The first poll of a boot id is answered at once, the next are
held for `hold_s` seconds, or for `max_hold_s` if a Worker requests less, because something in between closes the connection earlier. `directives` is a list of `{"kind", "code", "final", "reason", "remedy", "reference"}`; kinds are `stop`, `renew` and `rotate_key`;
a client ignores kinds it does not know. While another boot id of the Worker is connected, a poll is refused with 409 `duplicate_instance`; with `"await_slot": true` it is
first held, up to 25 seconds, until that one has gone. The answer to `"sign_off": true` has `"removed": true` if the entry of an ephemeral Worker is gone.

`{"probe": "now"}`, without a boot id, opens no session: the answer shows that path and token get through, `hold_s`, and `server_version`. `"held"` is answered when a poll would be,
`"streamed"` sends the first byte of its answer after an eighth of that time and the rest then; both take `max_hold_s`. `lyftdata doctor worker` uses them.

"""


def http_page() -> str:
    """Return the wire, and every route of the admin API from its OpenAPI document."""
    document = admin_app().openapi()
    parts = ["# HTTP API", "", _NOTE, _WIRE]
    parts += [
        "## For operators: the admin API",
        "",
        "JSON; `Authorization: Bearer` with the token of `POST /api/login`; errors are RFC 9457 problems with a stable `code`. The OpenAPI",
        "document is at `/api/openapi.json`. A query parameter that a request does not know, or that is empty, is rejected with 422.",
        "",
        "A Worker and a resource come with an `ETag` of what can be edited. A `PATCH` with it in `If-Match` is rejected with 412",
        "(`changed_meanwhile`) if somebody else has edited it since; without `If-Match` the last to save wins.",
        "",
        "| request | what it does |",
        "|---|---|",
    ]
    parts += [
        f"| `{method} /api{path}` | {operation['summary']}. {_first_line(operation)} |"
        for method, path, operation in _operations(document)
    ]
    return "\n".join([*parts, ""])


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _first_line(operation: dict[str, Any]) -> str:
    return str(operation.get("description", "")).partition("\n\n")[0].replace("\n", " ")


def python_page() -> str:
    """Return the public classes of the library, with their signatures and docstrings."""
    parts = [
        "# Python",
        "",
        _NOTE,
        "`lyftdata.client` is for programs that are a Worker, `lyftdata.verify` for services that check Workers. Names that are not on this page are",
        "not public. How to use them: [check Workers in a service](../how-to/check-workers-in-a-service.md).",
        "",
    ]
    for name in _PUBLIC_MODULES:
        module = importlib.import_module(name)
        parts += [f"## `{name}`", "", *_docstring(module), ""]
        for member in sorted(module.__all__):
            parts += [*_described(f"{name}.{member}", getattr(module, member)), ""]
    return "\n".join(parts)


_PUBLIC_MODULES = (
    "lyftdata.client",
    "lyftdata.client.httpx_auth",
    "lyftdata.client.aiohttp_auth",
    "lyftdata.verify",
)


def _described(path: str, thing: Any) -> Iterator[str]:
    # What a class takes is in its docstring, each argument by name (tests/unit/verify/test_docstrings.py).
    yield f"### `{path}{'' if inspect.isclass(thing) else _parameters(thing)}`"
    yield ""
    if inspect.isclass(thing) and issubclass(thing, LyftdataError):
        yield f"Code `{thing.code}`, a `{thing.__bases__[0].__name__}`."
        yield ""
    yield from _docstring(thing)
    if not inspect.isclass(thing) or issubclass(thing, LyftdataError):
        return
    for name, function in inspect.getmembers(thing, callable):
        if name.startswith("_") or not str(getattr(function, "__module__", "")).startswith("lyftdata."):
            continue
        yield ""
        yield f"#### `{thing.__name__}.{name}{_parameters(function)}`"
        yield ""
        yield from _docstring(function)


def _parameters(function: Callable[..., Any]) -> str:
    """Return the names of what a call takes, as in its definition; types and defaults are in the text below."""
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        names.append(("**" if parameter.kind is parameter.VAR_KEYWORD else "") + parameter.name)
    return f"({', '.join(names)})"


def _docstring(thing: Any) -> Iterator[str]:
    """Return a docstring as Markdown: its text as it stands, so that examples and lists of arguments keep their shape."""
    yield "```text"
    yield inspect.cleandoc(thing.__doc__ or "")
    yield "```"


def search_page() -> str:
    """Return the language of searches, from its table of fields."""
    return "\n".join(
        [
            "# Search language",
            "",
            _NOTE,
            "One language finds Workers on the *Workers* page (where the search is part of the address), in the API (`GET /api/workers?q=…`), and on the command line:",
            "",
            "```console",
            "$ lyftdata workers list 'host:rack1 status:offline zone=eu-1 -gpu'",
            "```",
            "",
            "A search is a list of words with spaces between them. A Worker is found if every word fits. Upper and lower case are the same, except in labels and in the names of keys.",
            "",
            "| word | finds Workers |",
            "|---|---|",
            "| `press` | with this text in their name, ID, host, address, API key, or a label |",
            "| `field:value` | whose field fits (see below) |",
            "| `zone=eu-1` | with this label; `gpu=` with the label `gpu` that has no value |",
            "| `-word` | that the word does not find: `-gpu`, `-status:online`, `-zone=eu-1` |",
            "| `field:one,two`, `zone=eu-1,eu-2` | that one of the values fits |",
            '| `"press 1"`, `name:"press 1"` | with a value that holds spaces, commas or colons; `\\"` and `\\\\` are a quote and a backslash in it |',
            "",
            "In a value without quotes, `*` stands for any text. Fields of text find a part (`host:rack1` finds `rack10.example` too), all of it with `=` (`host:=rack1`), or a pattern for all of it (`host:rack1*`).",
            "",
            "## Fields",
            "",
            "| field | value | meaning | example |",
            "|---|---|---|---|",
            *(
                f"| `{field}:` | {rule.values} | {rule.meaning} | `{rule.example}` |"
                for field, rule in SEARCH_FIELDS.items()
            ),
            "",
            "A duration is a number with `s`, `m`, `h` or `d`, such as `90m` or `7d`. Versions and ages are compared with `<` and `>`, versions also with `<=`, `>=` and `=`. Of a Worker that is",
            "connected, host, address, key and version are what they are now; of others, what they were when it was last connected. Archived Workers are found by `status:archived` alone.",
            "",
            "## Errors",
            "",
            "An unknown field, a value that its field does not take, or a quote that is not closed is an error that names the character and the nearest field. Nothing is listed then, and nothing is",
            f"changed. A search has at most {MAX_LENGTH} characters, {MAX_WORDS} words and {MAX_VALUES} values.",
            "",
        ]
    )


def doctor_page() -> str:
    """Return everything that `lyftdata doctor` can find, from its table."""
    return "\n".join(
        [
            "# What `lyftdata doctor` can find",
            "",
            _NOTE,
            "`lyftdata doctor worker` examines a Worker's host, the way to the Server and the Server's answers. It asks for a token, never",
            "enrolls, and does not disturb a running Worker. `lyftdata doctor server` examines the host of a running Server, its database and",
            "its public address. Run each with the environment and as the user of the program. Neither changes anything.",
            "",
            "`lyftdata doctor worker` also holds a request for as long as the Server holds polls (25 seconds or more), to see whether",
            "something in between cuts or buffers it; `--quick` leaves that out. Agent and client library are one distribution: where a",
            "program has an environment of its own, run `python -m lyftdata doctor worker` there to compare that version with the Server's.",
            "",
            "`lyftdata doctor --as WORKER` asks the Server, as the operator who is signed in, and shows what it knows of that Worker next to",
            "the Worker's last attempt: what was sent, from where, and why it was refused.",
            "",
            "For each finding it says what it saw, why that matters and what to do; it stops where the rest could only be a consequence.",
            "Exit code 0: nothing stops Workers from connecting; there may be warnings. 1: there is a problem. With `--json` it prints `ok` and",
            "`findings`, each with `code`, `severity`, `what`, `why` and `fix`; codes are stable.",
            "",
            "| code | severity | why it matters |",
            "|---|---|---|",
            *[f"| `{check.code}` | {check.severity.value} | {check.why} |" for check in ALL_CHECKS],
            "",
        ]
    )


def event_types_page() -> str:
    """Return every type of event that is delivered, and the schema of an event."""
    return "\n".join(
        [
            "# Event types",
            "",
            _NOTE,
            "The actions of the audit log (`lyftdata audit list`), which are also the types of the events that are",
            "[delivered to other systems](../how-to/deliver-events.md).",
            "",
            "| type | meaning |",
            "|---|---|",
            *(f"| `{action}` | {meaning} |" for action, meaning in sorted(AUDIT_ACTIONS.items())),
            "",
            "## Schema",
            "",
            "JSON Schema of an event. Fields may be added; a receiver ignores those that it does not know.",
            "",
            "```json",
            json.dumps(EVENT_SCHEMA, indent=2),
            "```",
            "",
        ]
    )


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "refusals.md": refusals_page,
    "cli.md": cli_page,
    "http-api.md": http_page,
    "python.md": python_page,
    "log-events.md": log_events_page,
    "doctor.md": doctor_page,
    "event-types.md": event_types_page,
    "search.md": search_page,
}


def stale_pages() -> list[str]:
    """Return the names of pages that differ from the program."""
    return [
        name
        for name, render in PAGES.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text(encoding="utf-8") != render()
    ]


def run(arguments: Sequence[str]) -> int:
    """Write the pages, or check them."""
    if "--check" in arguments:
        stale = stale_pages()
        if stale:
            print(f"out of date: {', '.join(stale)}; run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    REFERENCE.mkdir(exist_ok=True)
    for name, render in PAGES.items():
        (REFERENCE / name).write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
