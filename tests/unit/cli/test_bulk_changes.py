"""Changes to all Workers that match a search: shown, confirmed, and made only for those."""


def test_all_workers_that_match_a_search_are_changed_and_undone(operator):
    """They are listed first; another number, no confirmation, or a mistyped search changes nothing."""
    for worker_id in [f"bulk-{n:02}" for n in range(12)]:
        operator.json("workers", "add", worker_id, "--id", worker_id)

    def states():
        return {worker["enabled"] for worker in operator.json("workers", "list", "id:bulk-")}

    where = ("workers", "disable", "--where", "id:bulk-", "--note", "power is off", "--until", "2h")
    for arguments, code, said in (
        (where, 2, "there is no terminal to ask"),
        ((*where, "--yes", "--expect", "11"), 1, "the search finds 12 Workers, and 11 were expected."),
        ((*where, "bulk-01", "--yes"), 2, "Give the IDs of Workers, or --where QUERY."),
        ((*where[:-1], "soon", "--yes"), 1, "must be a time such as"),
        (("workers", "disable"), 2, "Give the IDs of Workers, or --where QUERY."),
        (("workers", "delete", "--where", " ", "--yes"), 2, "--where is empty."),
        (("workers", "delete", "bulk-01", "--expect", "1", "--yes"), 2, "--expect goes with --where."),
        (("workers", "label", "--where", "id:bulk-", "rack=7", "--yes"), 2, "--where and --add go together"),
        (("workers", "label", "--where", "id:bulk-", "--add", "--yes"), 2, "Give the labels to add."),
        (("workers", "enable", "--where", "sttaus:x", "--yes"), 1, "is not understood at character 1"),
    ):
        ended = operator.run(*arguments)
        assert (ended.exit_code, said in ended.errors) == (code, True), (arguments, ended.errors)
    assert states() == {True}

    ended = operator.run(*where, "--yes", "--expect", "12")

    assert (ended.exit_code, ended.output) == (0, "")
    assert "The search finds 12 Workers:\n  bulk-00  bulk-00  never connected\n" in ended.errors
    assert "  bulk-09  bulk-09  never connected\n  and 2 more\n" in ended.errors
    assert "12 Workers disabled\n" in ended.errors
    assert states() == {False}
    worker = operator.json("workers", "show", "bulk-01")
    assert (worker["disabled_note"], bool(worker["disabled_until"])) == ("power is off", True)
    number = ended.errors.rstrip().rpartition("lyftdata workers undo ")[2]
    operator.done("workers", "enable", "bulk-03")
    undone = operator.run("workers", "undo", number)
    assert (undone.exit_code, undone.output) == (1, "11 Workers as before\n")
    assert undone.errors == "Error: bulk-03 was changed since: it stays as it is.\n"
    assert states() == {True}
