"""Describes the state of the fleet in sentences."""

from datetime import datetime

from lyftdata.core.durations import largest_unit
from lyftdata.core.fleet_verdict import Level, SharedTrait, TraitKind, Verdict
from lyftdata.core.text import clean_text, count

_UNITS = {"d": "day", "h": "hour", "m": "minute", "s": "second"}
# The lost Workers count as lost together if most of them left within less than this fraction of the time since the first one.
_BURST = 0.5


def describe_title(verdict: Verdict, *, now: datetime) -> str:
    """Return the title: whether every expected Worker is connected, and if not, how many are missing."""
    if verdict.lost and verdict.since is not None:
        return f"{count(verdict.lost, 'Worker')} went offline {_within(now, verdict.since)}"
    if verdict.level is Level.NONE:
        return "No Worker is expected yet"
    missing = verdict.returning + verdict.away
    if not missing:
        if verdict.expected == 1:
            return "The one Worker that is expected is connected"
        return f"All {verdict.expected:,} Workers that are expected are connected"
    are = "is" if missing == 1 else "are"
    return f"{missing:,} of {count(verdict.expected, 'expected Worker')} {are} not connected"


def describe_detail(verdict: Verdict, *, now: datetime) -> str:
    """Return the details: what the lost Workers have in common, whether they signed off, and which others are missing."""
    sentences: list[str] = []
    if verdict.lost:
        sentences += _about_lost(verdict, now)
    if verdict.returning:
        sentences.append(f"{verdict.returning:,} may still reconnect to the Server that was restarted.")
    if verdict.away:
        have = "has" if verdict.away == 1 else "have"
        more = " more" if verdict.lost or verdict.returning else ""
        sentences.append(f"{verdict.away:,}{more} signed off or {have} been offline for longer than an hour.")
    if verdict.level in {Level.WARNING, Level.CRITICAL} and verdict.online:
        are = "is" if verdict.online == 1 else "are"
        sentences.append(f"{verdict.online:,} {are} connected.")
    return " ".join(sentences)


def _about_lost(verdict: Verdict, now: datetime) -> list[str]:
    sentences: list[str] = []
    if verdict.most_since is not None and verdict.since is not None and verdict.most < verdict.lost:
        most_s, all_s = ((now - at).total_seconds() for at in (verdict.most_since, verdict.since))
        if most_s < all_s * _BURST:
            sentences.append(f"{verdict.most:,} of them {_within(now, verdict.most_since)}.")
    if verdict.common:
        phrases = " and ".join(describe_trait(shared) for shared in verdict.common[:2])
        who = "All" if all(shared.count == verdict.lost for shared in verdict.common[:2]) else "Most"
        sentences.append(f"{who} {phrases}.")
    sentences.append(_how_they_went(verdict))
    if not verdict.online and verdict.refused < verdict.lost:
        sentences.append(
            "No expected Worker is connected: look at the network in front of this Server first."
        )
    return sentences


def _how_they_went(verdict: Verdict) -> str:
    if not verdict.refused:
        return "It did not sign off." if verdict.lost == 1 else "None signed off."
    if verdict.refused == verdict.lost:
        return f"The Server disconnected {'it' if verdict.lost == 1 else 'them'}: see Refusals."
    return f"The Server disconnected {verdict.refused:,} of them: see Refusals. The others did not sign off."


def describe_trait(shared: SharedTrait) -> str:
    """Return what Workers have in common, as the end of a sentence that begins with 'All'."""
    kind, value = shared.trait.kind, clean_text(shared.trait.value, 130)
    match kind:
        case TraitKind.LABEL:
            return f"have the label {value}"
        case TraitKind.KEY:
            fingerprint = value.removeprefix("enrollment:")
            return f"enrolled with the key {fingerprint}" if fingerprint != value else f"use API key {value}"
        case TraitKind.NETWORK:
            return f"are in the network {value}"
        case TraitKind.HOST:
            return f"are on hosts whose names begin with {value}"
        case TraitKind.VERSION:
            return f"run version {value}"
        case TraitKind.END:
            return f"were disconnected with the reason '{value.replace('_', ' ')}'"


def _within(now: datetime, then: datetime) -> str:
    seconds = max(1.0, (now - then).total_seconds())
    number, unit = largest_unit(seconds)
    # Rounded up: three and a half minutes ago is not within the last three.
    size = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}[unit]
    number += seconds > number * size
    noun = _UNITS[unit]
    return f"in the last {noun}" if number == 1 else f"in the last {count(number, noun)}"
