"""
A simulation of a million Workers: renewals, polls, an hour's outage and the reconnect storm that follows.

    make bench-million        (after the measurements whose results it reads; BENCH_SEED, 1)

It runs in steps of a tenth of a second. Each Worker follows the agent's rules: tokens renewed at two thirds of their lifetime,
polls held for as long as the Server says, backoff from half a second to between 15 and 30. The Servers are one FIFO queue and
one core each; the cost of a request was measured (`tokens.json`, `polls.json`). A request whose Worker no longer waits costs
the same. They process the queue in turns, and a request that is more than a second behind in a turn is answered 503 with
Retry-After (`lyftdata.server.http.overload`). First the model is compared with the measured return of 10,000 Workers to one
Server (`restart.json`).
"""

import collections
import os
from typing import Any

import msgspec
import numpy as np
from benchmarks.harness import load, save
from benchmarks.plots import figure, keep
from numpy.typing import NDArray

from lyftdata.server.http.overload import (
    COME_BACK_AFTER_S,
    LOOK_EVERY_S,
    NO_POLLS_AFTER_S,
    NO_TOKENS_AFTER_S,
)
from lyftdata.server.sessions.hold_time import _MAX_HOLD_S, _MAX_POLLS_PER_S, _MIN_HOLD_S

SEED = int(os.environ.get("BENCH_SEED", "1"))
STEP_S = 0.1
OUTAGE_S = 3600.0
FLEETS = (10_000, 100_000, 250_000, 500_000, 1_000_000)
SERVERS = (1, 2, 4, 8, 16, 32, 64)

_TOKEN_TTL_S = 900.0
# The agent's timeout of a token request. A poll times out after 40 s at the earliest; using 15 s for all overestimates the
# load.
_GIVES_UP_AFTER_S = 15.0
_LAST_OF_OUTAGE_S = 120.0
_LEAST_WATCHED_S = 90.0
_FIRST_WAIT_S, _MAX_WAIT_S = 1.0, 30.0
_BUSY_SHARE = 0.6
# Traces are at most one row per Worker and second; a session writes one more row at its start and one at its end.
_ROWS_A_TOKEN, _ROWS_A_POLL, _ROWS_A_SESSION = 1, 1, 2

_TOKEN, _FIRST, _HELD, _RENEWAL = range(4)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Costs(msgspec.Struct, frozen=True):
    """CPU time of each kind of request, in seconds, and memory of a held poll."""

    token_s: float
    poll_s: float
    turn_away_s: float
    kb_each: float


class Batch(msgspec.Struct):
    """Requests sent at the same time: the Worker, the number of its attempt, and the kind of each."""

    at_s: float
    who: Ints
    attempt: Ints
    kind: Ints
    done: int = 0


class Fleet:
    """
    Connected Workers with polls and tokens of random age, and their Servers; `second` advances the time.

    Args:
        workers: The number of Workers.
        servers: The number of Servers, a core each.
        costs: The costs of requests.
        seed: The seed of the random numbers.
        sheds_load: Whether requests that are far behind are answered 503.
    """

    def __init__(
        self, workers: int, servers: int, costs: Costs, *, seed: int = SEED, sheds_load: bool = True
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.servers, self.costs = servers, costs
        self._sheds_load = sheds_load
        # The batches left in the current turn, and how long it has taken so far.
        self._turn, self._turn_s = 0, 0.0
        self.is_up = True
        self.now_s = self.work_s = self._left_s = self.outage_asked_per_s = 0.0
        self.online = np.ones(workers, dtype=bool)
        self.first_hold = np.zeros(workers, dtype=bool)
        self.failures = np.zeros(workers, dtype=np.int64)
        self.attempt = np.zeros(workers, dtype=np.int64)
        self.next_at = self.random.uniform(0, self.hold_s(), workers)
        self.renew_at = self.random.uniform(0, 1, workers) * self._renewal(workers)
        self.queue: collections.deque[Batch] = collections.deque()
        self.waiting: collections.deque[Batch] = collections.deque()
        names = ("asked", "served", "rows", "online", "queued", "turned_away")
        self.history: dict[str, list[float]] = {name: [] for name in names}
        self._asked = self._served = self._rows = self._shed_requests = 0

    def hold_s(self) -> float:
        """Return how long the Servers hold polls at present."""
        here = np.count_nonzero(self.online) / self.servers
        return min(_MAX_HOLD_S, max(_MIN_HOLD_S, here / _MAX_POLLS_PER_S))

    def _renewal(self, count: int) -> Floats:
        return _TOKEN_TTL_S * 2 / 3 * self.random.uniform(0.75, 1.25, count)

    def step(self) -> None:
        """Advance the time by a tenth of a second."""
        self._send()
        self._give_up()
        if self.is_up:
            self._serve()
        self.now_s += STEP_S

    def second(self) -> None:
        """Advance the time by a second, and record what happened in it."""
        self._asked = self._served = self._rows = self._shed_requests = 0
        for _ in range(round(1 / STEP_S)):
            self.step()
        queued = sum(len(batch.who) - batch.done for batch in self.queue)
        seen = (
            self._asked,
            self._served,
            self._rows,
            np.count_nonzero(self.online),
            queued,
            self._shed_requests,
        )
        for name, value in zip(self.history, seen, strict=True):
            self.history[name].append(float(value))

    def lose_everything(self) -> None:
        """Stop every Server: each poll is aborted, and each Worker retries after its first wait."""
        self.is_up = False
        self.queue.clear()
        self._turn = 0
        self.waiting.clear()
        self.online[:] = False
        self._fail(np.arange(len(self.online)))

    def _send(self) -> None:
        due = np.flatnonzero(self.next_at <= self.now_s)
        if not self.is_up:
            # No Server listens, so requests fail immediately.
            self._asked += len(due)
            self._fail(due)
            return
        renewing = np.flatnonzero((self.renew_at <= self.now_s) & self.online & (self.next_at > self.now_s))
        if len(renewing):
            # Concurrently with the held poll, which continues.
            self.renew_at[renewing] = np.inf
            self._enqueue(renewing, np.full(len(renewing), _RENEWAL))
        if len(due):
            kind = np.where(self.online[due], _HELD, _FIRST)
            kind = np.where(self.renew_at[due] <= self.now_s, _TOKEN, kind)
            self.next_at[due] = np.inf
            self.attempt[due] += 1
            self._enqueue(due, kind)

    def _enqueue(self, who: Ints, kind: Ints) -> None:
        self._asked += len(who)
        batch = Batch(self.now_s, who, self.attempt[who], kind)
        self.queue.append(batch)
        self.waiting.append(batch)

    def _give_up(self) -> None:
        """Let Workers give up requests that exceeded the agent's timeout; the requests stay in the queue."""
        while self.waiting and self.waiting[0].at_s < self.now_s - _GIVES_UP_AFTER_S:
            batch = self.waiting.popleft()
            rest = slice(batch.done, None)
            who, kind = batch.who[rest], batch.kind[rest]
            self._fail(who[(self.attempt[who] == batch.attempt[rest]) & (kind != _RENEWAL)])

    def _fail(self, who: Ints, *, retry_after_s: float | None = None) -> None:
        bound = np.minimum(_MAX_WAIT_S, _FIRST_WAIT_S * 2.0 ** np.minimum(self.failures[who], 16))
        self.failures[who] += 1
        self.attempt[who] += 1
        self.online[who] = False
        wait_s = bound * self.random.uniform(0.5, 1.0, len(who))
        if retry_after_s is not None:
            wait_s = retry_after_s + wait_s * self.random.uniform(0, 1, len(who))
        self.next_at[who] = self.now_s + wait_s

    def _serve(self) -> None:
        budget_s = self.servers * STEP_S + self._left_s
        while self.queue:
            if not self._turn:
                self._turn, self._turn_s = len(self.queue), 0.0
            batch = self.queue[0]
            kind = batch.kind[batch.done :]
            is_token = (kind == _TOKEN) | (kind == _RENEWAL)
            # Which requests are shed changes within a batch as the turn proceeds, so only a little is processed at a time.
            is_shed = self._is_shed(is_token)
            costs = np.where(is_token, self.costs.token_s, self.costs.poll_s)
            spent = np.cumsum(np.where(is_shed, self.costs.turn_away_s, costs))
            count = int(np.searchsorted(spent, min(budget_s, STEP_S * self.servers), side="right"))
            if not count:
                break
            budget_s -= float(spent[count - 1])
            self.work_s += float(spent[count - 1])
            self._turn_s += float(spent[count - 1])
            part = np.arange(batch.done, batch.done + count)
            self._answer(batch, part[~is_shed[:count]])
            self._shed(batch, part[is_shed[:count]])
            batch.done += count
            if batch.done == len(batch.who):
                self.queue.popleft()
                self._turn -= 1
        # Time left while requests are queued is kept; idle time is not.
        self._left_s = budget_s if self.queue else 0.0

    def _is_shed(self, is_token: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if not self._sheds_load:
            return np.zeros(len(is_token), dtype=bool)
        behind_s = self._turn_s / self.servers - LOOK_EVERY_S
        return np.where(is_token, behind_s >= NO_TOKENS_AFTER_S, behind_s >= NO_POLLS_AFTER_S)

    def _shed(self, batch: Batch, part: Ints) -> None:
        who, kind = batch.who[part], batch.kind[part]
        self._shed_requests += len(who)
        self.renew_at[who[kind == _RENEWAL]] = self.now_s + COME_BACK_AFTER_S
        is_waited_for = (self.attempt[who] == batch.attempt[part]) & (kind != _RENEWAL)
        self._fail(who[is_waited_for], retry_after_s=COME_BACK_AFTER_S)

    def _answer(self, batch: Batch, part: Ints) -> None:
        who, kind = batch.who[part], batch.kind[part]
        self._served += len(who)
        tokens = np.count_nonzero((kind == _TOKEN) | (kind == _RENEWAL))
        first = np.count_nonzero(kind == _FIRST)
        self._rows += tokens * _ROWS_A_TOKEN + (len(who) - tokens) * _ROWS_A_POLL + first * _ROWS_A_SESSION
        renewed = who[kind == _RENEWAL]
        self.renew_at[renewed] = self.now_s + self._renewal(len(renewed))
        is_waited_for = self.attempt[who] == batch.attempt[part]
        who, kind = who[is_waited_for], kind[is_waited_for]
        with_token = who[kind == _TOKEN]
        self.renew_at[with_token] = self.now_s + self._renewal(len(with_token))
        self.next_at[with_token] = self.now_s
        come = who[kind == _FIRST]
        self.online[come] = self.first_hold[come] = True
        self.failures[come] = 0
        self.next_at[come] = self.now_s
        self._hold(who[kind == _HELD])

    def _hold(self, who: Ints) -> None:
        hold_s = np.full(len(who), self.hold_s())
        just_come = self.first_hold[who]
        hold_s[just_come] *= self.random.uniform(0, 1, np.count_nonzero(just_come))
        self.first_hold[who] = False
        self.failures[who] = 0
        self.next_at[who] = self.now_s + np.maximum(1.0, hold_s)


def steady(workers: int, servers: int, costs: Costs) -> dict[str, float]:
    """Return the load of a connected fleet over five minutes, and the share of the Servers' time that it takes."""
    fleet = Fleet(workers, servers, costs)
    for _ in range(300):
        fleet.second()
    return {
        "requests_per_s": float(np.mean(fleet.history["served"])),
        "rows_per_s": float(np.mean(fleet.history["rows"])),
        "busy_share": fleet.work_s / fleet.now_s / servers,
    }


def storm(
    workers: int, servers: int, costs: Costs, *, outage_s: float, watch_s: int, sheds_load: bool = True
) -> Fleet:
    """Stop every Server for `outage_s`, and watch what happens when all are back."""
    fleet = Fleet(workers, servers, costs, sheds_load=sheds_load)
    fleet.lose_everything()
    # The waits reach their maximum long before the end, so only the last minutes are simulated step by step.
    for _ in range(int(min(outage_s, _LAST_OF_OUTAGE_S))):
        fleet.second()
    fleet.renew_at -= max(0.0, outage_s - _LAST_OF_OUTAGE_S)
    fleet.outage_asked_per_s = fleet.history["asked"][-1]
    for series in fleet.history.values():
        series.clear()
    fleet.is_up = True
    for _ in range(watch_s):
        fleet.second()
        if fleet.now_s > _LAST_OF_OUTAGE_S + _LEAST_WATCHED_S and fleet.online.all():
            break
    return fleet


def back_after_s(fleet: Fleet, share: float = 1.0) -> float | None:
    """Return after how many seconds this share of the Workers was online, None if it never was."""
    for second, online in enumerate(fleet.history["online"]):
        if online >= share * len(fleet.online):
            return second + 1.0
    return None


def check_model(costs: Costs) -> dict[str, Any]:
    """Return the measured return of 10,000 Workers and what the model predicts for it."""
    found = load("restart")
    measured = found["medians"]
    fleet = storm(found["workers"], 1, costs, outage_s=measured["ready_s"], watch_s=200)
    return {
        "measured": {
            "all_back_s": measured["all_back_s"] - measured["ready_s"],
            "requests_per_s_after": measured["mean_requests_per_s_after"],
        },
        "model": {
            "all_back_s": back_after_s(fleet),
            "requests_per_s_after": float(np.mean(fleet.history["served"][20:90])),
        },
    }


def measured_costs() -> Costs:
    """Return the measured costs."""
    token_us = load("tokens")["medians"]["lyftdata"]["cpu_us_each"]
    polls = load("polls")["medians"]["stop by server"]
    # Shedding a request costs as much as an empty answer.
    bare_us = load("verify")["medians"]["an empty 204 (plain ASGI)"]["cpu_us_each"]
    return Costs(token_us / 1e6, polls["poll_cpu_us"] / 1e6, bare_us / 1e6, polls["kb_each"])


def simulate(workers: int, costs: Costs) -> dict[str, Any]:
    """Return what a fleet needs in normal operation and after an outage."""
    for needed in SERVERS:
        calm = steady(workers, needed, costs)
        if calm["busy_share"] <= _BUSY_SHARE:
            break
    else:
        message = f"{SERVERS[-1]} Servers are not enough for {workers} Workers"
        raise RuntimeError(message)
    back = {}
    for servers in (servers for servers in SERVERS if servers >= needed):
        fleet = storm(workers, servers, costs, outage_s=OUTAGE_S, watch_s=300)
        alone = storm(workers, servers, costs, outage_s=OUTAGE_S, watch_s=300, sheds_load=False)
        back[servers] = {
            "all_back_s": back_after_s(fleet),
            "all_back_s_if_nobody_is_turned_away": back_after_s(alone),
            "turned_away": sum(fleet.history["turned_away"]),
            "half_back_s": back_after_s(fleet, 0.5),
            "most_rows_per_s": max(fleet.history["rows"]),
            "asked_per_s_in_the_outage": fleet.outage_asked_per_s,
            "longest_queue": max(fleet.history["queued"]),
        }
        if back[servers]["longest_queue"] < workers / 100:
            # No Worker waits, so more Servers would not change anything.
            break
    memory_gb = workers * costs.kb_each / 1e6
    return {"servers_in_calm": needed, "memory_gb": memory_gb, "calm": calm, "storm": back}


def main() -> None:
    """Simulate; write the result and the plots."""
    costs = measured_costs()
    checked = check_model(costs)
    print(
        f"token {costs.token_s * 1e6:.0f} us, poll {costs.poll_s * 1e6:.0f} us, {costs.kb_each:.1f} KB each"
    )
    print(f"10,000 Workers come back: {checked}")
    found: dict[str, dict[str, Any]] = {}
    for workers in FLEETS:
        found[str(workers)] = simulate(workers, costs)
        print(f"{workers:>9,}: {found[str(workers)]}", flush=True)
    save("million", {"costs": msgspec.to_builtins(costs), "check": checked, "fleets": found})
    plot_return(found)
    plot_storm(costs, found)


def plot_return(found: dict[str, dict[str, Any]]) -> None:
    """Plot how long the return takes by the number of Servers."""
    drawn, axes = figure("All Workers back after an hour's outage")
    for workers, numbers in found.items():
        points = [
            (servers, back["all_back_s"]) for servers, back in numbers["storm"].items() if back["all_back_s"]
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=f"{int(workers):,} Workers")
    axes.axhline(60, color="#888", linestyle=":", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks(SERVERS, [str(servers) for servers in SERVERS])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Servers, a core each")
    axes.set_ylabel("seconds until all are online")
    axes.legend(frameon=False, fontsize=9)
    keep(drawn, "million-return")


def plot_storm(costs: Costs, found: dict[str, dict[str, Any]]) -> None:
    """Plot the return of a million Workers per second, with as many Servers as normal operation needs, and with more."""
    drawn, axes = figure("A million Workers come back")
    few = int(found["1000000"]["servers_in_calm"])
    for servers, colour in ((few, "#c44e52"), (4 * few, "#2456a6")):
        fleet = storm(1_000_000, servers, costs, outage_s=OUTAGE_S, watch_s=300)
        axes.plot(
            fleet.history["asked"],
            color=colour,
            linestyle=":",
            linewidth=1,
            label=f"sent to {servers} Servers",
        )
        axes.plot(fleet.history["served"], color=colour, label=f"served by {servers} Servers")
    axes.set_xlabel("seconds since the Servers are back")
    axes.set_ylabel("requests/s")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    keep(drawn, "million-storm")


if __name__ == "__main__":
    main()
