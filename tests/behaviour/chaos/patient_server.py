"""`lyftdata`, whose Server holds polls for as long as one of a very large fleet does: four minutes."""

import sys

from lyftdata.cli.main import main
from lyftdata.server.sessions import hold_time

if __name__ == "__main__":
    hold_time._MIN_HOLD_S = hold_time._MAX_HOLD_S
    sys.exit(main())
