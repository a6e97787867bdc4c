"""`lyftdata keys`."""


def test_the_published_keys_are_listed(operator):
    """Each with its state."""
    listed = operator.json("keys", "list")

    assert "active" in {key["state"] for key in listed} or "signing" in {key["state"] for key in listed}
    assert all(key["kid"] in operator.done("keys", "list") for key in listed)


def test_withdrawing_a_leaked_key_needs_confirmation(operator):
    """Another key must start to sign at once; without a terminal it needs `--yes`."""
    (signing, *_) = operator.json("keys", "list")
    without_now = operator.run("keys", "rotate", "--withdraw", signing["kid"])
    assert (without_now.exit_code, "--withdraw needs --now" in without_now.errors) == (2, True)
    assert operator.run("keys", "rotate", "--now", "--withdraw", signing["kid"]).exit_code == 2

    rotated = operator.json("keys", "rotate", "--now", "--withdraw", signing["kid"], "--yes")

    assert signing["kid"] not in {key["kid"] for key in rotated}


def test_an_unknown_key_is_reported_before_the_question(operator):
    """An operator who mistyped it is not asked whether to withdraw it."""
    ended = operator.run("keys", "rotate", "--now", "--withdraw", "no-such-key", columns=80)

    assert ended.exit_code == 1
    assert "There is no 'no-such-key' in signing-keys." in ended.errors
    assert "Every token" not in ended.errors
