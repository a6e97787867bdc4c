"""Dovecot as a judge of introspection (RFC 7662): Workers log in at IMAP with their token, with the files of examples/dovecot."""

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
# Who guesses is slowed down: each refused login of the tests would take up to 15 seconds.
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
        """Add a Worker with a key of its own; return its ID."""
        worker_id = worker_id or f"w-{uuid.uuid4().hex[:8]}"
        added = self.operator.done("workers", "add", worker_id, "--id", worker_id, "--issue-key")
        self.keys[worker_id] = added.strip()
        return worker_id

    def ask_for_token(self, worker_id: str, audience: str = AUDIENCE) -> httpx2.Response:
        """Ask for a worker token."""
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
        """Log in by SASL; raises imaplib.IMAP4.error if Dovecot refuses."""
        introspection = {
            "OAUTHBEARER": f"n,a={user},\x01auth=Bearer {token}\x01\x01",
            "XOAUTH2": f"user={user}\x01auth=Bearer {token}\x01\x01",
        }[mechanism]
        imap = imaplib.IMAP4("127.0.0.1", self.port, timeout=180)
        try:
            # Of a refusal Dovecot tells more, and waits for an answer (RFC 7628, section 3.2.3).
            answers = iter([introspection.encode(), b"\x01"])
            imap.authenticate(mechanism, lambda _challenge: next(answers))
        except BaseException as error:
            imap.shutdown()
            # Not a refusal: Dovecot could not ask.
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
        """End both."""
        self.peer.close()
        self.site.server.kill()
        STARTED.remove(self.site.server)


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """Return a Dovecot that asks a Server; its processes are of users whom pytest's directories keep out."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        made = Mail(tmp_path_factory.mktemp("mail"), Path(place))
        yield made
        made.close()


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_a_worker_logs_in_with_its_token(mail, mechanism):
    """By either SASL mechanism, as the user that its ID names; then it has a mailbox."""
    worker = mail.add_worker()

    imap = mail.log_in(worker, mail.token(worker), mechanism)

    assert imap.select("INBOX")[0] == "OK"
    imap.logout()


def test_a_token_is_for_one_user(mail):
    """With another Worker's ID it is refused; also with its own ID in another case, by which Dovecot would know it as another user."""
    lower, mixed = mail.add_worker("press-a"), mail.add_worker("Press-B")
    other = mail.add_worker()

    assert mail.is_let_in(mixed, mail.token(mixed))
    assert mail.is_let_in(lower, mail.token(lower))
    for user, worker in ((other, lower), ("Press-A", lower), ("PRESS-A", lower), ("press-b", mixed)):
        assert not mail.is_let_in(user, mail.token(worker)), (user, worker)


def test_tokens_that_are_not_active_are_refused(mail):
    """For the Server itself or another service, with a wrong signature, taken back, and text that is no token."""
    worker = mail.add_worker()
    mail.operator.done(
        "resources", "add", f"r-{worker}", "--audience", "https://else.example", "--all-workers"
    )
    good, taken_back = mail.token(worker), mail.token(worker)
    answer = httpx2.post(
        f"{mail.url}/oauth2/revoke",
        auth=(worker, mail.keys[worker]),
        data={"token": taken_back},
        verify=mail.trusted,
        timeout=180,
    )
    assert answer.status_code == 200

    assert mail.is_let_in(worker, good)
    for token in (
        mail.token(worker, ""),
        mail.token(worker, "https://else.example"),
        f"{good[:-4]}AAAA",
        taken_back,
        mail.keys[worker],
        "nonsense",
    ):
        assert not mail.is_let_in(worker, token)


def test_a_revoked_worker_does_not_log_in_again(mail):
    """From that moment on, although its token has not ended; what is logged in already stays until it is kicked."""
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
    """Name, labels and scopes at their longest still fit into what Dovecot reads of a client."""
    worker = mail.add_worker("w".ljust(64, "x"))
    mail.operator.done("workers", "rename", worker, "\U0001f600" * 64)
    mail.operator.done("workers", "label", worker, *(f"k{n:02}={'v' * 22}" for n in range(32)))
    scopes = [f"--scope={n:02}{'s' * 60}" for n in range(13)]
    mail.operator.done("resources", "set", "mail", *scopes)

    token = mail.token(worker)

    assert len(token) > 3_300
    assert mail.is_let_in(worker, token)


def test_no_secret_is_in_the_log(mail):
    """Neither tokens nor the resource's key."""
    worker = mail.add_worker()
    token = mail.token(worker)
    mail.is_let_in(worker, token)
    mail.is_let_in(worker, token[:-4] + "AAAA")

    # A process of Dovecot's own writes it, after the client was answered.
    until(lambda: mail.log_file.read_text(errors="replace").count(worker) >= 2, "both logins are in the log")
    log = mail.log_file.read_text(errors="replace")
    assert token.split(".")[2][:40] not in log
    assert "lyftdata_" not in log


@pytest.mark.parametrize("name", ["lyftdata.conf", "lyftdata-oauth2.conf.ext"])
def test_the_page_shows_the_example(name):
    """What a reader copies is what was tried here."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "use-any-oauth-client.md"

    assert example(f"dovecot/{name}", {}) in page.read_text(encoding="utf-8")
