"""Developers can find out why a token was refused, though its sender cannot."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_log_says_why_a_token_was_refused():
    """With the lines of the how-to, it names the audience and issuer in the token and those that are expected."""
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
