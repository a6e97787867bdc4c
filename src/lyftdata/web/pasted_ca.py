"""
Includes the certificate of a CA in copyable texts for a Worker's host, if the system's certificates are not enough.

`ca` is that certificate as PEM; None if it is not needed; "" if it is needed but the Server does not know it: then the text
names a file that the operator must put there first.
"""

import textwrap

_SETTING = "LYFTDATA_TLS_CA"


def ca_variable(ca: str | None, file: str) -> dict[str, str]:
    """Return the Worker's variable with the name of the file, if it needs one."""
    return {} if ca is None else {_SETTING: file}


def export_ca(ca: str | None, file: str) -> str:
    """Return a shell line that names a file in the current directory; "" if none is needed."""
    return "" if ca is None else f'export {_SETTING}="$PWD/{file}"\n'


def write_ca(ca: str | None, file: str, end: str, *, directory: str | None = None) -> str:
    """
    Return shell lines that write the file, readable by every user: the Worker's user is not the one who pastes the text.

    Args:
        ca: See above.
        file: Its path.
        end: The delimiter of the here-document; not a line of a certificate.
        directory: A directory to create first, accessible to every user.
    """
    if not ca:
        return ""
    make = f"install -d -m 755 {directory}\n" if directory else ""
    return f"{make}install -m 644 /dev/null {file}\ncat > {file} <<'{end}'\n{ca.rstrip()}\n{end}\n"


def config_map(ca: str | None, name: str) -> str:
    """Return the Kubernetes object with the certificate, and the separator from the next one; "" if the text does not include it."""
    if not ca:
        return ""
    return f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
data:
  ca.pem: |
{textwrap.indent(ca.rstrip(), "    ")}
---
"""


def about_ca(ca: str | None, *, how: str) -> str:
    """
    Return what to say about it after the instructions for a text.

    Args:
        ca: See above.
        how: What to do with the CA's certificate if the text does not include it; follows "First".
    """
    if ca is None:
        return ""
    if ca:
        return " It brings the certificate of the Server's CA, which the Worker then trusts."
    return (
        f" The Server's certificate is from a CA that systems do not trust by themselves. First {how}. If LYFTDATA_WORKER_TLS_CA "
        "of the Server names that CA's certificate, this text brings it."
    )
