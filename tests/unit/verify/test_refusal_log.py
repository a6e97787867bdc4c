"""A developer finds out why a token was refused, though its sender does not."""

import re
import subprocess
import sys
from pathlib import Path


def test_what_was_seen_and_what_is_expected_stand_in_the_log():
    """By the lines of the how-to the log says why a token was refused: for whom it is, and who this service is."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "check-workers-in-a-service.md"
    section = page.read_text(encoding="utf-8").partition("## See why a token was refused")[2]
    block = section.partition("```python\n")[2].partition("```")[0]
    program = (
        block
        + "from lyftdata.testing import FakeServer, wsgi_client\n"
        + "from lyftdata.verify import WorkerVerifier\n"
        + "from lyftdata.verify.wsgi import WorkerAuthMiddleware\n"
        + "with FakeServer() as server:\n"
        + "    for issuer, audience in ((server.issuer, 'https://other.example'), ('https://elsewhere.example', server.issuer)):\n"
        + "        verifier = WorkerVerifier(issuer, audience=audience, server_url=server.url)\n"
        + "        app = WorkerAuthMiddleware(lambda *_: [], verifier=verifier)\n"
        + "        assert wsgi_client(app, token=server.token()).get('/').status_code in {401, 503}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert re.search(
        r"INFO:lyftdata\.verify:worker_refused: .* code='wrong_audience' reason='It is meant for http://127\S+, and this "
        r"service is https://other\.example\.'",
        done.stderr,
    )
    assert re.search(
        r"WARNING:lyftdata\.verify:.*calls itself http://127\S+, and the issuer asked for", done.stderr
    )
