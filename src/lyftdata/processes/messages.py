"""What the supervisor and a process say to each other."""

import msgspec


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """To a process: stop, as at SIGTERM; `siblings` are the IDs of the Servers that stop with it, to which no Worker can go."""

    siblings: tuple[str, ...]


class Hurry(msgspec.Struct, frozen=True, tag="hurry"):
    """To a process: another signal has come, so wait no longer."""


class GiveMetrics(msgspec.Struct, frozen=True, tag="give_metrics"):
    """To a process: send your metrics, for the process that was asked for those of all."""

    wanted_by: int
    number: int


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """To the process that wants the metrics of all: these processes were asked."""

    number: int
    processes: tuple[int, ...]


class Metrics(msgspec.Struct, frozen=True, tag="metrics"):
    """To the process that wants the metrics of all: those of one."""

    number: int
    process: int
    text: str


class State(msgspec.Struct, frozen=True, tag="state"):
    """To the supervisor: assignments as for systemd, such as READY=1; `X_SERVER` is the ID of this Server."""

    assignments: dict[str, str]


class GivenMetrics(msgspec.Struct, frozen=True, tag="given_metrics"):
    """To the supervisor: the metrics of this process, to be passed on."""

    wanted_by: int
    number: int
    text: str


class WantMetrics(msgspec.Struct, frozen=True, tag="want_metrics"):
    """To the supervisor: ask every other process for its metrics; `number` tells the questions of one process apart."""

    number: int


ToProcess = Stop | Hurry | GiveMetrics | Asked | Metrics
ToSupervisor = State | GivenMetrics | WantMetrics
