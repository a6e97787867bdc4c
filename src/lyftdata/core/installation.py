"""How to install lyftdata, for messages about a missing optional dependency."""

from lyftdata import __version__

INSTALL_SERVER = (
    f"Run `make dist` in a checkout of lyftdata {__version__}, and "
    "`pip install --require-hashes -r server.txt` in the directory dist/ that it makes."
)
"""Names no package index: lyftdata is not published on any, and a package of that name there belongs to someone else."""
