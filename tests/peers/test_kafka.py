"""librdkafka gets a token with its own OIDC method, which can send a scope but no resource, and logs in with it."""

import contextlib
import logging
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer
from tests.peers.kafka_logins import KafkaLogins
from tests.processes import STARTED, WITHIN_S, Site, until

from lyftdata.verify import WorkerVerifier

AUDIENCE = "kafka"


# --- configuration: the pages show this part --- [configuration]
def kafka_settings(server_url: str, worker_id: str, api_key: str, scope: str) -> dict[str, str]:
    """For any client that is built on librdkafka; `https.ca.location` names a CA of your own."""
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": f"{server_url}/oauth2/token",
        "sasl.oauthbearer.client.id": worker_id,
        "sasl.oauthbearer.client.secret": api_key,
        # It can send no resource: a scope that one resource of this Worker has, and no other, names it.
        "sasl.oauthbearer.scope": scope,
    }


# --- [/configuration]


class Deployed:
    """A Server with a Worker, a resource for Kafka and another resource."""

    def __init__(self, root: Path) -> None:
        self.site = Site(root)
        self.operator = self.site.sign_in()
        self.operator.done("workers", "add", "press", "--id", "press-01")
        self.key = self.operator.done("api-key", "issue", "press-key", "--worker", "press-01").strip()
        for name, scope in ((AUDIENCE, "kafka:produce"), ("files", "files:read")):
            self.operator.done(
                "resources", "add", name, "--audience", name, "--worker", "press-01", "--scope", scope
            )

    def close(self) -> None:
        """End the Server."""
        self.site.server.kill()
        STARTED.remove(self.site.server)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Return a Server for the whole module."""
    made = Deployed(tmp_path_factory.mktemp("kafka"))
    yield made
    made.close()


@pytest.fixture
def logins(deployed: Deployed) -> Iterator[KafkaLogins]:
    """Return the login of a broker, for one test."""
    made = KafkaLogins(WorkerVerifier(deployed.site.url, audience=AUDIENCE))
    yield made
    made.close()


class Lines(logging.Handler):
    """Keeps the lines that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


class Client:
    """A real producer, its log, and the errors that it reports to its program."""

    def __init__(
        self, deployed: Deployed, logins: KafkaLogins, *, scope: str, key: str | None = None
    ) -> None:
        self.log = Lines()
        self.errors: list[KafkaError] = []
        logger = logging.getLogger(f"kafka.{logins.address}")
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self.log)
        settings: dict[str, Any] = kafka_settings(
            deployed.site.url, "press-01", key or deployed.key, scope
        ) | {
            # On loopback without TLS.
            "security.protocol": "SASL_PLAINTEXT",
            "bootstrap.servers": logins.address,
            "debug": "security,broker",
            "error_cb": self.errors.append,
        }
        self.producer = Producer(settings, logger=logger)

    def wait_for(self, text: str) -> None:
        """Wait until the client has logged this text."""
        until(lambda: self.has_logged(text), f"librdkafka logs {text!r}: {self.log.lines[-20:]}")

    def has_logged(self, text: str) -> bool:
        """Let the client work, and return whether it has logged this text."""
        self.producer.poll(0.1)
        return any(text in line for line in self.log.lines)

    def refusal(self) -> KafkaError:
        """Wait until the client reports that it gets no token; return the error."""

        def found() -> KafkaError | None:
            self.producer.poll(0.1)
            wanted = KafkaError._AUTHENTICATION
            return next((error for error in self.errors if error.code() == wanted), None)

        error = until(found, "librdkafka reports that it gets no token")
        assert isinstance(error, KafkaError)
        return error


def test_it_logs_in_with_a_token_for_the_one_resource_of_its_scope(deployed, logins):
    """The client logs in, and its token is the Worker's, for the broker, with this scope."""
    client = Client(deployed, logins, scope="kafka:produce")
    client.wait_for("after setting OAUTHBEARER token")
    client.wait_for("Broker changed state AUTH_REQ -> UP")

    worker = logins.admitted.get(timeout=WITHIN_S)
    assert (worker.worker_id, worker.audience, worker.scopes) == ("press-01", AUDIENCE, {"kafka:produce"})


def test_a_token_for_another_resource_is_refused(deployed, logins):
    """A scope of another service gives a token for that service, which the broker refuses."""
    client = Client(deployed, logins, scope="files:read")
    client.wait_for("SASL authentication error")

    assert logins.refused.get(timeout=WITHIN_S) == "wrong_audience"
    with contextlib.suppress(queue.Empty):
        raise AssertionError(logins.admitted.get_nowait())


@pytest.mark.parametrize(
    ("scope", "key", "reason"),
    [("kafka:delete", None, "invalid_scope"), ("kafka:produce", "wrong", "invalid_client")],
)
def test_the_program_learns_why_there_is_no_token(deployed, logins, scope, key, reason):
    """For a scope that no resource of this Worker has, and for a wrong key, the program gets an error with the Server's code."""
    assert reason in Client(deployed, logins, scope=scope, key=key).refusal().str()
