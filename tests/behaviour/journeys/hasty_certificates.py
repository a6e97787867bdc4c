"""`lyftdata`, but its Server looks for a renewed certificate several times a second."""

import sys

from lyftdata import certificate_reload
from lyftdata.cli.main import main

if __name__ == "__main__":
    certificate_reload._CERT_CHECK_EVERY_S = 0.2
    sys.exit(main())
