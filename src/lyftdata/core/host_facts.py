"""
The facts that a Worker reports about its host: those that are kept, each bounded and cleaned.

Untrusted: operators recognise a host by them, but no decision depends on them.
"""

from collections.abc import Mapping

from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.text import clean_text

_FACTS = ("hostname", "os", "python", "agent_version", "pid")
_MAX_LENGTH = 128


def read_host_facts(unverified: Mapping[str, str], known_secrets: KnownSecrets) -> dict[str, str]:
    """
    Return the facts to keep.

    Secrets in them are replaced, not refused: a refusal would tell any Worker whether a guess at the enrollment key is right.
    """
    return {
        fact: known_secrets.hide(clean_text(unverified[fact], _MAX_LENGTH))
        for fact in _FACTS
        if fact in unverified
    }
