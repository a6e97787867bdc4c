"""Kubernetes's service variables are not mistaken for mistyped settings."""

import pytest

from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.worker.settings import read_worker_settings

# The variables of a service with a named port (k8s.io, "Accessing the Service": environment variables).
LINKS = {
    "{}_SERVICE_HOST": "10.96.14.3",
    "{}_SERVICE_PORT": "3000",
    "{}_SERVICE_PORT_HTTPS": "3000",
    "{}_PORT": "tcp://10.96.14.3:3000",
    "{}_PORT_3000_TCP": "tcp://10.96.14.3:3000",
    "{}_PORT_3000_TCP_PROTO": "tcp",
    "{}_PORT_3000_TCP_PORT": "3000",
    "{}_PORT_3000_TCP_ADDR": "10.96.14.3",
}
SIX = {
    "{}_SERVICE_HOST": "fd00::7:1",
    "{}_PORT": "tcp://[fd00::7:1]:3000",
    "{}_PORT_53_UDP": "udp://[fd00::7:1]:53",
    "{}_PORT_53_UDP_ADDR": "fd00::7:1",
}


@pytest.mark.parametrize("read", [read_server_settings, read_worker_settings])
@pytest.mark.parametrize("links", [LINKS, SIX], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    "service", ["LYFTDATA", "LYFTDATA_SERVER", "LYFTDATA_WORKER", "LYFTDATA_SERVER_HEADLESS_2"]
)
def test_service_variables_cause_no_warning(read, links, service):
    """On either side, however the service's name continues after the product's."""
    assert read({name.format(service): value for name, value in links.items()}).warnings == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LYFTDATA_PORT", "3000"),
        ("LYFTDATA_SERVICE_HOST", "lyftdata.example"),
        ("LYFTDATA_SERVICE", "10.96.14.3"),
        ("LYFTDATA_PORT_3000_TCP_SOCKET", "3000"),
        ("LYFTDATA_BIND_PORT", "3000"),
    ],
)
def test_a_mistyped_setting_that_looks_similar_causes_a_warning(name, value):
    """The form of the name alone is not enough."""
    (warning,) = read_server_settings({name: value}).warnings
    assert warning.startswith(f"{name} is not a setting and is ignored.")


def test_a_suggestion_is_a_setting_of_the_same_program():
    """A Worker gets no suggestion that only the Server has, and vice versa."""
    (warning,) = read_worker_settings({"LYFTDATA_TLS_CERTS": "x"}).warnings
    assert "LYFTDATA_TLS_CERT?" not in warning
    (warning,) = read_worker_settings({"LYFTDATA_WORKER_NAMES": "x"}).warnings
    assert warning.endswith("Did you mean LYFTDATA_WORKER_NAME?")
    (warning,) = read_server_settings({"LYFTDATA_TLS_CERTS": "x"}).warnings
    assert warning.endswith("Did you mean LYFTDATA_TLS_CERT?")
