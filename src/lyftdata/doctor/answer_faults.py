"""Classifies an address at which no Server answers: nothing, a proxy without a Server, or another program."""

import ssl
from collections.abc import Iterator

import httpx2

from lyftdata.doctor import findings
from lyftdata.doctor.findings import Check

_GATEWAY_FAULTS = frozenset({502, 503, 504})
_MAX_CAUSES = 10


def check_of_failure(error: BaseException) -> Check:
    """Return the check that a request without a complete answer has failed."""
    causes = list(_causes(error))
    if any(isinstance(cause, httpx2.ProxyError) for cause in causes):
        return findings.PROXY_UNUSABLE
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return findings.CERTIFICATE_REJECTED
    if any(isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout) for cause in causes):
        return findings.CONNECTION_FAILED
    if any(isinstance(cause, TimeoutError | httpx2.TransportError) for cause in causes):
        return findings.NO_ANSWER
    return findings.NOT_THE_SERVER


def check_of_status(status: int) -> Check:
    """Return the check that an answer of something other than a lyftdata Server has failed."""
    return findings.PROXY_WITHOUT_SERVER if status in _GATEWAY_FAULTS else findings.NOT_THE_SERVER


def _causes(error: BaseException) -> Iterator[BaseException]:
    below: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if below is None:
            return
        yield below
        below = below.__cause__ or below.__context__
