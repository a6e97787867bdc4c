"""`lyftdata servers`."""


def test_the_server_that_answers_is_marked(listening, operator):
    """Its address is the one on which it listens."""
    (server,) = operator.json("servers", "list")

    assert server["is_this"]
    assert str(listening.port) in server["address"]
    assert "this one" in operator.done("servers", "list")
