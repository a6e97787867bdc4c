"""What a page's handler gets: the operator, the form, and ways to answer."""

import hmac
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lyftdata.core.actor import Actor
from lyftdata.core.errors import ConflictError, InvalidInputError, LyftdataError
from lyftdata.core.policy import is_allowed
from lyftdata.core.text import clean_text
from lyftdata.server.admin.edits import CHANGED_MEANWHILE
from lyftdata.server.runtime.services import Services
from lyftdata.web.cookies import forget_flash, read_flash, set_flash
from lyftdata.web.faults import find_fault
from lyftdata.web.flash import FLASH_LIFE, Flash, open_flash, seal_flash
from lyftdata.web.forms import EMPTY, Form
from lyftdata.web.render import render

_SEE_OTHER = 303
_MAX_DIGITS = 6
# Somebody may look at a secret for a long time before leaving the page.
_SECRET_LIFE = timedelta(hours=1)
_SHOWN_ONCE = "Done. The secret is not shown again: if it was not copied, make another one."


class Page(msgspec.Struct, kw_only=True):
    """
    A request for a page by a signed-in operator whom the policy allows it.

    `problem` is what was wrong with the posted form when its page is shown again. `instead` is the path that replaces the response to a form in the
    browser's history: on a reload or on going back it is requested, and the form is not sent again. `mark` names the state of the fleet that the page
    shows, or an earlier one. `touched` are the fields that the posted form has changed. `zone` is the time zone of this browser.
    """

    request: Request
    services: Services
    actor: Actor
    csrf: str
    mark: str
    form: Form = EMPTY
    problem: LyftdataError | None = None
    instead: str = ""
    touched: frozenset[str] | None = None
    zone: tzinfo = UTC

    def now(self) -> datetime:
        """Return the current time, in the zone of this browser."""
        return self.services.clock().astimezone(self.zone)

    def keeps(self, name: str) -> bool:
        """Return whether a field is shown again as entered, because the form was rejected."""
        return self.problem is not None and (self.touched is None or name in self.touched)

    def seen(self, now: str) -> str:
        """Return the fingerprints for a form: of the current values, unless it is shown again because of another error."""
        before = self.form.text("seen")
        has_conflict = self.problem is not None and self.problem.code == CHANGED_MEANWHILE
        return before if before and self.problem is not None and not has_conflict else now

    def part(self, name: str) -> str:
        """Return a path parameter."""
        return str(self.request.path_params[name])

    def query(self, name: str, *, max_length: int = 130) -> str:
        """
        Return a query parameter, truncated to the length of the longest filter; "" if it is missing.

        A form posted from a filtered list carries the filter along.
        """
        return (self.request.query_params.get(name, "").strip() or self.form.text(name))[:max_length]

    def check_parameters(self, *known: str) -> None:
        """
        Reject a query with a parameter that the page does not have, or a repeated one.

        With a mistyped filter a list would show everything, and a bulk action would be applied to the wrong entries.

        Raises:
            InvalidInputError: Names the parameter.
        """
        names = [name for name, _ in self.request.query_params.multi_items() if name != "id"]
        for name in names:
            if name not in known:
                raise InvalidInputError(name, f"There is no filter '{clean_text(name, 40)}'.")
            if names.count(name) > 1:
                raise InvalidInputError(name, f"The filter '{name}' is given twice.")

    def choice(self, name: str, known: Collection[str]) -> str:
        """Return a parameter that must be one of `known`, "" if it is missing; raises InvalidInputError."""
        text = self.query(name)
        if text and text not in known:
            raise InvalidInputError(
                name, f"There is no {name} '{clean_text(text, 40)}'. There are: {', '.join(known)}."
            )
        return text

    def number(self, pages: int) -> int:
        """Return the requested page number of a long list with this many pages."""
        text = self.query("page")
        is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
        return max(1, min(int(text), pages)) if is_number else 1

    def may(self, action: str) -> bool:
        """Return whether the policy table allows this operator an action: forbidden actions are not offered."""
        return is_allowed(action, actor=self.actor)

    async def ca_to_paste(self) -> str | None:
        """Return the certificates (PEM) to include in copyable texts for Workers; see `pasted_ca`."""
        needed = await self.services.worker_ca.find()
        return None if needed is None else needed.pem

    def seal(self, state: object) -> str:
        """Return a token that identifies the state with which a form is shown, without revealing it."""
        return hmac.digest(self.csrf.encode(), f"state {state}".encode(), sha256).hex()

    def check_unchanged(self, state: object) -> None:
        """
        Reject a form that was shown with another state: it was already sent, or somebody else was faster.

        What generates a new secret and ends the previous one must not happen twice because a page was reloaded: the secret that was shown
        the first time, and copied, would be worthless.

        Raises:
            ConflictError: `done_already`.
        """
        if not hmac.compare_digest(self.form.text("before").encode(), self.seal(state).encode()):
            raise ConflictError(
                "done_already",
                "Nothing was done: this was done already, by this form or by another operator.",
                hint="What was shown then is not shown again. If you did not keep it, do it again from here.",
            )

    def check_reauthenticated(self, action: str) -> None:
        """Reject an action that cannot be undone, or its form, if the operator must authenticate again; raises ReauthenticationRequiredError."""
        is_form = self.request.method == "GET"
        self.services.reauthentication.check(action, actor=self.actor, is_form=is_form)

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Answer with a page; it shows the message of the last action once."""
        flash = self._flash()
        response = render(
            template,
            status=status,
            page=self,
            services=self.services,
            actor=self.actor,
            csrf=self.csrf,
            form=self.form,
            problem=self.problem,
            fault=find_fault(self.problem, {*self.form.names(), *self.request.query_params}),
            now=self.now(),
            done=None if flash is None else flash.sentence,
            undo=None if flash is None else flash.undo,
            **context,
        )
        if flash is not None:
            forget_flash(response, self.request, self.services)
        return response

    def render_secret(self, template: str, *, instead: str, **context: Any) -> Response:
        """
        Answer a form with a page that shows a secret once.

        Args:
            template: The template.
            instead: The path to load instead when the page is reloaded or returned to.
            context: For the template.
        """
        self.instead = instead
        response = self.render(template, **context)
        return self._with_flash(response, Flash(_SHOWN_ONCE), path=instead, life=_SECRET_LIFE)

    def redirect(self, path: str, *, done: str = "", undo: int | None = None, query: str = "") -> Response:
        """
        Answer a form by redirecting to a page of this Server.

        Args:
            path: The target, without a query.
            done: The message that the page shows once.
            undo: The number of the change that it offers to undo.
            query: The target's query, encoded, without the question mark.
        """
        response: Response = RedirectResponse(path + (f"?{query}" if query else ""), _SEE_OTHER)
        if not done:
            return response
        return self._with_flash(response, Flash(done, undo), path=path, life=FLASH_LIFE)

    def _with_flash(self, response: Response, flash: Flash, *, path: str, life: timedelta) -> Response:
        value = seal_flash(
            flash,
            path=unquote(path),
            session_secret=self.csrf,
            now=self.services.clock(),
            life=life,
        )
        set_flash(response, self.request, self.services, value, life=life)
        return response

    def _flash(self) -> Flash | None:
        # A self-updating list is part of a page: the message stays there until the page is left.
        if self.request.method != "GET" or "hx-request" in self.request.headers:
            return None
        unverified = read_flash(self.request, self.services)
        if unverified is None:
            return None
        now, path = self.services.clock(), self.request.url.path
        return open_flash(unverified, path=path, session_secret=self.csrf, now=now)


Handler = Callable[[Page], Awaitable[Response]]
