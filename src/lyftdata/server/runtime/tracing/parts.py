"""The parts of the Server that a request passes through, each with a span for its work."""

from collections.abc import Callable
from typing import Any, TypeVar

from opentelemetry import context
from opentelemetry.trace import SpanKind, Tracer
from sqlalchemy import Connection

from lyftdata.core.assertions import UnverifiedAssertion
from lyftdata.core.grants import Grant
from lyftdata.core.records import WorkerRecord
from lyftdata.core.refusals import RefusedError
from lyftdata.core.secret import Secret
from lyftdata.server.admission.enrollment import Enrollment, Registration
from lyftdata.server.admission.refusal_log import PublicRefusal, RefusalLog
from lyftdata.server.admission.token_issuer import Admission, Admitted
from lyftdata.server.runtime.session_handlers import ServerSessionHandlers
from lyftdata.server.runtime.tracing.spans import (
    CREATED,
    DATABASE,
    POLL_OUTCOME,
    REFUSAL_CODE,
    REFUSAL_REFERENCE,
    SESSION_DURATION,
    SESSION_END,
    WORKER_ID,
    current_request,
    part_of_request,
)
from lyftdata.server.runtime.wiring.part_types import PartTypes
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Boot, Directive, PollEnd, Session
from lyftdata.store import Store, WriteTx
from lyftdata.store.writer.jobs import Together

T = TypeVar("T")


def traced_parts(tracer: Tracer) -> PartTypes:
    """Return the classes from which a traced Server is built."""
    return PartTypes(
        store=_traced_store(tracer),
        admission=_traced_admission(tracer),
        enrollment=_traced_enrollment(tracer),
        refusals=TracedRefusalLog,
        sessions=_traced_sessions(tracer),
        session_handlers=_traced_handlers(tracer),
    )


def _worker_proved(worker_id: str) -> None:
    request = current_request()
    if request is not None:
        request.worker_proved(worker_id)


def _traced_store(tracer: Tracer) -> type[Store]:
    class TracedStore(Store):
        """Records how long a request waits for the database, and when its own operation runs in the batch's transaction."""

        def _waiting(self, name: str) -> Any:
            system = "postgresql" if self.is_shared else "sqlite"
            return part_of_request(tracer, name, kind=SpanKind.CLIENT, **{DATABASE: system})

        async def read(self, op: Callable[[Connection], T]) -> T:
            with self._waiting("database read"):
                return await super().read(op)

        async def write(self, op: Callable[[WriteTx], T]) -> T:
            with self._waiting("database write") as span:
                if not span.is_recording():
                    return await super().write(op)
                of_request = context.get_current()

                def run(tx: WriteTx) -> T:
                    # Runs in the writer's thread, which does not know the request.
                    token = context.attach(of_request)
                    try:
                        with part_of_request(tracer, "database operation"):
                            return op(tx)
                    finally:
                        context.detach(token)

                return await super().write(run)

        async def write_batched(self, op: Together[T], item: object) -> T:
            with self._waiting("database write"):
                return await super().write_batched(op, item)

    return TracedStore


def _traced_admission(tracer: Tracer) -> type[Admission]:
    class TracedAdmission(Admission):
        """Records the check of a credential and the signing of a token."""

        def admit_api_key(self, worker_id: str, unverified_key: Secret) -> Admitted:
            with part_of_request(tracer, "check API key"):
                admitted = super().admit_api_key(worker_id, unverified_key)
            _worker_proved(admitted.worker.id)
            return admitted

        def admit_assertion(
            self, worker_id: str, unverified_assertion: UnverifiedAssertion, *, address: str
        ) -> Admitted:
            with part_of_request(tracer, "check assertion"):
                admitted = super().admit_assertion(worker_id, unverified_assertion, address=address)
            _worker_proved(admitted.worker.id)
            return admitted

        def mint(self, admitted: Admitted, grant: Grant, *, bound_to: str | None = None) -> str:
            with part_of_request(tracer, "sign token"):
                return super().mint(admitted, grant, bound_to=bound_to)

    return TracedAdmission


def _traced_enrollment(tracer: Tracer) -> type[Enrollment]:
    class TracedEnrollment(Enrollment):
        """Records the creation of an entry."""

        async def enroll(self, registration: Registration, *, address: str) -> tuple[WorkerRecord, bool]:
            with part_of_request(tracer, "enroll") as span:
                worker, created = await super().enroll(registration, address=address)
                span.set_attribute(CREATED, created)
            _worker_proved(worker.id)
            return worker, created

    return TracedEnrollment


class TracedRefusalLog(RefusalLog):
    """Records why a request was refused, and the reference with which operators find the details."""

    def record(
        self, refused: RefusedError, *, address: str, limited: bool = True, proved_by: str | None = None
    ) -> PublicRefusal:
        """Record a refusal, and return what its caller may read."""
        if refused.proved and refused.claimed_worker and proved_by is None:
            _worker_proved(refused.claimed_worker)
        return _noted(super().record(refused, address=address, limited=limited, proved_by=proved_by))

    def record_unchecked(self, refused: RefusedError, *, address: str, retry_after_s: float) -> PublicRefusal:
        """Count an attempt whose credential was not checked."""
        return _noted(super().record_unchecked(refused, address=address, retry_after_s=retry_after_s))


def _noted(answer: PublicRefusal) -> PublicRefusal:
    request = current_request()
    if request is not None:
        request.span.set_attribute(REFUSAL_CODE, answer.code)
        request.span.set_attribute(REFUSAL_REFERENCE, answer.reference)
    return answer


def _traced_sessions(tracer: Tracer) -> type[Sessions]:
    class TracedSessions(Sessions):
        """Records how long a poll is held, and how that ends."""

        def attach(
            self, worker: WorkerRecord, boot: Boot, credential: str, **more: Any
        ) -> tuple[Session, bool]:
            session, is_new = super().attach(worker, boot, credential, **more)
            _worker_proved(worker.id)
            return session, is_new

        async def wait(self, session: Session, **more: Any) -> Directive | PollEnd:
            with part_of_request(tracer, "hold poll") as span:
                outcome = await super().wait(session, **more)
                span.set_attribute(
                    POLL_OUTCOME, outcome.kind if isinstance(outcome, Directive) else outcome.value
                )
            return outcome

    return TracedSessions


def _traced_handlers(tracer: Tracer) -> type[ServerSessionHandlers]:
    class TracedSessionHandlers(ServerSessionHandlers):
        """Records the start of a session, in the request that started it, and its end, in a separate trace."""

        def session_started(self, session: Session) -> None:
            with part_of_request(tracer, "session started"):
                super().session_started(session)

        def ended(self, session: Session, why: str) -> None:
            super().ended(session, why)
            lasted_s = round((self._clock() - session.since).total_seconds(), 3)
            attributes: dict[str, str | float] = {
                WORKER_ID: session.worker_id,
                SESSION_END: why,
                SESSION_DURATION: lasted_s,
            }
            tracer.start_span("session ended", context=context.Context(), attributes=attributes).end()

    return TracedSessionHandlers
