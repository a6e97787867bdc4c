"""`lyftdata`, whose Server holds polls for as long as one of a very large fleet does: four minutes."""

import sys

from lyftdata.cli.main import main
from lyftdata.server import sessions

if __name__ == "__main__":
    sessions._SHORTEST_HOLD_S = sessions._LONGEST_HOLD_S
    sys.exit(main())
