"""How to install lyftdata, for messages about a missing optional dependency."""

from lyftdata import __version__

INSTALL_SERVER = (
    f"Run `make dist` in a checkout of lyftdata {__version__}, and "
    "`pip install --require-hashes -r server.txt` in the directory dist/ that it makes."
)
"""No package index is named: lyftdata is on none, and what bears its name there is somebody else's."""
