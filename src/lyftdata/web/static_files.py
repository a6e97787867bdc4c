"""
Static files: compressed for browsers that accept that, and cached by them for a year.

Only these are compressed, never a page: see docs/decisions/0049-only-static-files-are-compressed.md.
"""

import functools
import gzip
from os import PathLike, stat_result
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

# The URL of a file changes with its content.
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}


class CompressedFiles(StaticFiles):
    """The files of a directory, each compressed once and kept in memory."""

    def file_response(
        self, full_path: PathLike[str] | str, stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Respond with a file: compressed if the request accepts that, otherwise as it is."""
        request = Headers(scope=scope)
        whole = FileResponse(full_path, status_code, headers=_HEADERS, stat_result=stat_result)
        if not takes_gzip(request.get("accept-encoding", "")):
            return (
                NotModifiedResponse(whole.headers) if self.is_not_modified(whole.headers, request) else whole
            )
        headers = {
            **_HEADERS,
            "Content-Encoding": "gzip",
            "Last-Modified": whole.headers["last-modified"],
            # A different representation: a cache must not mistake one for the other (RFC 9110, section 8.8.3.3).
            "ETag": whole.headers["etag"].removesuffix('"') + '-gzip"',
        }
        body = _compressed(str(full_path), stat_result.st_mtime_ns)
        response = Response(body, status_code, headers=headers, media_type=whole.media_type)
        return (
            NotModifiedResponse(response.headers)
            if self.is_not_modified(response.headers, request)
            else response
        )


def takes_gzip(accept_encoding: str) -> bool:
    """Return whether a request accepts gzip (RFC 9110, section 12.5.3); only by name, since every browser names it."""
    for part in accept_encoding.lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() in {"gzip", "x-gzip"}:
            return _weight(parameters) > 0
    return False


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


@functools.cache
def _compressed(path: str, _modified_ns: int) -> bytes:
    """Return a compressed file; files are small, so this takes milliseconds, once."""
    # Without a timestamp: every Server of a deployment returns the same bytes.
    return gzip.compress(Path(path).read_bytes(), mtime=0)
