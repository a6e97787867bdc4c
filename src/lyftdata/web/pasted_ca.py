"""
How a text to paste brings the certificate of a CA to a Worker's host, where the system's certificates are not enough.

`ca` is that certificate as PEM; None where it is not needed; "" where it is needed, and the Server does not know it: then the text
names a file that the operator puts there before.
"""

import textwrap

_SETTING = "LYFTDATA_TLS_CA"


def ca_variable(ca: str | None, file: str) -> dict[str, str]:
    """Return the Worker's variable that names the file, if it needs one."""
    return {} if ca is None else {_SETTING: file}


def export_ca(ca: str | None, file: str) -> str:
    """Return a shell's line that names a file in the current directory; "" if there is none."""
    return "" if ca is None else f'export {_SETTING}="$PWD/{file}"\n'


def write_ca(ca: str | None, file: str, end: str, *, directory: str | None = None) -> str:
    """
    Return shell lines that write the file, for every user to read: a Worker's user is not the one who pastes.

    Args:
        ca: See above.
        file: Its path.
        end: Ends a here-document; no line of a certificate.
        directory: To be made first, for every user to enter.
    """
    if not ca:
        return ""
    make = f"install -d -m 755 {directory}\n" if directory else ""
    return f"{make}install -m 644 /dev/null {file}\ncat > {file} <<'{end}'\n{ca.rstrip()}\n{end}\n"


def config_map(ca: str | None, name: str) -> str:
    """Return the object of Kubernetes that holds the certificate, with what separates it from the next; "" if it is not in the text."""
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
        how: What to do with the CA's certificate where the text does not bring it; after "First".
    """
    if ca is None:
        return ""
    if ca:
        return " It brings the certificate of the Server's CA, which the Worker then trusts."
    return (
        f" The Server's certificate is from a CA that systems do not trust by themselves. First {how}. If LYFTDATA_WORKER_TLS_CA "
        "of the Server names that CA's certificate, this text brings it."
    )
