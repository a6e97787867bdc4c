"""Guessing the enrollment key of a running Server."""

import httpx2
from tests.builders import ENROLLMENT_KEY


def test_a_worker_in_a_guessers_network_waits_and_enrolls_by_itself(open_site):
    """Guesses on one connection end in 429; the agent with the right key is told to wait, does, and is online."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    site.sign_in()
    host = site.worker_host("a", LYFTDATA_WORKER_NAME="press", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    wrong = {"Authorization": f"Bearer {'w' * 40}"}
    with httpx2.Client(base_url=site.url, trust_env=False, timeout=180) as guesser:
        # Beyond the twenty, as many as are let in while these are sent: one every three seconds.
        answers = [guesser.post("/oauth2/register", json={}, headers=wrong) for _ in range(200)]
        assert [answer.status_code for answer in answers[:20]] == [401] * 20
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1
        agent = host.start("run", "worker")
        agent.wait_for("online")

    cause = site.operator.json("refusals", "show", answers[-1].json()["reference"])
    assert cause["code"] == "enrollment_rate_limited"
    assert "block the address" in cause["remedy"]
