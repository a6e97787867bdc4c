"""The Server's issuer, the enrollment keys that it accepts, and its warnings at startup."""

import socket
from collections.abc import Sequence

import msgspec

from lyftdata.core.enrollment_secrets import fingerprint, make_verifier
from lyftdata.core.secret_key import is_random_form, key_forms
from lyftdata.server.admin.audit_checkpoints import ACCEPT, AuditCheckpoints
from lyftdata.server.admin.secret_strength import assess_key
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.enrollment_credentials import AcceptedKey
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.store import Store

# What `localhost` resolves to; the rest of 127.0.0.0/8 is also this machine, but does not have that name.
_LOCALHOST = frozenset({"127.0.0.1", "::1"})


def issuer_of(settings: ServerSettings) -> str:
    """
    Return the Server's issuer: the public URL, or one derived from the bind address.

    On a loopback address it is `localhost`, which is also where Workers and the command line look by default: a verifier is
    configured with the address that a person has seen, and compares it with the issuer exactly.
    """
    if settings.public_url is not None:
        return settings.public_url
    bind = settings.bind_address
    scheme = "https" if settings.tls_cert is not None else "http"
    if bind.is_wildcard():
        bind = msgspec.structs.replace(bind, host=socket.gethostname())
    elif bind.host in _LOCALHOST:
        bind = msgspec.structs.replace(bind, host="localhost")
    return f"{scheme}://{bind}"


def accepted_keys(settings: ServerSettings, *, issuers: Sequence[str], pepper: bytes) -> list[AcceptedKey]:
    """Return the enrollment keys that the Server accepts, the current one first. Slow: keys that may be chosen by a person are stretched."""
    given = (("current", settings.enrollment_key), ("previous", settings.enrollment_key_previous))
    return [
        AcceptedKey(
            role=role,
            fingerprint=fingerprint(secret, pepper),
            key=make_verifier(secret, audiences=issuers),
            warnings=[weakness for weakness in [assess_key(secret)] if weakness is not None],
        )
        for role, secret in given
        if secret is not None
    ]


def warnings_of(settings: ServerSettings, issuer: str) -> list[str]:
    """Return warnings about these settings for operators, one sentence each."""
    warnings = [*settings.warnings]
    if settings.public_url is None and settings.bind_address.is_wildcard():
        warnings.append(
            f"LYFTDATA_PUBLIC_URL is not set, so the Server calls itself {issuer}. It listens on every interface: "
            "auto-enrolled Workers check that this is the address they were given."
        )
    return warnings


def issuer_warnings(directory: Directory, issuers: Sequence[str]) -> list[str]:
    """Return a warning for each issuer that Workers sign for and that the Server no longer accepts."""
    return [
        f"LYFTDATA_PREVIOUS_PUBLIC_URLS: {count} auto-enrolled {'Worker signs' if count == 1 else 'Workers sign'} for "
        f"{signed_for} and will be refused. The issuer was {signed_for} and is {issuers[0]} now: add the old one until they "
        "have moved (docs/how-to/move-to-another-address.md)."
        for signed_for, count in directory.count_by_issuer().items()
        if signed_for not in issuers
    ]


def audit_warnings(store: Store, checkpoints: AuditCheckpoints) -> list[str]:
    """Return warnings about the end of the audit log, one sentence each; `lyftdata audit verify` checks the rest."""
    warnings = []
    if checkpoints.problem:
        warnings.append(f"{checkpoints.problem} If you restored a backup, run on the Server's host: {ACCEPT}")
    if not store.audit_is_sound:
        warnings.append(
            "The audit log's record of its last event was removed or changed. See: lyftdata audit verify"
        )
    return warnings


def secret_key_warnings(settings: ServerSettings, secret_key: bytes) -> list[str]:
    """Return warnings about the current secret key, one sentence each. Slow if the next key is text: it is stretched."""
    warnings = []
    if not is_random_form(secret_key):
        warnings.append(
            "The secret key is text that a person may have chosen. This database was made before such text was stretched: with a copy "
            "of the database it is cheaper to guess. Change it with: lyftdata admin rotate-secret-key"
        )
    if _accepts_replaced_key(settings, secret_key):
        # Downgrade: an attacker who has the old key and can write to the database could move it back to that key.
        warnings.append(
            "LYFTDATA_SECRET_KEY: a database with the old key would still be accepted. This one has been changed to LYFTDATA_SECRET_KEY_NEXT: "
            "set LYFTDATA_SECRET_KEY to the new key, and remove LYFTDATA_SECRET_KEY_NEXT."
        )
    return warnings


def _accepts_replaced_key(settings: ServerSettings, secret_key: bytes) -> bool:
    given, given_next = settings.secret_key, settings.secret_key_next
    if given is None or given_next is None or given.reveal() == given_next.reveal():
        return False
    return secret_key in key_forms(given_next.reveal().encode())
