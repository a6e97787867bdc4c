"""Divides the bar of agent versions: a segment for each version, which links to its Workers."""

from collections.abc import Sequence
from urllib.parse import urlencode

from lyftdata.core.fleet_policy import VersionStanding
from lyftdata.core.versions import parse_version
from lyftdata.core.worker_query import quote
from lyftdata.server.admin.fleet_versions import VersionShare
from lyftdata.web.fleet_bar import Segment, place_segments

# More could not be distinguished by eye, and their texts are reported by Workers.
_MAX_VERSIONS = 12
_MAX_TEXT = 32
_PARTS = {
    VersionStanding.CURRENT: "online",
    VersionStanding.WARNED: "disabled",
    VersionStanding.REFUSED: "lost",
    VersionStanding.UNKNOWN: "never",
}


def version_segments(shares: Sequence[VersionShare]) -> list[Segment]:
    """
    Return the versions in the given order; if there are many, those with the most Workers, and one segment for the rest.

    A segment's path is "" if no search matches exactly its Workers.
    """
    most = sorted(shares, key=lambda share: share.workers, reverse=True)[:_MAX_VERSIONS]
    shown = [share for share in shares if share in most]
    parts = [
        (_PARTS[share.standing], share.workers, _text_of(share), _path_of(share.version)) for share in shown
    ]
    rest = sum(share.workers for share in shares) - sum(share.workers for share in shown)
    if rest:
        parts.append(("offline", rest, "other versions", ""))
    return place_segments(parts)


def _text_of(share: VersionShare) -> str:
    if not share.version:
        return "without a version"
    text = share.version if len(share.version) <= _MAX_TEXT else f"{share.version[:_MAX_TEXT]}…"
    standing = "" if share.standing is VersionStanding.CURRENT else f" · {_WORDS[share.standing]}"
    return f"{text}{standing}"


_WORDS = {
    VersionStanding.WARNED: "warned",
    VersionStanding.REFUSED: "refused",
    VersionStanding.UNKNOWN: "not a version",
}


def _path_of(version: str) -> str:
    return (
        "" if parse_version(version) is None else f"/workers?{urlencode({'q': f'version:={quote(version)}'})}"
    )
