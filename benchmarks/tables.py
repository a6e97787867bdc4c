"""
Rewrites the tables of `docs/explanation/measurements.md` and `a-million-workers.md` from `benchmarks/results/`, between two marks.

    make bench-tables
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.harness import HERE, RESULTS, load

PAGE = HERE.parent / "docs" / "explanation" / "measurements.md"
ON_PAPER = HERE.parent / "docs" / "explanation" / "a-million-workers.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


# Clearer names for effects of a revocation than those in the results.
_EFFECTS = {"told": "the Worker's poll is answered"}


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), ["---"] * len(list(head)), *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def tokens(found: dict[str, Any]) -> str:
    """Compare tokens side by side."""
    medians = found["medians"]
    by_assertion = medians["lyftdata, private_key_jwt"]["per_s"] / medians["lyftdata"]["per_s"]
    rows = [
        (name, f"{n['per_s']:,.0f}", f"{n['p50_ms']:.1f}", f"{n['p99_ms']:.1f}", f"{n['cpu_us_each']:,.0f}")
        for name, n in medians.items()
    ]
    return (
        table(("server", "tokens/s per core", "p50 ms", "p99 ms", "CPU µs a token"), rows)
        + f"\n{found['ratio_to_oidc_provider']:.2f} times the tokens of oidc-provider (goal: 3.5, or 2.5 on a slow machine), at "
        f"{found['p99_share_of_oidc_provider']:.2f} of its p99 (goal: 0.33). With `private_key_jwt`, {by_assertion:.2f} times the tokens "
        f"by API key (goal: 0.7). {found['workers']:,} clients in turn, 64 connections, every answer checked.\n\n"
        "![Tokens a second](../images/bench-tokens.png)\n"
    )


def verify(found: dict[str, Any]) -> str:
    """Show the verification of a repeated token."""
    rows = [
        (name, f"{n['per_s']:,.0f}", f"{n['p99_ms']:.1f}", f"{n['cpu_us_each']:,.0f}")
        for name, n in found["medians"].items()
    ]
    ratios = ", ".join(f"{value:.2f} × {name.removeprefix('to ')}" for name, value in found["ratios"].items())
    library = found["library"]
    return (
        table(("route", "requests/s per core", "p99 ms", "CPU µs each"), rows)
        + f"\n`/auth/verify` is {ratios} (goal: 0.8 of plain ASGI). The library takes {library['repeated_us']:.1f} µs for a token that it "
        f"has seen (goal: 3) and {library['first_us']:.0f} for a new one, where ES256 alone takes {library['es256_alone_us']:.0f}.\n"
    )


def enrollments(found: dict[str, Any]) -> str:
    """Compare enrollments side by side."""
    rows = [
        (name, f"{n['per_s']:,.0f}", f"{n['p99_ms']:.1f}", f"{n['cpu_us_each']:,.0f}")
        for name, n in found["medians"].items()
    ]
    ratio = found["ratio_to_oidc_provider"]
    return table(("server", "enrollments/s per core", "p99 ms", "CPU µs each"), rows) + (
        f"\n{ratio:.2f} times oidc-provider's (goal: 1.2).\n"
    )


def growth(found: dict[str, Any]) -> str:
    """Show tokens by size of the fleet."""
    rows = [
        (
            name,
            f"{n['per_s']:,.0f}",
            f"{n['cpu_us_each']:,.0f}",
            f"{found['facts'][name]['resident_mb']:,.0f}",
            f"{found['facts'][name]['ready_s']:.1f}",
        )
        for name, n in found["medians"].items()
    ]
    return table(("fleet", "tokens/s", "CPU µs a token", "memory MB", "ready after s"), rows) + (
        f"\n{found['change']:+.1%} from 100 to 100,000 entries (goal: within 10 %). Goals with 100,000: 200 MB, ready after 2 s.\n"
    )


def polls(found: dict[str, Any]) -> str:
    """Show connected Workers."""
    rows = [
        (
            name,
            f"{n['kb_each']:.1f}",
            f"{n['poll_cpu_us']:,.0f}",
            f"{n['median_told_s']:.2f}",
            f"{n['all_told_s']:.2f}",
        )
        for name, n in found["medians"].items()
    ]
    return table(
        ("stopped by", "KB a Worker", "CPU µs a poll", "half notified after s", "all notified after s"), rows
    ) + (f"\n{found['workers']:,} real long polls on one process (goals: 25 KB, 0.5 s).\n")


def revocation(found: dict[str, Any]) -> str:
    """Show the time from revocation to effect."""
    rows = [
        (
            _EFFECTS.get(name, name),
            f"{n['samples']:.0f}",
            f"{n['median_ms']:.0f}",
            f"{n['p99_ms']:.0f}",
            f"{n['max_ms']:.0f}",
        )
        for name, n in found["found"].items()
    ]
    return table(("effect", "samples", "median ms", "p99 ms", "longest ms"), rows) + (
        "\nGoals for p99: 50 ms at the same Server, 500 at another, 1,000 for the program.\n"
    )


def processes(found: dict[str, Any]) -> str:
    """Compare one process and two."""
    rows = [
        (
            name,
            f"{n['per_s']:,.0f}",
            f"{n['p99_ms']:.1f}",
            f"{n['cpu_us_each']:,.0f}",
            f"{n['load_cpu_share']:.2f}",
        )
        for name, n in found["medians"].items()
    ]
    delay = found["revocation"]
    return table(
        ("the Server is", "tokens/s", "p99 ms", "CPU µs a token", "cores taken by the load"), rows
    ) + (
        f"\n{found['ratio_by_cpu_time']:.2f} times the tokens of one process on two whole cores, by processor time a token (goal: 1.8); "
        f"{found['rate_ratio']:.2f} times as measured, where the load shares the two cores with the processes. {found['workers']:,} Workers in turn, 64 "
        "connections, one database, every answer checked; medians of "
        f"{found['rounds']} rounds in turn. A Worker disabled at one process is refused by `/auth/verify` at the other after "
        f"{delay['median_ms']:.0f} ms (p99 {delay['p99_ms']:.0f}, longest {delay['max_ms']:.0f}, of {delay['samples']}; goal: 1,000).\n"
    )


def restart(found: dict[str, Any]) -> str:
    """Show the return after a restart."""
    n = found["medians"]
    rows = [
        ("Server ready again", f"{n['ready_s']:.1f} s"),
        ("half online", f"{n['half_back_s']:.1f} s"),
        ("all online (goal: 5 s)", f"{n['all_back_s']:.1f} s"),
        ("most requests in a second (goal: 2,000)", f"{n['peak_requests_per_s']:,.0f}"),
        ("requests a second, once all are back: mean, most", f"{n['mean_requests_per_s_after']:,.0f}, {n['peak_requests_per_s_after']:,.0f}"),
        ("answers other than success and 'come back'", f"{n['unexpected_answers']:.0f}"),
    ]  # fmt: skip
    return (
        table((f"{found['workers']:,} Workers, since the Server was told to stop", ""), rows)
        + "\n![Requests by second](../images/bench-restart.png)\n"
    )


def million(found: dict[str, Any]) -> str:
    """Show the simulation's results."""
    costs, check = found["costs"], found["check"]
    both = [
        (name, f"{numbers['all_back_s']:.0f}", f"{numbers['requests_per_s_after']:.0f}")
        for name, numbers in check.items()
    ]
    calm, back = [], []
    for workers, numbers in found["fleets"].items():
        now = numbers["calm"]
        calm.append(
            (
                f"{int(workers):,}",
                numbers["servers_in_calm"],
                f"{now['busy_share']:.0%}",
                f"{now['requests_per_s']:,.0f}",
                f"{now['rows_per_s']:,.0f}",
                f"{numbers['memory_gb']:.1f}",
            )
        )
        for servers, storm in numbers["storm"].items():
            taken, alone = storm["all_back_s"], storm["all_back_s_if_nobody_is_turned_away"]
            back.append(
                (
                    f"{int(workers):,}",
                    servers,
                    f"{taken:.0f}" if taken else "not within 300",
                    f"{storm['turned_away']:,.0f}",
                    f"{storm['longest_queue']:,.0f}",
                    f"{storm['most_rows_per_s']:,.0f}",
                    f"{alone:.0f}" if alone else "not within 300",
                )
            )
    return (
        f"A token {costs['token_s'] * 1e6:.0f} µs, a poll {costs['poll_s'] * 1e6:.0f} µs, {costs['kb_each']:.1f} KB a held poll. "
        f"The model compared with the measurement, {load('restart')['workers']:,} Workers that come back to one Server:\n\n"
        + table(("", "all back s", "requests/s after that"), both)
        + "\nIn normal operation:\n\n"
        + table(("Workers", "Servers (1, 2, 4, …)", "busy", "requests/s", "rows/s", "memory GB"), calm)
        + "\nAfter an hour without any Server:\n\n"
        + table(
            (
                "Workers",
                "Servers",
                "all back s",
                "answered 503",
                "longest queue",
                "most rows/s",
                "all back s, without load shedding",
            ),
            back,
        )
    )


TITLES: dict[Callable[[dict[str, Any]], str], str] = {
    tokens: "Tokens, side by side",
    verify: "A token that was seen before",
    enrollments: "Enrollments",
    growth: "As the fleet grows",
    polls: "Connected Workers",
    revocation: "From revocation to effect",
    processes: "One Server as two processes",
    restart: "Everyone back after a restart",
}


def main() -> None:
    """Write the pages."""
    parts = []
    for render, title in TITLES.items():
        name = render.__name__
        if not (RESULTS / f"{name}.json").exists():
            continue
        found = load(name)
        preliminary = " Preliminary: other work ran on the machine." if found["preliminary"] else ""
        taken = f"`{found['command']}`, {found['taken_at'][:10]}, {found['machine']}, Python {found['python']}.{preliminary}"
        parts.append(f"### {title}\n\n{taken}\n\n{render(found)}")
    write(PAGE, "\n".join(parts))
    if (RESULTS / "million.json").exists():
        write(ON_PAPER, million(load("million")))


def write(page: Path, text: str) -> None:
    """Replace the text between the marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(before + BEGIN + "\n" + text + "\n" + END + rest.partition(END)[2], encoding="utf-8")
    print(f"written: docs/{page.name}")


if __name__ == "__main__":
    main()
