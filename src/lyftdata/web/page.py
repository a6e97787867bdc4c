"""What a page's handler is given: who asks, with which form, and how to answer."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lyftdata.core.errors import ConflictError, LyftdataError
from lyftdata.core.policy import is_allowed
from lyftdata.server.actor import Actor
from lyftdata.server.services import Services
from lyftdata.web.forms import EMPTY, Form
from lyftdata.web.render import render

_SEE_OTHER = 303
_MOST_DIGITS = 6


class Page(msgspec.Struct, kw_only=True):
    """
    One request for a page by a signed-in operator whom the policy lets.

    `problem` is what was wrong with the form just posted, when its page is shown again with it.
    """

    request: Request
    services: Services
    actor: Actor
    csrf: str
    form: Form = EMPTY
    problem: LyftdataError | None = None

    def part(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str) -> str:
        """Return a parameter of the query, cut to what a filter may be long; empty if it is not there."""
        return self.request.query_params.get(name, "").strip()[:130]

    def number(self, pages: int) -> int:
        """Return which page of a long list is wanted, of so many."""
        text = self.query("page")
        is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
        return max(1, min(int(text), pages)) if is_number else 1

    def may(self, action: str) -> bool:
        """Return whether the policy table allows this operator an action: what they may not do is not offered."""
        return is_allowed(action, role=self.actor.role)

    def seal(self, state: object) -> str:
        """Return what a form carries to say which state it was shown with; it tells nothing of it."""
        return hmac.digest(self.csrf.encode(), f"state {state}".encode(), sha256).hex()

    def check_unchanged(self, state: object) -> None:
        """
        Refuse a form that was shown with another state: it was sent before, or somebody else was quicker.

        What makes a new secret and ends the one before must not happen twice because a page was loaded again: the
        secret that was shown the first time, and copied, would be worth nothing.

        Raises:
            ConflictError: `done_already`.
        """
        if not hmac.compare_digest(self.form.text("before").encode(), self.seal(state).encode()):
            raise ConflictError(
                "done_already",
                "Nothing was done: this was done already, by this form or by somebody else.",
                hint="What was shown then is not shown again. If nobody kept it, do it once more from here.",
            )

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Answer with a page."""
        return render(
            template,
            status=status,
            page=self,
            services=self.services,
            actor=self.actor,
            csrf=self.csrf,
            form=self.form,
            problem=self.problem,
            now=self.services.clock(),
            done=DONE.get(self.request.query_params.get("done", "")),
            **context,
        )

    def redirect(self, path: str, *, done: str = "", query: Mapping[str, str] | None = None) -> Response:
        """Answer a post: go to a page of ours, which says what was done."""
        parameters = dict(query or {}) | ({"done": done} if done else {})
        return RedirectResponse(path + (f"?{urlencode(parameters)}" if parameters else ""), _SEE_OTHER)


Handler = Callable[[Page], Awaitable[Response]]

# What a page may say after a redirect. Only these: text in a URL would be text that anybody can put there.
DONE = {
    "disabled": "Disabled. Its session ended and its tokens are void.",
    "enabled": "Enabled. It connects by itself within a minute.",
    "renamed": "Saved.",
    "deleted": "Deleted.",
    "bulk": "Done.",
    "shown": "Done. What was shown is not shown again: if nobody kept it, make another one.",
    "resource": "Saved. Tokens given from now on follow it.",
    "revoked": "The key is revoked; whoever used it was cut off.",
    "allowed": "Allowed. A Worker that was refused for it may be started again.",
    "password": "Your password was changed. Your other sessions were ended.",
    "session": "The session was ended.",
    "sessions": "The sessions were ended.",
    "role": "The role was changed.",
    "operator-deleted": "The operator was deleted, and their sessions ended.",
}
