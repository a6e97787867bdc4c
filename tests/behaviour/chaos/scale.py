"""The load during a fault: small in ordinary test runs, full in `make chaos`. The assertions are the same."""

import os

_WORKERS = os.environ.get("LYFTDATA_CHAOS_WORKERS")
IS_FULL = _WORKERS is not None

# Workers that reconnect at once after a power cut, and Workers that are connected during a flood.
RETURNING = int(_WORKERS or 400)
HONEST = 1_000 if IS_FULL else 300
# A flood of wrong credentials.
FLOOD_LASTS_S = 8.0 if IS_FULL else 3.0
MIN_FLOOD = 5_000
MAX_FLOOD = 80_000 if IS_FULL else 20_000
# Enrollments during a fault of a Server or its database.
ENROLLMENTS = 120 if IS_FULL else 40
KILLED_ENROLLMENTS, KILLS = (240, 14) if IS_FULL else (80, 6)
# Connections with an incomplete request, of each kind.
HALF_OPEN_OF_EACH = 80 if IS_FULL else 25
