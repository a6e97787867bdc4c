"""
Recognizes the variables that Kubernetes sets in each container for each service of the namespace.

For a service named `lyftdata` or `lyftdata-server` it sets seven or more variables that look like settings:

    LYFTDATA_SERVICE_HOST=10.0.0.1                   LYFTDATA_PORT_3000_TCP=tcp://10.0.0.1:3000
    LYFTDATA_SERVICE_PORT=3000                       LYFTDATA_PORT_3000_TCP_PROTO=tcp
    LYFTDATA_SERVICE_PORT_HTTPS=3000                 LYFTDATA_PORT_3000_TCP_PORT=3000
    LYFTDATA_PORT=tcp://10.0.0.1:3000                LYFTDATA_PORT_3000_TCP_ADDR=10.0.0.1
"""

import re

_ADDRESS = r"[0-9a-fA-F.:]+"
_URL = r"(tcp|udp|sctp)://[0-9a-fA-F.:\[\]]+:\d+"
_PORT_NUMBER = r"\d{1,5}"
_PREFIX = r"LYFTDATA(_[A-Z0-9_]+)?"
_OF_ONE_PORT = rf"{_PREFIX}_PORT_{_PORT_NUMBER}_(TCP|UDP|SCTP)"
_SHAPES = [
    (re.compile(name), re.compile(value))
    for name, value in (
        (rf"{_PREFIX}_SERVICE_HOST", _ADDRESS),
        (rf"{_PREFIX}_SERVICE_PORT(_[A-Z0-9_]+)?", _PORT_NUMBER),
        (rf"{_PREFIX}_PORT", _URL),
        (_OF_ONE_PORT, _URL),
        (rf"{_OF_ONE_PORT}_PROTO", "tcp|udp|sctp"),
        (rf"{_OF_ONE_PORT}_PORT", _PORT_NUMBER),
        (rf"{_OF_ONE_PORT}_ADDR", _ADDRESS),
    )
]


def is_service_link(name: str, value: str) -> bool:
    """
    Return whether a variable is such a link, by its name and its value.

    `LYFTDATA_PORT=3000` is not: it is meant as a setting.
    """
    return any(names.fullmatch(name) and values.fullmatch(value) for names, values in _SHAPES)
