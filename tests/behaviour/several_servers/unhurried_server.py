"""`lyftdata`, but its Server has timeouts that a busy machine cannot exceed: for peers, for Workers between polls, for its own answers."""

import sys
from datetime import timedelta

from lyftdata import app
from lyftdata.cli.main import main
from lyftdata.server.cluster import membership
from lyftdata.server.runtime import drain
from lyftdata.server.sessions import registry
from lyftdata.store.change_feed import feed

_PATIENCE_S = 240.0

if __name__ == "__main__":
    app._SHED_AFTER_S = {}
    drain.MOVE_WITHIN_S = drain.FINISH_WITHIN_S = _PATIENCE_S
    feed._ANSWER_WITHIN_S = feed._LISTENS_WITHIN_S = _PATIENCE_S
    membership.PEERS_FOUND_WITHIN_S = _PATIENCE_S
    membership.DEAD_AFTER = timedelta(seconds=_PATIENCE_S)
    registry.GRACE_AFTER_ANSWER_S = registry.GRACE_AFTER_BREAK_S = _PATIENCE_S
    sys.exit(main())
