"""
Checks from the database URL whether a connection to PostgreSQL authenticates the server, before anything is sent.

A man in the middle between a Server and its database could answer with Workers, keys and operators of its own. libpq's default,
`sslmode=prefer`, does not even insist on encryption; `require` and `verify-ca` accept certificates that others can have too.
`channel_binding=require` is as good as `verify-full`: the database must prove that it knows the password's verifier for this very
TLS connection, so that the proof cannot be relayed.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import URL

from lyftdata.core.origins import is_loopback_host

# What libpq takes from its environment if the URL does not set it (libpq, "Environment Variables").
_ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "channel_binding": "PGCHANNELBINDING",
}


def unverified_hosts(url: URL, environ: Mapping[str, str]) -> list[str]:
    """
    Return the other hosts to which a connection might be made without authenticating the database.

    Unix sockets and loopback addresses are on this machine.

    Args:
        url: A PostgreSQL URL; may name several hosts.
        environ: The environment that libpq sees.

    Raises:
        ArgumentError, ValueError: The URL cannot be read.
    """
    given = _parameters(url)
    if given.get("sslmode") == "verify-full" or given.get("channel_binding") == "require":
        return []
    inherited = {
        name: environ[variable] for name, variable in _ENVIRONMENT.items() if environ.get(variable)
    } | given
    if "service" in inherited:
        # The service file may name any host, and overrides the environment.
        return [f"the service {inherited['service']}"]
    if inherited.get("sslmode") == "verify-full" or inherited.get("channel_binding") == "require":
        return []
    # libpq connects to the address; the host name is then only compared with the certificate.
    targets = _parts(inherited.get("hostaddr")) or _parts(inherited.get("host")) or [""]
    hosts = _parts(inherited.get("host")) or targets
    if len(hosts) == len(targets):
        # The address may be omitted for some of the hosts.
        targets = [target or host for target, host in zip(targets, hosts, strict=True)]
    return [target for target in targets if not _is_this_machine(target)]


def _parameters(url: URL) -> dict[str, Any]:
    """Return what SQLAlchemy passes to the driver; a repeated parameter becomes a tuple, which libpq refuses."""
    dialect = url.set(drivername="postgresql+psycopg").get_dialect()()
    _, parameters = dialect.create_connect_args(url)
    return dict(parameters)


def _parts(hosts: object) -> list[str]:
    return [part.strip() for part in str(hosts).split(",")] if hosts else []


def _is_this_machine(target: str) -> bool:
    # Empty, a directory or an abstract name: a Unix socket.
    return not target or target.startswith(("/", "@")) or is_loopback_host(target)
