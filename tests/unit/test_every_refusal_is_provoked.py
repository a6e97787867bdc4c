"""No cause of a refusal without a test that brings it about."""

from pathlib import Path

import pytest

from lyftdata.core.refusals import all_causes

TESTS = Path(__file__).parents[1]
PLACES = [*(TESTS / "unit" / "server").rglob("test_*.py"), *(TESTS / "journeys").glob("test_*.py")]
TEXT = "".join(place.read_text(encoding="utf-8") for place in PLACES)


@pytest.mark.parametrize("code", [cause.code for cause in all_causes()])
def test_it_is_provoked(code):
    """The code stands in a test that goes through the whole Server."""
    assert f'"{code}"' in TEXT
