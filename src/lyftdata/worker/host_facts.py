"""Facts about the Worker's host by which operators recognize it. Untrusted: no decision depends on them."""

import os
import platform
import socket

import lyftdata


def host_facts() -> dict[str, str]:
    """Return hostname, operating system, Python, agent version and process ID."""
    return {
        "hostname": socket.gethostname(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "agent_version": lyftdata.__version__,
        "pid": str(os.getpid()),
    }
