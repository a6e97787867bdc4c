"""
Keeps the secrets of this Server out of stored and displayed text.

Someone who mixes up two variables may give a Worker the enrollment key as its name. Every operator can read names, and backups and
the audit log keep them. Credentials in a lyftdata form are refused wherever a name is parsed (`core.names`); a chosen enrollment
key has no such form, so only this Server can recognize it.
"""

import unicodedata
from collections.abc import Iterable, Mapping

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.redaction import hide_credentials
from lyftdata.core.secret import Secret

MIN_KNOWN_LENGTH = 32
"""A shorter secret could be part of an honest name."""


class KnownSecrets:
    """
    The secrets of this Server, as given at its start.

    Args:
        secrets: Of `MIN_KNOWN_LENGTH` characters or more.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.secrets = tuple(secrets)

    def check(self, field: str, *texts: str) -> None:
        """
        Refuse text that contains one of them; the message does not repeat it.

        Only for callers who have proved that they know the enrollment key, or who may make changes: to others the answer would
        reveal whether a guess is right.

        Raises:
            InvalidInputError: It contains one.
        """
        for text in texts:
            if any(form in text for secret in self.secrets for form in _forms(secret)):
                raise InvalidInputError(
                    field, "must not hold a secret of this Server: it would be stored, and shown to operators"
                )

    def check_credentials(self, field: str, *texts: str) -> None:
        """Do as `check`, and refuse credentials in a lyftdata form too, whole or cut: for text whose own rule does not."""
        self.check(field, *texts)
        if any(self.hide(text) != text for text in texts):
            raise InvalidInputError(field, "must not hold a credential: write its name or public ID")

    def check_labels(self, field: str, labels: Mapping[str, str]) -> None:
        """Refuse labels whose keys or values contain one; raises InvalidInputError."""
        # Joined as well: in the one-line form, a secret with an equals sign becomes a key and a value.
        self.check(field, *(f"{key}={value}" for key, value in labels.items()))

    def hide(self, text: str) -> str:
        """Return text with each of these secrets, and every credential in a lyftdata form, replaced by `***`."""
        return hide_credentials(text, secrets=self.secrets)

    def hide_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the labels that contain none of them."""
        return {
            key: value for key, value in labels.items() if self.hide(f"{key}={value}") == f"{key}={value}"
        }


def _forms(secret: Secret) -> set[str]:
    """Return the forms that a secret can take in a name: names are trimmed and normalized (NFC)."""
    text = secret.reveal()
    return {text, unicodedata.normalize("NFC", text).strip()}
