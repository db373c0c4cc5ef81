"""
Let the database itself refuse roles that nobody has together, and DCC's roles to people of a Supplier.

The pairs are those of `portal.ground.roles.CONFLICTS`; tests/portal/test_roles.py compares both.
"""

from django.db import migrations

APART = """
CREATE FUNCTION portal_roles_apart() RETURNS TABLE (one text, other text) LANGUAGE sql IMMUTABLE AS $$
    VALUES ('DCC release managers', 'DCC approvers'),
           ('DCC user administrators', 'DCC release managers'),
           ('DCC user administrators', 'DCC approvers'),
           ('DCC user administrators', 'DCC operations'),
           ('DCC auditors', 'DCC release managers'),
           ('DCC auditors', 'DCC approvers'),
           ('DCC auditors', 'DCC operations'),
           ('DCC auditors', 'DCC user administrators')
$$;

CREATE FUNCTION portal_user_has_roles_together() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_supplier integer;
    pair record;
BEGIN
    -- of two who give the same person a role each, the second waits, and sees what the first gave
    SELECT supplier_id INTO of_supplier FROM portal_user WHERE id = NEW.user_id FOR NO KEY UPDATE;
    IF of_supplier IS NOT NULL THEN
        RAISE EXCEPTION 'groups are for people of DCC: user % is a Supplier''s', NEW.user_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'user_of_a_supplier_has_no_groups',
                  TABLE = 'portal_user_groups';
    END IF;
    SELECT apart.one, apart.other INTO pair FROM portal_roles_apart() apart
    JOIN auth_group first ON first.name = apart.one
    JOIN portal_user_groups has_first ON has_first.group_id = first.id AND has_first.user_id = NEW.user_id
    JOIN auth_group second ON second.name = apart.other
    JOIN portal_user_groups has_second ON has_second.group_id = second.id AND has_second.user_id = NEW.user_id
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% and % are for two people', pair.one, pair.other
            USING ERRCODE = 'check_violation', CONSTRAINT = 'user_roles_apart', TABLE = 'portal_user_groups';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER user_roles_apart AFTER INSERT OR UPDATE ON portal_user_groups
    FOR EACH ROW EXECUTE FUNCTION portal_user_has_roles_together();

CREATE FUNCTION portal_user_of_a_supplier_has_no_groups() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM portal_user_groups WHERE user_id = NEW.id) THEN
        RAISE EXCEPTION 'groups are for people of DCC: user % has some', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'user_of_a_supplier_has_no_groups', TABLE = 'portal_user';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER user_of_a_supplier_has_no_groups AFTER UPDATE OF supplier_id ON portal_user
    FOR EACH ROW WHEN (NEW.supplier_id IS NOT NULL AND OLD.supplier_id IS DISTINCT FROM NEW.supplier_id)
    EXECUTE FUNCTION portal_user_of_a_supplier_has_no_groups();
"""
TOGETHER = """
DROP FUNCTION portal_user_of_a_supplier_has_no_groups() CASCADE;
DROP FUNCTION portal_user_has_roles_together() CASCADE;
DROP FUNCTION portal_roles_apart();
"""


class Migration(migrations.Migration):
    dependencies = [("portal", "0008_nobody_purges")]

    operations = [migrations.RunSQL(APART, TOGETHER)]
