"""Every problem that the doctor can report has a test."""

from pathlib import Path

from lyftdata.doctor.findings import ALL_CHECKS

TESTS = Path(__file__).resolve().parents[1]


def test_every_check_has_a_test():
    """Its code is quoted in a test about the doctor."""
    files = [file.read_text(encoding="utf-8") for file in TESTS.rglob("test_*.py")]
    about_it = "".join(text for text in files if "doctor" in text)

    assert [check.code for check in ALL_CHECKS if f'"{check.code}"' not in about_it] == []
