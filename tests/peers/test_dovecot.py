"""Dovecot as a client of introspection (RFC 7662): Workers log in to IMAP with their token, with the files of examples/dovecot."""

import imaplib
import os
import pwd
import ssl
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.certificates import issued
from tests.peers.proxies import Peer, example, program
from tests.processes import PASSWORD, STARTED, Host, Site, free_port, until

AUDIENCE = "https://mail.example.com"

CONFIGURATION = """\
protocols = imap
listen = 127.0.0.1
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/dovecot.log
ssl = no
disable_plaintext_auth = no
default_internal_user = {internal}
default_login_user = {login}
default_internal_group = {group}
mail_location = maildir:{root}/mail/%u
first_valid_uid = 1
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={root}/mail/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
# By default failed logins are delayed: each refusal in the tests would take up to 15 seconds.
auth_failure_delay = 0
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
!include {root}/lyftdata.conf
"""


class Mail:
    """A Server with TLS, a resource for it, and a Dovecot that asks the Server."""

    def __init__(self, root: Path, place: Path) -> None:
        path = program("dovecot", "dovecot-imapd")
        if os.geteuid() != 0:
            pytest.skip("Dovecot is started as root, which drops its rights itself")
        self.authority, cert, key = issued(root)
        self.trusted = ssl.create_default_context(cafile=self.authority)
        self.site = Site(root, LYFTDATA_TLS_CERT=str(cert), LYFTDATA_TLS_KEY=str(key))
        self.url = f"https://localhost:{self.site.port}"
        trusting = {"LYFTDATA_URL": self.url, "LYFTDATA_TLS_CA": str(self.authority)}
        self.operator = Host(root / "operator-tls", **trusting)
        self.operator.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        self.operator.done("resources", "add", "mail", "--audience", AUDIENCE, "--all-workers")
        resource_key = self.operator.done("resources", "issue-key", "mail").strip()
        (place / "ca.pem").write_bytes(self.authority.read_bytes())
        changes = {
            "lyftdata.example.com": f"localhost:{self.site.port}",
            ":KEY@": f":{resource_key}@",
            "/etc/ssl/certs/ca-certificates.crt": str(place / "ca.pem"),
        }
        secret = place / "lyftdata-oauth2.conf.ext"
        secret.write_text(example("dovecot/lyftdata-oauth2.conf.ext", changes))
        secret.chmod(0o640)
        dovecot = pwd.getpwnam("dovecot")
        os.chown(secret, 0, dovecot.pw_gid)
        (place / "lyftdata.conf").write_text(
            example("dovecot/lyftdata.conf", {"/etc/dovecot/lyftdata-oauth2.conf.ext": str(secret)})
        )
        (place / "mail").mkdir()
        user = pwd.getpwnam("mail")
        os.chown(place / "mail", user.pw_uid, user.pw_gid)
        self.port = free_port()
        self.log_file = place / "dovecot.log"
        (place / "dovecot.conf").write_text(
            CONFIGURATION.format(
                root=place,
                port=self.port,
                internal="dovecot",
                login="dovenull",
                group="dovecot",
                uid=user.pw_uid,
                gid=user.pw_gid,
            )
        )
        self.configuration = str(place / "dovecot.conf")
        log = place / "peer"
        log.mkdir()
        self.peer = Peer([path, "-F", "-c", str(place / "dovecot.conf")], root=log, port=self.port)
        self.keys: dict[str, str] = {}

    def add_worker(self, worker_id: str = "") -> str:
        """Add a Worker with its own API key; return its ID."""
        worker_id = worker_id or f"w-{uuid.uuid4().hex[:8]}"
        added = self.operator.done("workers", "add", worker_id, "--id", worker_id, "--issue-key")
        self.keys[worker_id] = added.strip()
        return worker_id

    def ask_for_token(self, worker_id: str, audience: str = AUDIENCE) -> httpx2.Response:
        """Request a worker token."""
        form = {"grant_type": "client_credentials"} | ({"resource": audience} if audience else {})
        return httpx2.post(
            f"{self.url}/oauth2/token",
            auth=(worker_id, self.keys[worker_id]),
            data=form,
            verify=self.trusted,
            timeout=180,
        )

    def token(self, worker_id: str, audience: str = AUDIENCE) -> str:
        """Return a worker token."""
        answer = self.ask_for_token(worker_id, audience)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def log_in(self, user: str, token: str, mechanism: str = "OAUTHBEARER") -> imaplib.IMAP4:
        """Log in with SASL; raises imaplib.IMAP4.error if Dovecot refuses."""
        introspection = {
            "OAUTHBEARER": f"n,a={user},\x01auth=Bearer {token}\x01\x01",
            "XOAUTH2": f"user={user}\x01auth=Bearer {token}\x01\x01",
        }[mechanism]
        imap = imaplib.IMAP4("127.0.0.1", self.port, timeout=180)
        try:
            # On a refusal Dovecot sends an error challenge and waits for a response (RFC 7628, section 3.2.3).
            answers = iter([introspection.encode(), b"\x01"])
            imap.authenticate(mechanism, lambda _challenge: next(answers))
        except BaseException as error:
            imap.shutdown()
            # This would not be a refusal: Dovecot could not ask the Server.
            assert "UNAVAILABLE" not in str(error), self.log_file.read_text(encoding="utf-8")[-3_000:]
            raise
        return imap

    def is_let_in(self, user: str, token: str, mechanism: str = "OAUTHBEARER") -> bool:
        """Return whether Dovecot lets a user in."""
        try:
            imap = self.log_in(user, token, mechanism)
        except imaplib.IMAP4.error:
            return False
        imap.logout()
        return True

    def close(self) -> None:
        """End Dovecot and the Server."""
        self.peer.close()
        self.site.server.kill()
        STARTED.remove(self.site.server)


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """Return a Dovecot that asks a Server; its processes run as users who cannot read pytest's directories."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        made = Mail(tmp_path_factory.mktemp("mail"), Path(place))
        yield made
        made.close()


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_a_worker_logs_in_with_its_token(mail, mechanism):
    """With either SASL mechanism, as the user named like its ID; it then has a mailbox."""
    worker = mail.add_worker()

    imap = mail.log_in(worker, mail.token(worker), mechanism)

    assert imap.select("INBOX")[0] == "OK"
    imap.logout()


def test_a_token_is_for_one_user(mail):
    """It is refused with another Worker's ID, and with its own ID in another case, which Dovecot would treat as another user."""
    lower, mixed = mail.add_worker("press-a"), mail.add_worker("Press-B")
    other = mail.add_worker()

    assert mail.is_let_in(mixed, mail.token(mixed))
    assert mail.is_let_in(lower, mail.token(lower))
    for user, worker in ((other, lower), ("Press-A", lower), ("PRESS-A", lower), ("press-b", mixed)):
        assert not mail.is_let_in(user, mail.token(worker)), (user, worker)


def test_inactive_tokens_are_refused(mail):
    """Tokens for the Server or another service, with a wrong signature or revoked are refused, and so is text that is not a token."""
    worker = mail.add_worker()
    mail.operator.done(
        "resources", "add", f"r-{worker}", "--audience", "https://else.example", "--all-workers"
    )
    good, revoked = mail.token(worker), mail.token(worker)
    answer = httpx2.post(
        f"{mail.url}/oauth2/revoke",
        auth=(worker, mail.keys[worker]),
        data={"token": revoked},
        verify=mail.trusted,
        timeout=180,
    )
    assert answer.status_code == 200

    assert mail.is_let_in(worker, good)
    for token in (
        mail.token(worker, ""),
        mail.token(worker, "https://else.example"),
        f"{good[:-4]}AAAA",
        revoked,
        mail.keys[worker],
        "nonsense",
    ):
        assert not mail.is_let_in(worker, token)


def test_a_revoked_worker_cannot_log_in_again(mail):
    """It is refused although its token has not expired; an open session stays until an operator kicks it."""
    worker = mail.add_worker()
    token = mail.token(worker)
    imap = mail.log_in(worker, token)

    mail.operator.done("workers", "disable", worker, "--yes")

    assert not mail.is_let_in(worker, token)
    assert imap.noop()[0] == "OK"
    disconnected_by_operator = subprocess.run(
        [program("doveadm", "dovecot-core"), "-c", mail.configuration, "kick", worker],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert disconnected_by_operator.returncode == 0, disconnected_by_operator.stderr
    until(lambda: not still_answers(imap), "the connection is closed")
    imap.shutdown()


def still_answers(imap: imaplib.IMAP4) -> bool:
    """Return whether a connection is still open."""
    try:
        imap.noop()
    except imaplib.IMAP4.abort:
        return False
    return True


def test_the_longest_token_logs_in(mail):
    """A token with the longest name, labels and scopes fits into what Dovecot reads from a client."""
    worker = mail.add_worker("w".ljust(64, "x"))
    mail.operator.done("workers", "rename", worker, "\U0001f600" * 64)
    mail.operator.done("workers", "label", worker, *(f"k{n:02}={'v' * 22}" for n in range(32)))
    scopes = [f"--scope={n:02}{'s' * 60}" for n in range(13)]
    mail.operator.done("resources", "set", "mail", *scopes)

    token = mail.token(worker)

    assert len(token) > 3_300
    assert mail.is_let_in(worker, token)


def test_no_secret_is_in_the_log(mail):
    """Dovecot logs neither tokens nor the resource's key."""
    worker = mail.add_worker()
    token = mail.token(worker)
    mail.is_let_in(worker, token)
    mail.is_let_in(worker, token[:-4] + "AAAA")

    # A separate process of Dovecot writes the log, after the client was answered.
    until(lambda: mail.log_file.read_text(errors="replace").count(worker) >= 2, "both logins are in the log")
    log = mail.log_file.read_text(errors="replace")
    assert token.split(".")[2][:40] not in log
    assert "lyftdata_" not in log


@pytest.mark.parametrize("name", ["lyftdata.conf", "lyftdata-oauth2.conf.ext"])
def test_the_page_shows_the_example(name):
    """The page shows the file that is tested here, verbatim."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "use-any-oauth-client.md"

    assert example(f"dovecot/{name}", {}) in page.read_text(encoding="utf-8")
