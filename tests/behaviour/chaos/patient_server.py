"""`lyftdata`, but its Server holds polls for four minutes, as with a very large fleet."""

import sys

from lyftdata.cli.main import main
from lyftdata.server.sessions import hold_time

if __name__ == "__main__":
    hold_time._MIN_HOLD_S = hold_time._MAX_HOLD_S
    sys.exit(main())
