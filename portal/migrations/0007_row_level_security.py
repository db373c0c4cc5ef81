"""
Let the database itself keep each Supplier to its own.

The roles are made beforehand, by somebody who may (portal/roles.sql). The owner, workers and DCC see every row: for
them a policy is `true`, and the planner leaves it out. A Supplier's people see what the policies here name, by the
Supplier that each transaction names (`portal.ground.asking`); without one, nothing. With FORCE the policies hold for
the owner as well, so that the one that lets it see everything is a decision that can be read.

A row that hangs on another follows that one's policy, through a look-up by its key. Where two tables would follow each
other, a function looks for one of them (`scheduling_booking_asks`).
"""

from django.db import migrations

ROLES = """
DO $$ BEGIN
    IF (SELECT count(*) FROM pg_roles
        WHERE rolname IN ('portal_entrance', 'portal_supplier', 'portal_staff', 'portal_worker')) < 4 THEN
        RAISE EXCEPTION 'The roles of the portal''s processes are missing. Let an administrator of PostgreSQL run '
            'portal/roles.sql (see docs/operator.md), then migrate again.';
    END IF;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO portal_staff, portal_worker;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO portal_entrance, portal_supplier, portal_staff, portal_worker;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO portal_staff, portal_worker;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES
    TO portal_entrance, portal_supplier, portal_staff, portal_worker;
GRANT SELECT ON django_migrations TO PUBLIC;
"""

# A sub-select, so that it is worked out once for each statement and compared by an index like a constant.
SUPPLIER = "(SELECT nullif(current_setting('portal.supplier', true), '')::smallint)"
IS_ASKED = "(SELECT current_setting('portal.is_asked', true) = 'yes')"

ASKS = f"""
CREATE FUNCTION scheduling_booking_asks(booking bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM scheduling_consent WHERE booking_id = booking AND supplier_id = {SUPPLIER})
$$;
REVOKE ALL ON FUNCTION scheduling_booking_asks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION scheduling_booking_asks TO portal_supplier;
"""


def follows(table: str, condition: str) -> str:
    """Return that the one row of another table that this one hangs on may be seen."""
    return f"(SELECT true FROM {table} WHERE {condition})"


BY_SUPPLIER = f"supplier_id = {SUPPLIER}"
SEEN_HUB = follows("hubs_communicationshub", "chf_id = hub")
OF_LOT = follows("scheduling_lot", "scheduling_lot.id = lot_id")
OF_DEPLOYMENT = follows("scheduling_deployment", "scheduling_deployment.id = deployment_id")
OF_SELECTION = follows("scheduling_hubselection", "scheduling_hubselection.id = selection_id")
OF_GROUP = follows("scheduling_hubgroup", "scheduling_hubgroup.id = group_id")
OF_WINDOW = follows("scheduling_protectedwindow", "scheduling_protectedwindow.id = window_id")

# Only an owner may have statistics made, and a worker needs them of a million rows that it has just staged.
LOOKED_AT = """
CREATE FUNCTION scheduling_selectionrow_looked_at() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$ BEGIN ANALYZE scheduling_selectionrow; END $$;
REVOKE ALL ON FUNCTION scheduling_selectionrow_looked_at FROM PUBLIC;
GRANT EXECUTE ON FUNCTION scheduling_selectionrow_looked_at TO portal_worker;
"""

SEES = {
    "hubs_communicationshub": f"lead_id = {SUPPLIER} OR other_id = {SUPPLIER}",
    "hubs_changeofsupplier": SEEN_HUB,
    "hubs_fleetcount": f"lead_id = {SUPPLIER}",
    "portal_user": BY_SUPPLIER,
    "portal_invitation": BY_SUPPLIER,
    "scheduling_hubselection": BY_SUPPLIER,
    "scheduling_selectionfile": OF_SELECTION,
    "scheduling_selectionrow": OF_SELECTION,
    # of a booking that asks, whoever is asked sees what it is asked, and only while it looks at that
    "scheduling_booking": f"{BY_SUPPLIER} OR ({IS_ASKED} AND scheduling_booking_asks(id))",
    "scheduling_lot": f"""{BY_SUPPLIER} OR ({IS_ASKED} AND consent_id IS NOT NULL AND {
        follows("scheduling_consent asked", f"asked.id = consent_id AND asked.{BY_SUPPLIER}")
    })""",
    "scheduling_consent": f"{BY_SUPPLIER} OR "
    + follows("scheduling_booking booking", f"booking.id = booking_id AND booking.{BY_SUPPLIER}"),
    "scheduling_objection": follows("scheduling_consent", "scheduling_consent.id = consent_id"),
    "scheduling_unplacedhub": follows("scheduling_booking", "scheduling_booking.id = booking_id"),
    # whose hub it is today sees what it is booked for, whoever booked
    "scheduling_deployment": follows("hubs_communicationshub", "chf_id = hub_id"),
    "scheduling_command": OF_DEPLOYMENT,
    "scheduling_quarantine": OF_DEPLOYMENT,
    "scheduling_firsthub": OF_DEPLOYMENT,
    "scheduling_latelook": SEEN_HUB,
    # whose hub it is today, whoever booked
    "scheduling_badhub": follows("hubs_communicationshub", "chf_id = hub_id"),
    "scheduling_lotmodel": OF_LOT,
    "scheduling_handover": OF_LOT,
    "scheduling_reclaim": OF_LOT,
    "scheduling_successtally": BY_SUPPLIER,
    "scheduling_allocation": BY_SUPPLIER,
    "scheduling_decision": f"""{BY_SUPPLIER} OR EXISTS (
        SELECT FROM scheduling_allocation followed WHERE followed.decision_id = scheduling_decision.id)""",
    "scheduling_hubexception": BY_SUPPLIER,
    "scheduling_exemption": BY_SUPPLIER,
    "scheduling_exempthub": follows("scheduling_exemption", "scheduling_exemption.id = exemption_id"),
    "scheduling_hubgroup": BY_SUPPLIER,
    # That a shared hub is in a list of the other Supplier both may know, since it keeps the hub out of slots: but not
    # which list, nor when.
    "scheduling_groupedhub": f"{OF_GROUP} OR {SEEN_HUB}",
    "scheduling_protectedwindow": BY_SUPPLIER,
    "scheduling_protectedhub": f"{OF_WINDOW} OR {SEEN_HUB}",
    "scheduling_notice": BY_SUPPLIER,
    "ground_auditentry": "(starts_with(subject, 'booking:') AND "
    + follows("scheduling_booking", "reference = substr(subject, 9)")
    + ") OR "
    + follows("portal_user", "portal_user.id = actor_id"),
}
"""By table, which of its rows a Supplier sees."""
WRITES = {
    "scheduling_hubselection": BY_SUPPLIER,
    "scheduling_selectionfile": OF_SELECTION,
    "scheduling_selectionrow": OF_SELECTION,
    "scheduling_hubgroup": BY_SUPPLIER,
    "scheduling_groupedhub": OF_GROUP,
    "scheduling_protectedwindow": BY_SUPPLIER,
    "scheduling_protectedhub": OF_WINDOW,
}
"""By table, which rows it may write by itself; all else is written by the parts that are trusted."""
SHARED = (
    *("hubs_network", "hubs_hubmodel", "hubs_firmwareversion"),
    *("firmware_firmwarerelease", "firmware_firmwarerelease_hub_models", "firmware_predecessor"),
    *("firmware_availabilityperiod", "firmware_rolloutpolicy", "firmware_halt"),
    *("scheduling_slot", "scheduling_maintenance", "scheduling_incident"),
)
"""What every Supplier may read: nothing in it is a Supplier's."""
AT_THE_DOOR = {
    "portal_session": "SELECT, INSERT, UPDATE, DELETE",
    "portal_attempt": "SELECT, INSERT, UPDATE, DELETE",
    "mfa_authenticator": "SELECT, INSERT, UPDATE, DELETE",
    "ground_requestkey": "SELECT, INSERT, UPDATE, DELETE",
    "account_emailaddress": "SELECT, INSERT, UPDATE, DELETE",
    "account_emailconfirmation": "SELECT, INSERT, UPDATE, DELETE",
    "portal_user": "SELECT, INSERT, UPDATE",
    "portal_user_groups": "SELECT, INSERT",
    "portal_user_user_permissions": "SELECT",
    "portal_invitation": "SELECT, UPDATE",
    "portal_invitation_groups": "SELECT",
    "auth_group": "SELECT",
    "auth_group_permissions": "SELECT",
    "auth_permission": "SELECT",
    "django_content_type": "SELECT",
    "hubs_supplier": "SELECT",
    "ground_auditentry": "SELECT, INSERT",
    "ground_auditpending": "INSERT",
    "scheduling_notice": "SELECT, INSERT",
}
"""What signing in and being invited need."""


def policies() -> str:
    """Return all policies and grants."""
    statements = [ROLES, ASKS, LOOKED_AT]
    for table, sees in SEES.items():
        statements += [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY everything ON {table} TO CURRENT_USER, portal_staff, portal_worker USING (true)",
            f"CREATE POLICY of_the_supplier ON {table} FOR SELECT TO portal_supplier USING ({sees})",
            f"GRANT SELECT ON {table} TO portal_supplier",
        ]
    for table, writes in WRITES.items():
        statements += [
            f"CREATE POLICY written_by_the_supplier ON {table} TO portal_supplier USING ({writes})",
            f"GRANT INSERT, UPDATE, DELETE ON {table} TO portal_supplier",
        ]
    statements += [
        f"GRANT SELECT ON {', '.join(SHARED)} TO portal_supplier",
        *(f"GRANT {what} ON {table} TO portal_entrance" for table, what in AT_THE_DOOR.items()),
        "CREATE POLICY at_the_door ON portal_user TO portal_entrance USING (true)",
        "CREATE POLICY at_the_door ON portal_invitation TO portal_entrance USING (true)",
        # e-mails about somebody's own account, and no others
        "CREATE POLICY at_the_door ON scheduling_notice TO portal_entrance USING (kind = 'account')",
        """CREATE POLICY at_the_door ON ground_auditentry TO portal_entrance
           USING (starts_with(subject, 'user:') OR starts_with(subject, 'invitation:'))""",
        # By name everybody knows all Suppliers. One locks its own row, so that its people's acts follow each other.
        "ALTER TABLE hubs_supplier ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "CREATE POLICY everything ON hubs_supplier TO CURRENT_USER, portal_staff, portal_worker USING (true)",
        "CREATE POLICY known_by_name ON hubs_supplier FOR SELECT TO portal_supplier, portal_entrance USING (true)",
        f"""CREATE POLICY locked_by_the_supplier ON hubs_supplier FOR UPDATE TO portal_supplier
            USING (id = {SUPPLIER}) WITH CHECK (false)""",
        "GRANT SELECT, UPDATE (id) ON hubs_supplier TO portal_supplier",
        # who may write an entry is whoever acts; no process changes one or takes one away, and triggers refuse the owner
        "REVOKE UPDATE, DELETE ON ground_auditentry, ground_auditlink FROM portal_staff, portal_worker",
        "GRANT INSERT ON ground_auditentry, ground_auditpending TO portal_supplier",
        f"""CREATE POLICY recorded_by_the_supplier ON ground_auditentry FOR INSERT TO portal_supplier
            WITH CHECK ({follows("portal_user", "portal_user.id = actor_id")})""",
    ]
    return ";\n".join(statements)


class Migration(migrations.Migration):
    dependencies = [
        ("portal", "0006_epochs_of_sessions"),
        ("scheduling", "0039_rows_of_old_files"),
        ("firmware", "0007_halts_of_parts"),
        ("hubs", "0007_second_factor_rule"),
        ("ground", "0006_decisions_by_their_actor"),
        ("mfa", "0003_authenticator_type_uniq"),
        ("account", "0009_emailaddress_unique_primary_email"),
    ]

    operations = [migrations.RunSQL(policies())]
