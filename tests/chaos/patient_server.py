"""`lyftdata`, whose Server holds polls for as long as one of a very large fleet does: four minutes."""

import sys

from lyftdata.cli.main import main
from lyftdata.server.sessions import registry

if __name__ == "__main__":
    registry._MIN_HOLD_S = registry._MAX_HOLD_S
    sys.exit(main())
