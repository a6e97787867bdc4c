#!/usr/bin/env python3
"""
Write the Server's public keys as PEM files, for whatever checks worker tokens and reads no JWKS.

    write-keys.py URL DIRECTORY [COMMAND …]

Writes 1.pem, 2.pem and 3.pem (a Server publishes the last key, the current and the next one; while there are fewer, the first is
repeated) and runs COMMAND when something has changed. Needs nothing but Python.
"""

import base64
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FILES = ("1.pem", "2.pem", "3.pem")
# A SubjectPublicKeyInfo of P-256 up to the point (RFC 5480): id-ecPublicKey, secp256r1, 65 bytes, uncompressed.
BEFORE_THE_POINT = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the keys are those of the Server that was named."""

    def redirect_request(self, *arguments: Any) -> None:
        """Let a redirect be an error."""


def main(url: str, directory: Path, command: list[str]) -> None:
    """Fetch, write, and run the command if something is new."""
    # Anyone who can change this answer on its way can sign tokens.
    if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in {"localhost", "127.0.0.1", "::1"}:
        sys.exit(f"{url}: not over plain http")
    # For the same reason plain http goes through no proxy of the environment; https is checked by the Server's certificate.
    direct = [urllib.request.ProxyHandler({})] if urlsplit(url).scheme == "http" else []
    opener = urllib.request.build_opener(NoRedirect, *direct)
    with opener.open(f"{url.rstrip('/')}/.well-known/jwks.json", timeout=10) as answer:
        keys = [pem(key) for key in json.load(answer)["keys"] if key["alg"] == "ES256"]
    if not 1 <= len(keys) <= len(FILES):
        # Fewer would shut everybody out and more would be left out: better the files of before, and a job that failed.
        sys.exit(f"{url}: {len(keys)} ES256 keys, expected one to {len(FILES)}")
    wanted = dict(zip(FILES, keys + keys[:1] * (len(FILES) - len(keys)), strict=True))
    changed = [name for name, text in wanted.items() if read(directory / name) != text]
    for name in changed:
        draft = directory / f".{name}.new"
        draft.write_text(wanted[name], encoding="ascii")
        draft.replace(directory / name)
    if changed and command:
        sys.exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - what the caller asked for


def pem(key: dict[str, str]) -> str:
    """Return a P-256 key of a JWK Set (RFC 7518, section 6.2.1) as PEM."""
    x, y = (base64.urlsafe_b64decode(key[name] + "=" * (-len(key[name]) % 4)) for name in ("x", "y"))
    text = base64.encodebytes(BEFORE_THE_POINT + x + y).decode("ascii").replace("\n", "")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def read(file: Path) -> str:
    """Return what a file holds; nothing if there is none."""
    return file.read_text(encoding="ascii") if file.exists() else ""


if __name__ == "__main__":
    if len(sys.argv) < 3:  # noqa: PLR2004 - the two that the first lines name
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
