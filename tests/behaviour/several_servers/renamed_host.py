"""`lyftdata` as on a host whose name is HOST_NAME."""

import os
import socket
import sys

from lyftdata.cli.main import main

if __name__ == "__main__":
    socket.gethostname = lambda: os.environ["HOST_NAME"]
    sys.exit(main())
