"""A Worker whose new tokens are rejected, because a real proxy has two deployments behind one address."""

import os
from pathlib import Path

import httpx2
from tests.peers.proxies import Peer, program
from tests.processes import Site, end_started, free_port

CONFIGURATION = """\
{user}daemon off; worker_processes 1; pid {root}/pid; error_log stderr; events {{}}
http {{
    access_log off;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /oauth2/ {{ proxy_pass http://127.0.0.1:{tokens}; }}
        location / {{ proxy_pass http://127.0.0.1:{sessions}; }}
    }}
}}
"""


def test_a_worker_whose_new_tokens_are_rejected_reports_it_and_backs_off(tmp_path: Path):
    """Its log has the reference by which the operator finds the refusal, and each wait is at least as long as the one before."""
    port = free_port()
    url = {"LYFTDATA_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    gives, rejects = Site(tmp_path / "gives", **url), Site(tmp_path / "rejects", **url)
    key = gives.sign_in().done("workers", "add", "press", "--id", "press-01", "--issue-key").strip()
    rejects.sign_in().done("workers", "add", "press", "--id", "press-01")
    user = "user root;\n" if os.geteuid() == 0 else ""
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx.conf").write_text(
        CONFIGURATION.format(
            user=user, root=tmp_path / "nginx", port=port, tokens=gives.port, sessions=rejects.port
        )
    )
    command = [program("nginx", "nginx"), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    nginx = Peer(command, root=tmp_path / "nginx", port=port)
    try:
        host = gives.worker_host(
            "worker",
            LYFTDATA_URL=nginx.url,
            LYFTDATA_WORKER_ID="press-01",
            LYFTDATA_WORKER_API_KEY=key,
        )
        worker = host.start("run", "worker")
        last = worker.wait_for("token_rejected", count=4)

        shown = rejects.operator.json("refusals", "show", last["reference"])
        assert (shown["code"], shown["claimed_worker"]) == ("wrong_token", "press-01")
        assert worker.terminate() == 0
        reported = worker.events("token_rejected")
        waits = [event["wait_s"] for event in reported[:4]]
        assert waits == sorted(waits)
        # One for each report, one for the first rejection, which is not reported, and perhaps one when the Worker was stopped.
        assert signed_by(gives) - len(reported) in {1, 2}
    finally:
        nginx.close()
        end_started()


def signed_by(site: Site) -> int:
    """Return how many tokens a Server has signed."""
    lines = httpx2.get(f"{site.url}/metrics", timeout=180).text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("lyftdata_tokens_total{"))
