"""Builds the use cases of operators: accounts, Workers, API keys, resources."""

import hmac
from collections.abc import Callable

import msgspec

from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.lockout import Lockout
from lyftdata.core.relying_party import relying_party_of
from lyftdata.core.sign_in_methods import SignInMethods
from lyftdata.server.admin.api_keys import ApiKeys
from lyftdata.server.admin.api_token_uses import ApiTokenUses
from lyftdata.server.admin.api_tokens import ApiTokens
from lyftdata.server.admin.callers import Callers
from lyftdata.server.admin.device_logins import DeviceLogins
from lyftdata.server.admin.device_marks import DeviceMarks
from lyftdata.server.admin.enrollment_keys import EnrollmentKeys
from lyftdata.server.admin.new_sessions import NewSessions
from lyftdata.server.admin.operator_budget import OperatorBudget
from lyftdata.server.admin.operator_passwords import OperatorPasswords
from lyftdata.server.admin.operator_permissions import OperatorPermissions
from lyftdata.server.admin.operator_sessions import OperatorSessions
from lyftdata.server.admin.operators import Operators
from lyftdata.server.admin.passkey_ceremonies import PasskeyCeremonies
from lyftdata.server.admin.passkey_challenges import PasskeyChallenges
from lyftdata.server.admin.passkeys import Passkeys
from lyftdata.server.admin.password_check import NETWORK_KEY_PURPOSE, PasswordCheck
from lyftdata.server.admin.password_sign_in import PasswordSignIn
from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.admin.reauthentication import Reauthentication
from lyftdata.server.admin.resources import Resources
from lyftdata.server.admin.second_factor_check import SecondFactorCheck
from lyftdata.server.admin.second_factor_tickets import SecondFactorTickets
from lyftdata.server.admin.second_factors import SecondFactors
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.admin.session_uses import SessionUses
from lyftdata.server.admin.worker_archive import WorkerArchive
from lyftdata.server.admin.workers import Workers
from lyftdata.server.metrics import Metrics
from lyftdata.server.runtime.secret_keys import kek_of
from lyftdata.server.runtime.wiring.basis import Basis
from lyftdata.server.runtime.wiring.oidc import OidcParts, build_oidc
from lyftdata.store.tables.operators import unlocks_by_name


class OperatorParts(msgspec.Struct, frozen=True, kw_only=True):
    """The use cases of operators."""

    operators: Operators
    operator_passwords: OperatorPasswords
    operator_permissions: OperatorPermissions
    operator_sessions: OperatorSessions
    password_sign_in: PasswordSignIn
    session_uses: SessionUses
    reauthentication: Reauthentication
    second_factors: SecondFactors
    passkeys: Passkeys
    callers: Callers
    api_tokens: ApiTokens
    api_token_uses: ApiTokenUses
    password_check: PasswordCheck
    device_marks: DeviceMarks
    device_logins: DeviceLogins
    budget: OperatorBudget
    workers: Workers
    worker_archive: WorkerArchive
    api_keys: ApiKeys
    enrollment_keys: EnrollmentKeys
    resources: Resources
    lockout: Lockout
    oidc: OidcParts | None


async def build_operators(
    basis: Basis,
    passwords: Passwords,
    *,
    known_secrets: KnownSecrets,
    gate: SecondOperatorGate,
    metrics: Metrics,
) -> OperatorParts:
    """Build the parts that change accounts, Workers, API keys and resources."""
    store, clock, source = basis.store, basis.clock, basis.random_bytes
    lockout = Lockout(
        hide=_hidden(basis.key("names of operators")),
        is_shared=store.is_shared,
        unlocks=await store.read(unlocks_by_name),
    )
    device_marks = DeviceMarks(key=basis.key("device marks"), clock=clock, random_bytes=source)
    budget = OperatorBudget()
    network_key = basis.key(NETWORK_KEY_PURPOSE)
    methods = SignInMethods(passwords=basis.settings.password_sign_in, issuer=basis.settings.oidc_issuer)
    password_check = PasswordCheck(
        store=store,
        passwords=passwords,
        lockout=lockout,
        network_key=network_key,
        methods=methods,
        clock=clock,
    )
    new_sessions = NewSessions(known_secrets=known_secrets, clock=clock, random_bytes=source)
    kek = kek_of(basis.secret_key)
    policy = basis.settings.second_factor
    ceremonies = PasskeyCeremonies(
        relying_party=relying_party_of(basis.issuer),
        challenges=PasskeyChallenges(
            key=basis.key("challenges of passkeys"), clock=clock, random_bytes=source
        ),
        handle_key=basis.key("operators to authenticators"),
    )
    second_factor_check = SecondFactorCheck(
        store=store, password_check=password_check, ceremonies=ceremonies, kek=kek, clock=clock
    )
    session_uses = SessionUses(store=store, idle_limit=basis.settings.operator_idle_limit)
    operator_sessions = OperatorSessions(
        store=store,
        budget=budget,
        methods=methods,
        second_factor_policy=policy,
        uses=session_uses,
        clock=clock,
    )
    api_token_uses = ApiTokenUses(store=store)
    keys = ApiKeys(store=store, known_secrets=known_secrets, clock=clock, random_bytes=source)
    return OperatorParts(
        operators=Operators(
            store=store,
            passwords=passwords,
            known_secrets=known_secrets,
            gate=gate,
            clock=clock,
            random_bytes=source,
        ),
        operator_passwords=OperatorPasswords(
            store=store,
            passwords=passwords,
            password_check=password_check,
            device_marks=device_marks,
            gate=gate,
            clock=clock,
            random_bytes=source,
        ),
        operator_permissions=OperatorPermissions(
            store=store, known_secrets=known_secrets, gate=gate, clock=clock
        ),
        operator_sessions=operator_sessions,
        password_sign_in=PasswordSignIn(
            store=store,
            password_check=password_check,
            device_marks=device_marks,
            network_key=network_key,
            new_sessions=new_sessions,
            second_factors=second_factor_check,
            tickets=SecondFactorTickets(
                key=basis.key("sign-ins before the second factor"), clock=clock, random_bytes=source
            ),
            clock=clock,
        ),
        session_uses=session_uses,
        reauthentication=Reauthentication(
            store=store,
            password_check=password_check,
            second_factors=second_factor_check,
            new_sessions=new_sessions,
            within=basis.settings.reauthenticate_after,
            clock=clock,
        ),
        second_factors=SecondFactors(
            store=store,
            kek=kek,
            issuer=basis.issuer,
            policy=policy,
            gate=gate,
            clock=clock,
            random_bytes=source,
        ),
        passkeys=Passkeys(
            store=store, ceremonies=ceremonies, policy=policy, gate=gate, clock=clock, random_bytes=source
        ),
        callers=Callers(
            store=store,
            sessions=operator_sessions,
            uses=api_token_uses,
            budget=budget,
            methods=methods,
            metrics=metrics,
            clock=clock,
        ),
        api_tokens=ApiTokens(store=store, known_secrets=known_secrets, clock=clock, random_bytes=source),
        api_token_uses=api_token_uses,
        password_check=password_check,
        device_marks=device_marks,
        device_logins=DeviceLogins(
            store=store,
            key=basis.key("user codes of device logins"),
            new_sessions=new_sessions,
            known_secrets=known_secrets,
            clock=clock,
            random_bytes=source,
        ),
        budget=budget,
        workers=Workers(
            store=store,
            api_keys=keys,
            known_secrets=known_secrets,
            gate=gate,
            clock=clock,
            random_bytes=source,
        ),
        worker_archive=WorkerArchive(store=store, after=basis.settings.archive_after, clock=clock),
        api_keys=keys,
        enrollment_keys=EnrollmentKeys(
            store=store, known_secrets=known_secrets, clock=clock, random_bytes=source
        ),
        resources=Resources(
            store=store, issuer=basis.issuer, known_secrets=known_secrets, clock=clock, random_bytes=source
        ),
        lockout=lockout,
        oidc=build_oidc(basis, new_sessions),
    )


def _hidden(key: bytes) -> Callable[[str], str]:
    return lambda name: hmac.digest(key, name.encode("utf-8", "surrogatepass"), "sha256")[:16].hex()
