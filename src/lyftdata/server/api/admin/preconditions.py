"""`ETag` and `If-Match` (RFC 9110, section 13.1.1), which keep programs from overwriting each other's edits."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Header

from lyftdata.core.errors import PreconditionFailedError
from lyftdata.server.admin.edits import CHANGED_MEANWHILE, fingerprint
from lyftdata.server.admin.resources import ResourceChange
from lyftdata.server.admin.schemas.resources import Resource
from lyftdata.server.admin.schemas.workers import Worker

IfMatch = Annotated[
    str | None,
    Header(description="The `ETag` of the answer that the change is based on; 412 if it was changed since."),
]


def worker_fields(worker: Worker) -> dict[str, object]:
    """Return the editable fields of a Worker."""
    fields = ("name", "labels", "enabled", "disabled_note", "disabled_until")
    return {name: getattr(worker, name) for name in fields}


def resource_fields(resource: Resource) -> dict[str, object]:
    """Return the editable fields of a resource."""
    return {name: getattr(resource, name) for name in ResourceChange.__struct_fields__}


def etag(fields: Mapping[str, object]) -> str:
    """Return the entity tag of the editable fields: what changes by itself, such as *last seen*, is not part of it."""
    return f'"{fingerprint(fields)}"'


def check_precondition(if_match: str | None, fields: Mapping[str, object]) -> Mapping[str, object] | None:
    """
    Return the values that the fields must still have when the change is written; None without `If-Match`.

    Raises:
        PreconditionFailedError: `changed_meanwhile`.
    """
    if if_match is None:
        return None
    tags = {tag.strip() for tag in if_match.split(",")}
    if "*" not in tags and etag(fields) not in tags:
        raise PreconditionFailedError(
            CHANGED_MEANWHILE, "Nothing was changed: it has changed since it was read.", hint="Read it again."
        )
    return fields
