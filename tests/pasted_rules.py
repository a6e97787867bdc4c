"""
Rules for texts that people paste: each rule reads a text and reports what must not be in it.

A placeholder (`…`, `KEY`, `PASSWORD`) is not a secret, and neither is a value whose refusal is shown (`wrong`, `guess`).
"""

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from lyftdata.core.settings import SECRET_VARIABLES

Rule = Callable[[str], Iterator[str]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    """Register a rule, which is then applied to every text."""
    RULES.append(function)
    return function


def faults(text: str) -> list[str]:
    """Return the faults of a text, a sentence each."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [fault for apply in RULES for fault in apply(joined)]


_VALUE_OPTIONS = {
    "-r", "--requirement", "-c", "--constraint", "-t", "--target", "--prefix", "-f", "--find-links",
    "-i", "--index-url", "--hash", "--tag", "-d", "--python",
}  # fmt: skip
_PIP = re.compile(
    r"(?:\bpip3?|\bpipx|\buv(?: pip| tool)?|-m pip)\s+(?:--?[\w-]+(?:[= ][^\s-]\S*)?\s+)*?(install|run|add)\b(?P<rest>[^\n`|&;<)\"]*)"
)


@rule
def installs_by_bare_name(text: str) -> Iterator[str]:
    """With pip, install only by hash, or a local file without dependencies; with others, only from a lock file or by version."""
    for match in _PIP.finditer(text):
        words = _words(match["rest"])
        if "--extra-index-url" in words:
            yield f"two indexes, and the name is taken from either: {match[0].strip()}"
        if "--require-hashes" in words and "-r" in words:
            continue
        operands = _operands(words)
        if not operands and not {"-r", "--requirement"} & set(words):
            continue
        is_local = operands and all(re.match(r"[./~$]|.*\.whl$|.*/", word) for word in operands)
        if not (is_local and "--no-deps" in words):
            yield f"installed by name, without hashes: {match[0].strip()}"
    for match in re.finditer(
        r"\b(?:npm (?:install|i|add)|npx|yarn add|pnpm add|bunx|gem install|uvx|cargo install|brew install)\s+(?P<rest>[^\n`|&;<]+)",
        text,
    ):
        names = _operands(_words(match["rest"]))
        if names and not all("@" in name[1:] or re.match(r"[./~$]", name) for name in names[:1]):
            yield f"installed by name, without a version: {match[0].strip()}"
    for match in re.finditer(r"\bgo (?:install|run) \S+@latest", text):
        yield f"whatever is the latest: {match[0]}"


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


def _operands(words: list[str]) -> list[str]:
    found, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in _VALUE_OPTIONS:
            skip = True
        elif not word.startswith("-"):
            found.append(word)
    return found


@rule
def images_without_a_version(text: str) -> Iterator[str]:
    """An image has a tag that is a version, or a digest."""
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)", text, re.MULTILINE))
    stages = set(re.findall(r"^FROM .* AS (\S+)", text, re.MULTILINE | re.IGNORECASE)) | {"scratch"}
    named = [] if "SELECT" in text else re.findall(r"^\s*FROM\s+(?:--\S+\s+)?(\S+)", text, re.MULTILINE)
    named += re.findall(r"^\s*(?:-\s*)?[\"']?image[\"']?:[ \t]*[\"']?([^\s\"',}]+)", text, re.MULTILINE)
    named += re.findall(
        r"\b(?:docker|podman|nerdctl) (?:pull|(?:container )?(?:run|create))\s+(?:(?:-[a-z]*[evpuwlh]|--(?:env|volume|publish|name|user|network|mount|label|entrypoint|env-file|secret))[= ]\S+\s+|-\S+\s+)*([^\s`-][^\s`]*)",
        text,
    )
    for image in named:
        full = re.sub(r"\$\{?(\w+)\}?", lambda match: arguments.get(match[1], match[0]), image)
        if full in stages or "@sha256:" in full or re.search(r"[${…]", full):
            continue
        tag = full.rpartition("/")[2].partition(":")[2]
        if not tag or not re.search(r"\d", tag) or tag == "latest":
            yield f"an image without a version: {image}"


@rule
def scripts_from_the_network(text: str) -> Iterator[str]:
    """A script is not piped from the network into an interpreter."""
    for match in re.finditer(
        r"\b(?:curl|wget)\b[^\n|]*\|\s*(?:sudo\s+(?:-\S+\s+)*)?(?:ba|z|da|k)?sh\b"
        r"|\b(?:ba|z|da|k)?sh\s+(?:-c\s+)?[\"']?(?:<\(|\$\()\s*(?:curl|wget)\b"
        r"|\beval\s+[\"']?\$\((?:curl|wget)\b|\b(?:curl|wget)\b[^\n|]*\|\s*(?:sudo\s+)?python",
        text,
    ):
        yield f"what was fetched is run: {match[0]}"


_INSTALLS = re.compile(
    r"\b(?:pip3?|pipx|uv|npm|apt|apt-get|apk|dnf|yum|gem|go) (?:install|add|i|pip)\b|\bnpx\b"
)


@rule
def installs_at_start(text: str) -> Iterator[str]:
    """Nothing is installed when a container or a service starts, since its secret is already there then."""
    for line in text.splitlines():
        if re.match(r"\s*(?:-\s*)?(?:command|args|entrypoint|CMD|ENTRYPOINT|ExecStart\w*)\b", line) and (
            _INSTALLS.search(line)
        ):
            yield f"installed at each start: {line.strip()}"
    for manifest in _manifests(text):
        for key, value in _walk(manifest):
            joined = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            if key in {"command", "args", "entrypoint"} and _INSTALLS.search(joined):
                yield f"installed at each start: {joined}"


@rule
def copies_of_everything(text: str) -> Iterator[str]:
    """An image gets only the files that it needs, by name."""
    for match in re.finditer(r"^\s*(?:COPY|ADD)\s+(?:--chown=\S+\s+)?\.?/?\s+\S+", text, re.MULTILINE):
        yield f"everything goes into the image: {match[0].strip()}"
    for match in re.finditer(r"^\s*ADD\s+\S+", text, re.MULTILINE):
        yield f"ADD fetches and unpacks; COPY does not: {match[0].strip()}"


_PLACEHOLDER = r"(?:…|KEY|PASSWORD|password|wrong|guess|\*{3}|%s|<[^>]*>|\{…\}|\.\.\.|\$\{?[A-Z_]*FILE\}?)"


@rule
def secrets_in_arguments(text: str) -> Iterator[str]:
    """No secret is in an argument: `ps` shows arguments to every user of the machine."""
    for match in re.finditer(r"\bcurl\b[^\n|]*", text):
        shown = re.search(
            r"(?:\s-u|--user|--proxy-user|--oauth2-bearer)[ =]?[\"']?\S+"
            r"|(?:-H|--header)[ =]?[\"'](?:Authorization|Cookie|X-[\w-]*(?:Key|Token)|Api-Key)\b"
            r"|(?:-d|--data(?:-\w+)?)[ =]?[\"']?[^\"'\s]*(?:token|secret|password|assertion)=\$?\S",
            match[0],
            re.IGNORECASE,
        )
        if shown:
            yield f"a secret in curl's arguments: {shown[0].strip()}"
    for match in re.finditer(
        r"\bredis-cli\b[^\n|]*\s(?:-a|--pass)\s+\S+"
        r"|\bmysql\b[^\n|]*\s-p\S+"
        r"|\bsshpass\s+-p"
        r"|\bdocker login\b[^\n|]*\s(?:-p|--password)[ =]"
        r"|\brabbitmqctl (?:add_user|change_password)\s+\S+\s+\S+"
        r"|--from-literal=\S*"
        r"|-pass(?:in|out)?\s+pass:\S+"
        r"|\bhtpasswd\s+-\w*b"
        r"|\b(?:docker|podman)\s+run\b[^\n]*\s(?:-e|--env)[ =]\S*(?:KEY|SECRET|PASSWORD|TOKEN)=\S+"
        r"|(?<![\w-])--(?:password|passwd|requirepass|token|secret|api-key|client-secret|enrollment-key)[= ](?![-`|.,…])(?!does\b|or\b|and\b)[\w$\"']\S*",
        text,
    ):
        if not re.search(r"(?<![\w$])" + _PLACEHOLDER + r"[\"']?$", match[0]):
            yield f"a secret in arguments: {match[0].strip()}"
    for match in re.finditer(
        r"\b(?:psql|pg_dump|pg_restore|createdb|amqp\S*|redis-cli|nats)\b[^\n]*\s\w+://[^:\s/]+:(?!"
        + _PLACEHOLDER
        + r")[^@\s]+@",
        text,
    ):
        yield f"a password in an address in arguments: {match[0].strip()}"


@rule
def secrets_in_environments(text: str) -> Iterator[str]:
    """A secret that can be in a file is not set as a variable: environments are inherited, shown and committed."""
    # `X=…`, ENV X …, and "X": … in a program; in YAML as a key, or as a name next to a value.
    written = (
        rf"(?<![\w`])(?:(?:{_SECRETS})=|ENV (?:{_SECRETS})\s+|[\"'](?:{_SECRETS})[\"']\s*:\s*)(?P<value>\S*)"
    )
    for match in re.finditer(written, text):
        if not _IS_NO_SECRET.fullmatch(match["value"].strip("\"'")):
            yield f"a secret in the environment: {match[0]}"
    for manifest in _manifests(text):
        for key, value in [*_walk(manifest), *_named_values(manifest)]:
            if re.fullmatch(_SECRETS, key) and not _IS_NO_SECRET.fullmatch(str(value)):
                yield f"a secret in the environment: {key}"


_SECRETS = "|".join(
    [*SECRET_VARIABLES, "POSTGRES_PASSWORD", "PGPASSWORD", "REDISCLI_AUTH", "VAULT_TOKEN", "BAO_TOKEN"]
)
# A value whose refusal is shown, or none at all.
_IS_NO_SECRET = re.compile(r"(?:wrong|guess|)")


def _named_values(manifest: Any) -> Iterator[tuple[str, Any]]:
    """Yield pairs written in Kubernetes' way: `{name: X, value: …}`."""
    for _, value in _walk({"": manifest}):
        for entry in value if isinstance(value, list) else []:
            if isinstance(entry, dict) and "name" in entry and "value" in entry:
                yield str(entry["name"]), entry["value"]


@rule
def plain_http(text: str) -> Iterator[str]:
    """Plain HTTP to another machine can be read in transit; names of upstreams in the same text are not machines."""
    upstreams = set(re.findall(r"\bupstream (\w+)|^\s*backend (\w+)", text, re.MULTILINE))
    names = {name for pair in upstreams for name in pair if name}
    for match in re.finditer(r"\b(?:http|ws|amqp|redis|mqtt|ldap|nats)://[^\s\"'`<>)\]};,]+", text):
        try:
            host = urlsplit(match[0]).hostname or ""
        except ValueError:
            continue
        if host in names | _OURS or not re.search(r"[a-z0-9]", host) or host.startswith(("127.", "::1")):
            continue
        yield f"plain text to another machine: {match[0]}"


# The machine itself, and names that are compared and never connected to (an XML namespace).
_OURS = {"localhost", "www.w3.org"}


@rule
def checks_switched_off(text: str) -> Iterator[str]:
    """No text switches off a check that it needs."""
    for match in re.finditer(
        r"\b(?-i:curl\b[^\n|]*\s(?:-[a-zA-Z]*k[a-zA-Z]*|--insecure)(?=\s))|--no-check-certificate|--trusted-host|[?&]sslmode=(?:disable|allow|prefer|require)\b"
        r"|\bverify\s*=\s*False|InsecureSkipVerify:?\s*true|insecureSkipVerify|ssl_verify\s+off|verify none|StrictHostKeyChecking[= ]no"
        r"|(?:^|\$ |export |ENV |Environment=|-e )[\"']?LYFTDATA_(?:TLS_INSECURE|ALLOW_HTTP)=[\"']?(?:yes|true|on|1)"
        r"|chmod\s+(?:-R\s+)?(?:0?777|0?666|a\+rw|o\+w)|\bprivileged:\s*true|docker\.sock|network_mode:\s*host|hostNetwork:\s*true",
        text,
        re.IGNORECASE | re.MULTILINE,
    ):
        yield f"a check switched off: {match[0]}"


@rule
def databases_without_a_checked_certificate(text: str) -> Iterator[str]:
    """PostgreSQL's certificate is verified if it is on another machine; `database` is a container's name in the same file."""
    for match in re.finditer(r"\bpostgres(?:ql)?://[^\s\"'`)]+", text):
        try:
            host = urlsplit(match[0]).hostname or ""
        except ValueError:
            continue
        if "." in host and not host.startswith("127.") and "sslmode=verify-full" not in match[0]:
            yield f"PostgreSQL without a checked certificate: {match[0]}"


@rule
def secrets_in_readable_files(text: str) -> Iterator[str]:
    """A file with a secret is made with --output (0600), or with a umask that keeps other users out."""
    for match in re.finditer(
        r"lyftdata (?:enrollment (?:generate-key|issue)|api-key (?:issue|rotate)|resources issue-key|token issue)\b[^\n`|\"]*>\s*\S+",
        text,
    ):
        if "umask 077" not in text:
            yield f"a secret in a file that others can read: {match[0]}"


@rule
def secrets_that_a_shell_keeps(text: str) -> Iterator[str]:
    """A secret typed or pasted into a shell stays in its history, also in a here-document; and an existing file keeps its permissions."""
    for match in re.finditer(r"umask 0?77[;&\s]+(?:cat|tee)\b[^\n)]*", text):
        yield f"a file that is there keeps its permissions: {match[0]}"
    secret_file = r"[^\n|]*(?:\.key|\.secret|[/\s](?:key|secret|password|token))(?=[\s'\"`);]|$)"
    for match in re.finditer(
        rf"\bcat >{secret_file}[^\n]*<<|\bcreate secret\b[^\n]*<<|-stdin\b[^\n]*<<"
        rf"|\b(?:echo|printf)\s+(?![^\n]*\$)[^\n>|]*>{secret_file}",
        text,
    ):
        yield f"a secret in the shell's history: {match[0]}"


@rule
def ports_open_to_all(text: str) -> Iterator[str]:
    """A published port is reachable from this machine only, unless TLS ends there."""
    for manifest in _manifests(text):
        for key, value in _walk(manifest):
            if key == "ports" and isinstance(value, list):
                for port in value:
                    if isinstance(port, str) and not port.startswith(("127.0.0.1:", "443:", "0.0.0.0:443:")):
                        yield f"a port that other machines reach: {port}"


def _manifests(text: str) -> list[Any]:
    """Return the YAML in a text: all of it, or its blocks in a page or a here-document."""
    blocks = [
        *re.findall(r"```ya?ml\n(.*?)```", text, re.DOTALL),
        *re.findall(r"<<'END'\n(.*?)\nEND", text, re.DOTALL),
    ]
    found = []
    for block in blocks or ([text] if "\n" in text else []):
        try:
            found += [document for document in yaml.safe_load_all(block) if isinstance(document, dict)]
        except yaml.YAMLError:
            continue
    return found


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield str(key), below
            yield from _walk(below)
    elif isinstance(value, list):
        for below in value:
            yield from _walk(below)
