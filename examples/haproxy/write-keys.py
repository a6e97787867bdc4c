#!/usr/bin/env python3
"""
Write the Server's public keys as PEM files, for programs that verify worker tokens but cannot read a JWKS.

    write-keys.py URL DIRECTORY [COMMAND …]

Writes 1.pem, 2.pem and 3.pem, and runs COMMAND if a file has changed. A Server publishes up to three keys: previous, current and next;
if there are fewer, the first is repeated. Needs only Python.
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
    """Follow no redirects: the keys must come from the Server that was named."""

    def redirect_request(self, *arguments: Any) -> None:
        """Make a redirect an error."""


def main(url: str, directory: Path, command: list[str]) -> None:
    """Fetch the keys, write the files, and run the command if a file has changed."""
    # Anyone who can modify this response in transit can sign tokens.
    if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in {"localhost", "127.0.0.1", "::1"}:
        sys.exit(f"{url}: plain http is refused, use https")
    # For the same reason, plain http ignores proxies from the environment; https is authenticated by the Server's certificate.
    direct = [urllib.request.ProxyHandler({})] if urlsplit(url).scheme == "http" else []
    opener = urllib.request.build_opener(NoRedirect, *direct)
    with opener.open(f"{url.rstrip('/')}/.well-known/jwks.json", timeout=10) as answer:
        keys = [pem(key) for key in json.load(answer)["keys"] if key["alg"] == "ES256"]
    if not 1 <= len(keys) <= len(FILES):
        # With no key every Worker would be refused, and a fourth key would be ignored: keep the old files and fail instead.
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
    """Return the contents of a file, or "" if it does not exist."""
    return file.read_text(encoding="ascii") if file.exists() else ""


if __name__ == "__main__":
    if len(sys.argv) < 3:  # noqa: PLR2004 - URL and DIRECTORY
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
