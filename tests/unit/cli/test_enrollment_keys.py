"""`lyftdata enrollment issue`, `list`, `show`, `rotate`, `end-previous` and `revoke`."""


def test_only_the_enrollment_key_is_on_standard_output(operator):
    """Its rules go to standard error, in words."""
    ended = operator.run(
        "enrollment", "issue", "etl-hosts", "--uses", "2", "--worker-name", "etl-*", "--from", "10.4.0.0/16"
    )

    assert ended.exit_code == 0
    assert ended.output.startswith("lyftdata_enroll_")
    assert ended.output.count("\n") == 1
    assert (
        "Enrollment key etl-hosts issued: for Workers named etl-*, from 10.4.0.0/16, 2 Workers at most, without expiry."
        in ended.errors
    )
    assert ended.output.strip() not in operator.done("enrollment", "list")


def test_a_key_without_limits_is_issued_with_advice(operator):
    """It could enroll any number of Workers without an end."""
    ended = operator.run("enrollment", "issue", "all-hosts")

    assert "consider --uses and --expires" in ended.errors


def test_a_rotation_shows_when_the_old_enrollment_key_ends(operator):
    """`end-previous` ends it at once."""
    operator.done("enrollment", "issue", "old-hosts")

    operator.done("enrollment", "rotate", "old-hosts", "--grace", "24h", "--yes")

    (previous,) = operator.json("enrollment", "show", "old-hosts")["previous"]
    assert 86_000 < previous["ends_in_s"] <= 86_400
    assert "no host since the rotation" in operator.done("enrollment", "show", "old-hosts")
    ended = operator.run("enrollment", "end-previous", "old-hosts", "--yes")
    assert ended.errors == "Enrollment key old-hosts: only generation 2 works\n"
    assert operator.json("enrollment", "show", "old-hosts")["previous"] == []


def test_a_revoked_enrollment_key_is_shown_as_revoked(operator):
    """The Workers that it has enrolled stay."""
    operator.done("enrollment", "issue", "lost-hosts")

    ended = operator.run("enrollment", "revoke", "lost-hosts", "--yes")

    assert ended.errors == "Enrollment key lost-hosts revoked; 0 Workers that it has enrolled will stay\n"
    assert operator.json("enrollment", "show", "lost-hosts")["status"] == "revoked"


def test_a_key_in_mode_warn_says_what_it_admits(operator):
    """When it is issued and when it is shown."""
    ended = operator.run("enrollment", "issue", "warned-hosts", "--mode", "warn", "--from", "192.0.2.0/24")

    assert "also with other names and from other networks, which is recorded" in ended.errors
    assert "no rule to warn about" not in ended.errors
    assert "Against its rules" in operator.done("enrollment", "show", "warned-hosts")
    assert operator.json("enrollment", "show", "warned-hosts")["mode"] == "warn"
    bare = operator.run("enrollment", "issue", "bare-hosts", "--mode", "warn")
    assert "It has no rule to warn about: add --worker-name or --from." in bare.errors
