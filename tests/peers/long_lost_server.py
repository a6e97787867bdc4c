"""`lyftdata`, whose Server demands nonces for minutes after a crash, however long a client takes to come."""

import sys

from lyftdata.cli.main import main
from lyftdata.server.admission import dpop

if __name__ == "__main__":
    dpop.LEEWAY_S = 240  # type: ignore[attr-defined]
    sys.exit(main())
