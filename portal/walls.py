"""
Whose each table is, and whether the web process can see no more than whoever asks it.

A table that is not named here, or not kept as it says, fails tests/scheduling/test_walls.py.
"""

import logging
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError

from portal.ground import sql
from portal.ground.asking import Role

logger = logging.getLogger(__name__)

A_SUPPLIERS: Final = (
    *(
        "hubs_communicationshub",
        "hubs_changeofsupplier",
        "hubs_fleetcount",
        "portal_user",
        "portal_invitation",
    ),
    *("scheduling_hubselection", "scheduling_selectionfile", "scheduling_selectionrow"),
    *("scheduling_booking", "scheduling_lot", "scheduling_lotmodel", "scheduling_unplacedhub"),
    *("scheduling_deployment", "scheduling_command", "scheduling_quarantine", "scheduling_firsthub"),
    *("scheduling_handover", "scheduling_reclaim", "scheduling_latelook", "scheduling_badhub"),
    *("scheduling_consent", "scheduling_objection", "scheduling_successtally", "scheduling_allocation"),
    *("scheduling_decision", "scheduling_hubexception", "scheduling_exemption", "scheduling_exempthub"),
    *(
        "scheduling_hubgroup",
        "scheduling_groupedhub",
        "scheduling_protectedwindow",
        "scheduling_protectedhub",
    ),
    *("scheduling_notice", "ground_auditentry", "scheduling_proposal", "scheduling_secondpersonrule"),
    *("scheduling_outcometally", "scheduling_tallychange"),
    "scheduling_firststeps",
    *("scheduling_export", "scheduling_savedfilter"),
)
"""Each row is a Supplier's, or two Suppliers' who share a hub: policies say whose."""
KNOWN_TO_ALL: Final = (
    *("hubs_network", "hubs_supplier", "hubs_hubmodel", "hubs_firmwareversion"),
    *("firmware_firmwarerelease", "firmware_firmwarerelease_hub_models", "firmware_predecessor"),
    *("firmware_availabilityperiod", "firmware_rolloutpolicy", "firmware_halt"),
    *("scheduling_slot", "scheduling_maintenance", "scheduling_incident"),
)
"""Every Supplier reads it: nothing in it is a Supplier's but its name in the market."""
OF_SIGNING_IN: Final = (
    *("portal_session", "portal_attempt", "mfa_authenticator", "ground_requestkey"),
    *("django_session", "account_emailaddress", "account_emailconfirmation"),
    *("portal_user_groups", "portal_user_user_permissions", "portal_invitation_groups"),
    *(
        "auth_group",
        "auth_group_permissions",
        "auth_permission",
        "django_content_type",
        "ground_auditpending",
    ),
)
"""What whoever has not said yet who they are needs; no Supplier's page reads it."""
DCCS: Final = (
    *("firmware_signoff", "portal_heartbeat", "django_admin_log", "ground_auditlink", "ground_audithead"),
    *(
        "ground_auditbase",
        "ground_turn",
        "scheduling_capacitypattern",
        "scheduling_cohort",
        "scheduling_control",
    ),
    *("scheduling_controllook", "scheduling_inflight", "scheduling_stage"),
    *("scheduling_tally", "scheduling_strayreport", "scheduling_reportcount", "scheduling_oddreport"),
    *("scheduling_warningsign", "scheduling_evidence", "scheduling_latetally", "scheduling_reconciliation"),
    *("scheduling_finding", "scheduling_rehearsal"),
)
"""DCC's and the workers', with the modelled fleet's tables: a Supplier has no right to it whatever."""

# To own a table, to inherit what others may, or to be above all policies: each passes the wall. Members of a role that
# owns may become it. And it has to be able to become those as whom it asks.
LOGIN = """
SELECT session_user,
       EXISTS (SELECT FROM pg_roles WHERE rolname = session_user AND (rolsuper OR rolbypassrls)),
       EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
               AND pg_has_role(session_user, relowner, 'MEMBER')),
       EXISTS (SELECT FROM pg_roles WHERE rolname = ANY (%(roles)s) AND pg_has_role(session_user, oid, 'USAGE')),
       ARRAY(SELECT name FROM unnest(%(roles)s::text[]) AS name WHERE NOT EXISTS (
           SELECT FROM pg_roles WHERE rolname = name AND pg_has_role(session_user, oid, 'MEMBER')))
"""
AS_WHOM = "Let DATABASE_URL of the web server name portal_web, or a role like it (docs/operator.md)."
_state = {"is_checked": False}


def fault() -> str:
    """Return in a sentence why this process could see more than whoever asks it, or less; empty where it cannot."""
    [(name, is_above, owns, inherits, missing)] = sql.rows(LOGIN, {"roles": [role.value for role in Role]})
    if is_above:
        return f"The role {name} passes row-level security. {AS_WHOM}"
    if owns:
        return f"The role {name} owns the portal's tables, or may become who does. {AS_WHOM}"
    if missing:
        return f"The role {name} may not become {', '.join(missing)}: run portal/roles.sql. {AS_WHOM}"
    if inherits:
        return f"The role {name} may see by itself what only those may as whom it asks: make it NOINHERIT. {AS_WHOM}"
    return ""


def require() -> None:
    """
    Pass once this process of a production is known to see no more than it should; elsewhere at once.

    :raises ImproperlyConfigured: if it could see more
    """
    if not settings.PRODUCTION or _state["is_checked"]:
        return
    if found := fault():
        raise ImproperlyConfigured(found)
    _state["is_checked"] = True


def require_at_start() -> None:
    """
    Do so as the process starts; where PostgreSQL is away then, the first request does.

    :raises ImproperlyConfigured: if it could see more
    """
    try:
        require()
    except OperationalError as error:
        logger.warning("PostgreSQL did not say as whom the web server logs in: %s", error)
