"""Signatures of webhooks, verified with PyPI's `standardwebhooks`."""

from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.builders import seeded_bytes

from lyftdata.core.secret import Secret
from lyftdata.core.standard_webhooks import generate_webhook_secret, signed_headers

BODY = '{"type":"worker.renamed","data":{"name":"Grüße"}}'.encode()


def signed(*secrets, body=BODY):
    """Return the headers of a message that is signed now."""
    return signed_headers(body, message_id="evt_1", at=datetime.now(UTC), secrets=secrets)


def test_both_secrets_verify_a_message_during_a_rotation():
    """A receiver that still has the previous secret accepts it too; no other secret verifies it."""
    random = seeded_bytes()
    new, previous, other = (generate_webhook_secret(random) for _ in range(3))
    headers = signed(new, previous)

    for secret in (new, previous):
        assert Webhook(secret.reveal()).verify(BODY, headers)["type"] == "worker.renamed"
    with pytest.raises(WebhookVerificationError):
        Webhook(other.reveal()).verify(BODY, headers)


@pytest.mark.parametrize(
    "changes",
    [{"webhook-id": "evt_2"}, {"webhook-timestamp": "1"}, {"webhook-signature": "v1,AAAA"}],
)
def test_a_changed_message_is_rejected(changes):
    """ID and time are signed together with the body."""
    secret = generate_webhook_secret(seeded_bytes())

    with pytest.raises(WebhookVerificationError):
        Webhook(secret.reveal()).verify(BODY, signed(secret) | changes)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret.reveal()).verify(BODY + b" ", signed(secret))


def test_signatures_match_the_published_example():
    """The vector of the library's README: `msg_p5jXN8AQM9LWM0D4loKWxJek` at 1614265330."""
    headers = signed_headers(
        b'{"test": 2432232314}',
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        at=datetime.fromtimestamp(1614265330, UTC),
        secrets=[Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
    )

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
