"""Read model of resources, for operators."""

from lyftdata.core.errors import NotFoundError
from lyftdata.core.records import (
    ResourceRecord,
)
from lyftdata.core.resources import is_granted
from lyftdata.core.scopes import Scope, covers_resource
from lyftdata.server.admin.schemas.resources import Resource
from lyftdata.server.admission.directory import Directory


class ResourceQueries:
    """Resources, with the number of Workers that each is granted to."""

    def __init__(self, *, directory: Directory) -> None:
        self._directory = directory

    def list_all(self, *, scope: Scope) -> list[Resource]:
        """Return every resource within a scope, by name."""
        found = sorted(self._directory.resources(), key=lambda record: record.name)
        return [self._view(record) for record in found if self._is_in(scope, record)]

    def get(self, name: str, *, scope: Scope) -> Resource:
        """Return one resource; raises NotFoundError, also for one outside the scope."""
        record = next((r for r in self._directory.resources() if r.name == name), None)
        if record is None or not self._is_in(scope, record):
            raise NotFoundError("resource", name)
        return self._view(record)

    def _is_in(self, scope: Scope, record: ResourceRecord) -> bool:
        return covers_resource(scope, record, self._directory.find_worker)

    def _view(self, record: ResourceRecord) -> Resource:
        """Build the view of a resource, with the number of Workers that it is granted to."""
        return Resource(
            name=record.name,
            audience=record.audience,
            scopes=record.scopes,
            for_all_workers=record.for_all_workers,
            include_enrolled=record.include_enrolled,
            worker_ids=record.worker_ids,
            worker_names=record.worker_names,
            labels=record.labels,
            workers=sum(is_granted(record, worker) for worker in self._directory.workers()),
            has_key=record.key_public_id is not None,
            created_at=record.created_at,
            created_by=record.created_by,
        )
