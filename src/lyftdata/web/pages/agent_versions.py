"""The page of agent versions and the fleet policy: the Workers that it affects are shown before it is saved."""

from functools import partial

from starlette.responses import Response

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.fleet_policy import FleetPolicy, FleetPolicyRecord, parse_refuse_from
from lyftdata.core.second_operator import ProtectedAction
from lyftdata.server.admin.fleet_policy_views import effect_view
from lyftdata.server.admin.fleet_versions import standing_of
from lyftdata.server.admin.schemas.fleet_policy import VersionPeriod
from lyftdata.web.page import Page
from lyftdata.web.version_bar import version_segments
from lyftdata.web.version_chart import POLICY_ACTIONS, policy_moments, version_chart

_LISTED = 50
_PATH = "/agent-versions"


async def show(page: Page) -> Response:
    """Show how many agents there are of each version, the policy, and what it refused."""
    page.check_parameters("period")
    period = VersionPeriod(page.choice("period", list(VersionPeriod)) or VersionPeriod.WEEK)
    return await _show(page, period)


async def _show(page: Page, period: VersionPeriod) -> Response:
    services = page.services
    policy = services.directory.fleet_policy
    shares = await services.fleet_versions.shares()
    history = await services.version_histories.of(period)
    changes = await services.audit_queries.list_actions(POLICY_ACTIONS, since=history.since)
    return page.render(
        "agent_versions.html",
        status=200 if page.problem is None else 422,
        segments=version_segments(shares),
        total=sum(share.workers for share in shares),
        plot=version_chart(
            history,
            standing_of=partial(standing_of, policy, now=services.clock()),
            moments=policy_moments(changes, None if policy is None else policy.record),
            zone=page.zone,
        ),
        period=period,
        periods=list(VersionPeriod),
        effect=effect_view(
            None if policy is None else policy.record,
            None if policy is None else await services.fleet_versions.effect_of(policy, limit=0),
            refused_agents=await services.fleet_versions.refused(),
        ),
    )


async def ask_set(page: Page) -> Response:
    """Show which Workers a policy would warn and refuse, and ask for confirmation."""
    page.check_parameters("warn_below", "refuse_below", "from")
    try:
        record = _read(page)
    except InvalidInputError as error:
        page.problem = error
        return await _show(page, VersionPeriod.WEEK)
    effect = await page.services.fleet_versions.effect_of(FleetPolicy(record), limit=_LISTED)
    return page.render(
        "agent_versions_confirm.html",
        record=record,
        must_confirm=bool(record.refuse_below)
        and await page.services.second_operator_settings.must_confirm(ProtectedAction.REFUSE_AGENTS),
        since=page.query("from"),
        effect=effect_view(record, effect, refused_agents=[]),
        before=page.seal(_in_force(page)),
    )


async def save(page: Page) -> Response:
    """Save the policy that was shown."""
    page.form.require("warn_below", "refuse_below", "from")
    page.check_unchanged(_in_force(page))
    await page.services.fleet_policies.save(_read(page), actor=page.actor)
    return page.redirect(_PATH, done="The fleet policy is in force.")


async def ask_clear(page: Page) -> Response:
    """Confirm clearing the policy, and explain its effect."""
    return page.render("agent_versions_clear.html")


async def clear(page: Page) -> Response:
    """Remove the policy."""
    await page.services.fleet_policies.clear(actor=page.actor)
    return page.redirect(_PATH, done="The fleet policy is removed.")


def _read(page: Page) -> FleetPolicyRecord:
    """Return the policy in the query, or the form; raises InvalidInputError."""
    return page.services.fleet_policies.make(
        warn_below=page.query("warn_below"),
        refuse_below=page.query("refuse_below"),
        refuse_from=parse_refuse_from(page.query("from")),
        actor=page.actor,
    )


def _in_force(page: Page) -> FleetPolicyRecord | None:
    policy = page.services.directory.fleet_policy
    return None if policy is None else policy.record
