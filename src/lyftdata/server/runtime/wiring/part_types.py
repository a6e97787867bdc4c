"""The classes of a Server's parts that can be replaced: tracing uses subclasses of them."""

import msgspec

from lyftdata.server.admission.enrollment import Enrollment
from lyftdata.server.admission.refusal_log import RefusalLog
from lyftdata.server.admission.token_issuer import Admission
from lyftdata.server.runtime.session_handlers import ServerSessionHandlers
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store


class PartTypes(msgspec.Struct, frozen=True, kw_only=True):
    """A class for each part."""

    store: type[Store] = Store
    admission: type[Admission] = Admission
    enrollment: type[Enrollment] = Enrollment
    refusals: type[RefusalLog] = RefusalLog
    sessions: type[Sessions] = Sessions
    session_handlers: type[ServerSessionHandlers] = ServerSessionHandlers
