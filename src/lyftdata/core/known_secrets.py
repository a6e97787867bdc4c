"""
Keeps the secrets of this Server out of what is stored and shown.

Someone who mixes up two variables gives a Worker the enrollment key for its name. Every operator reads names, and backups and
the audit log keep them. Credentials in a lyftdata form are refused wherever a name is read (`core.names`); what an enrollment
key looks like, only this Server knows.
"""

import unicodedata
from collections.abc import Iterable, Mapping

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.redaction import hide_credentials
from lyftdata.core.secret import Secret

MIN_KNOWN_LENGTH = 32
"""A shorter secret could be a part of an honest name."""


class KnownSecrets:
    """
    The secrets that this Server was started with.

    Args:
        secrets: Of `MIN_KNOWN_LENGTH` characters or more.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.secrets = tuple(secrets)

    def check(self, field: str, *texts: str) -> None:
        """
        Refuse text that holds one of them; the message does not repeat it.

        Only for those who have proved that they know the enrollment key, or may change things here: to others the answer
        would tell whether a guess is right.

        Raises:
            InvalidInputError: It does.
        """
        for text in texts:
            if any(form in text for secret in self.secrets for form in _forms(secret)):
                raise InvalidInputError(
                    field, "must not hold a secret of this Server: it would be stored, and shown to operators"
                )

    def check_credentials(self, field: str, *texts: str) -> None:
        """Do as `check`, for text whose own rule takes credentials in a lyftdata form: those are refused too, whole or cut."""
        self.check(field, *texts)
        if any(self.hide(text) != text for text in texts):
            raise InvalidInputError(field, "must not hold a credential: write its name or public ID")

    def check_labels(self, field: str, labels: Mapping[str, str]) -> None:
        """Refuse labels whose keys or values do; raises InvalidInputError."""
        # Joined as well: in the one-line form a secret with an equals sign in it is a key and a value.
        self.check(field, *(f"{key}={value}" for key, value in labels.items()))

    def hide(self, text: str) -> str:
        """Return text with each of them, and every credential in a lyftdata form, replaced by `***`."""
        return hide_credentials(text, secrets=self.secrets)

    def hide_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return labels without those that hold any."""
        return {
            key: value for key, value in labels.items() if self.hide(f"{key}={value}") == f"{key}={value}"
        }


def _forms(secret: Secret) -> set[str]:
    """Return how a secret stands in a name: names are trimmed, and composed (NFC)."""
    text = secret.reveal()
    return {text, unicodedata.normalize("NFC", text).strip()}
