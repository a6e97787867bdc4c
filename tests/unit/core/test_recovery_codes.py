"""Recovery codes."""

import os

from lyftdata.core.recovery_codes import make_recovery_codes, recovery_code_digest


def test_codes_differ_and_can_be_typed():
    """Ten codes of 80 bits each; case, spaces and dashes are ignored; the digest depends on the operator."""
    codes = make_recovery_codes(os.urandom)

    assert len(set(codes)) == 10
    assert {len(code.replace("-", "")) for code in codes} == {16}
    digest = recovery_code_digest(codes[0], operator="ada")
    assert recovery_code_digest(f" {codes[0].lower().replace('-', ' ')} ", operator="ada") == digest
    assert digest not in {
        recovery_code_digest(codes[1], operator="ada"),
        recovery_code_digest(codes[0], operator="bob"),
    }
