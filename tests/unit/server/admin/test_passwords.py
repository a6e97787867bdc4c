"""Passwords are checked in the same way whether the operator exists or not."""

from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerificationError

from lyftdata.core.secret import Secret
from lyftdata.server.admin.passwords import Passwords

# The costs of a Server, the cheapest ones, and unusual ones.
CHEAPEST = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
COSTS = {
    "default": {},
    "cheapest": CHEAPEST,
    "other": {"time_cost": 2, "memory_cost": 64, "parallelism": 2, "hash_len": 24, "salt_len": 12},
}


class RecordingHasher(PasswordHasher):
    """A hasher that records its verifications and their results."""

    hashed = 0

    def __init__(self, costs):
        super().__init__(**costs)
        self.verified: list[Any] = []

    def hash(self, password, *, salt=None):
        """Hash, and count."""
        self.hashed += 1
        return super().hash(password, salt=salt)

    def verify(self, password_hash, password):
        """Verify, and record the costs and the result."""
        try:
            return super().verify(password_hash, password)
        except VerificationError as error:
            self.verified.append((extract_parameters(password_hash), type(error)))
            raise


@pytest.mark.parametrize("costs", COSTS.values(), ids=COSTS)
async def test_an_unknown_name_costs_the_same_as_a_wrong_password(costs):
    """Both run one full Argon2 with the same parameters, and end with the same mismatch."""
    watched = RecordingHasher(costs)
    passwords = Passwords(watched)
    real = watched.hash("correct horse battery")

    assert not await passwords.matches(Secret("wrong"), real)
    assert not await passwords.matches(Secret("wrong"), None)

    wrong, unknown = watched.verified
    assert wrong == unknown


async def test_no_password_is_hashed_at_startup():
    """The hash that is checked for an unknown name needs no computation."""
    watched = RecordingHasher(CHEAPEST)
    passwords = Passwords(watched)

    assert not await passwords.matches(Secret("x"), None)
    assert watched.hashed == 0
