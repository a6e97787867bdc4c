"""The causes of refusals are complete, and each says what happened and what to do."""

import pytest

from lyftdata.core.refusals import ProvedError, RefusedError, UnprovenError, all_causes, cause_of

CONTRACT = {
    "unknown_worker",
    "wrong_api_key",
    "api_key_revoked",
    "api_key_expired",
    "api_key_not_for_worker",
    "worker_disabled",
    "wrong_strategy",
    "enrollment_disabled",
    "wrong_enrollment_key",
    "proof_expired",
    "proof_replayed",
    "name_in_use",
    "superseded",
    "duplicate_instance",
    "rate_limited",
}


def test_codes_are_unique_and_those_of_the_contract_exist():
    """Dashboards and clients match on them."""
    codes = [cause.code for cause in all_causes()]

    assert len(codes) == len(set(codes))
    assert set(codes) >= CONTRACT


@pytest.mark.parametrize("cause", all_causes(), ids=lambda cause: cause.code)
def test_every_cause_says_what_happened_and_what_to_do(cause: type[RefusedError]):
    """Its meaning and remedy are sentences, and it can be found by its code."""
    assert cause.meaning.endswith(".")
    assert cause.remedy.endswith(".")
    assert cause_of(cause.code) is cause
    assert issubclass(cause, UnprovenError) is not issubclass(cause, ProvedError)
