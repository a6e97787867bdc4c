"""`lyftdata` with a Server that requires nonces for minutes after a crash, so that a slow client still gets one."""

import sys

from lyftdata.cli.main import main
from lyftdata.server.admission import dpop

if __name__ == "__main__":
    dpop.LEEWAY_S = 240  # type: ignore[attr-defined]
    sys.exit(main())
