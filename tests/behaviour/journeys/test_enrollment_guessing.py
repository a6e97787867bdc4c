"""Guessing the enrollment key of a running Server."""

import httpx2
from tests.builders import ENROLLMENT_KEY


def test_a_worker_at_a_guessers_address_waits_and_then_enrolls(open_site):
    """Guesses end in 429; an agent with the right key waits as the Server says, and is online without help."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    site.sign_in()
    host = site.worker_host("a", LYFTDATA_WORKER_NAME="press", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    wrong = {"Authorization": f"Bearer {'w' * 40}"}
    with httpx2.Client(base_url=site.url, trust_env=False, timeout=180) as guesser:
        # After the first twenty, one attempt every three seconds is still checked.
        answers = [guesser.post("/oauth2/register", json={}, headers=wrong) for _ in range(200)]
        assert [answer.status_code for answer in answers[:20]] == [401] * 20
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1
        agent = host.start("run", "worker")
        agent.wait_for("online")

    cause = site.operator.json("refusals", "show", answers[-1].json()["reference"])
    assert cause["code"] == "enrollment_rate_limited"
    assert "block the address" in cause["remedy"]
