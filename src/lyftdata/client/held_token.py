"""A worker token in memory, and when it is due for renewal."""

from lyftdata.client.token_endpoint import TokenReply
from lyftdata.core.tokens import unsafe_worker_name

# Renewed at two thirds of its lifetime, plus or minus a quarter of that: of ten thousand Workers that connected together, 33 a second
# renew, which keeps a Server under its ceiling of 200 requests in addition to their polls, and each has a sixth of the lifetime to retry.
_RENEW_AT = 2 / 3
_RENEW_JITTER = 0.25
_MIN_LIFE_S = 5.0
_MAX_LIFE_S = 86_400.0


class HeldToken:
    """
    A token and when to renew it, on a clock that does not jump when the host's time is set.

    Args:
        reply: The token, and its lifetime from the time of the request.
        monotonic_s: When it was requested.
        jitter: From 0 to below 1: when within the renewal window it is renewed; 0.5 for two thirds of its lifetime.
    """

    def __init__(self, reply: TokenReply, *, monotonic_s: float, jitter: float) -> None:
        life_s = min(max(reply.expires_in, _MIN_LIFE_S), _MAX_LIFE_S)
        self.text = reply.access_token
        self.worker_name = unsafe_worker_name(reply.access_token)
        """The Worker's name on the Server; empty if the token carries none."""
        self.got_at_s = monotonic_s
        self._renew_at_s = monotonic_s + life_s * _RENEW_AT * (1 + _RENEW_JITTER * (2 * jitter - 1))
        self._use_until_s = monotonic_s + life_s
        # The lifetime that the Server stated, unchanged: the caller that gets the token relies on it.
        self._expires_at_s = monotonic_s + reply.expires_in

    def is_usable(self, monotonic_s: float) -> bool:
        """Return whether the token is usable: until it expires, but at least for 5 seconds, so that `expires_in` 0 causes no endless requests."""
        return monotonic_s < self._use_until_s

    def is_due(self, monotonic_s: float) -> bool:
        """Return whether renewal is due; the present token is used until it expires."""
        return monotonic_s >= self._renew_at_s

    def due_in_s(self, monotonic_s: float) -> float:
        """Return the seconds until renewal is due."""
        return max(0.0, self._renew_at_s - monotonic_s)

    def expires_in_s(self, monotonic_s: float) -> int:
        """Return the whole seconds until the token expires; 0 after that."""
        return max(0, int(self._expires_at_s - monotonic_s))
