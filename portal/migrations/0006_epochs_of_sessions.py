"""
Let the database end a person's sessions whenever what they are or may do changes, whoever changes it.

Their name and their last sign-in change nothing. A password is part of what a session bears, so it needs no epoch: a
password that is merely hashed anew at sign-in would else end the session that it begins.
"""

from django.db import migrations

USER_CHANGED = """
CREATE FUNCTION portal_user_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    harmless CONSTANT text[] := '{session_epoch,password,last_login,first_name,last_name}';
BEGIN
    IF to_jsonb(NEW) - harmless IS DISTINCT FROM to_jsonb(OLD) - harmless THEN
        NEW.session_epoch := OLD.session_epoch + 1;
    ELSE
        -- whoever saves a row that they read earlier does not take the epoch back
        NEW.session_epoch := greatest(NEW.session_epoch, OLD.session_epoch);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER user_changed BEFORE UPDATE ON portal_user FOR EACH ROW EXECUTE FUNCTION portal_user_changed();

CREATE FUNCTION portal_user_may_otherwise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE portal_user SET session_epoch = session_epoch + 1 WHERE id IN (OLD.user_id, NEW.user_id);
    RETURN NULL;
END $$;
CREATE TRIGGER user_changes_groups AFTER INSERT OR UPDATE OR DELETE ON portal_user_groups
    FOR EACH ROW EXECUTE FUNCTION portal_user_may_otherwise();
CREATE TRIGGER user_changes_permissions AFTER INSERT OR UPDATE OR DELETE ON portal_user_user_permissions
    FOR EACH ROW EXECUTE FUNCTION portal_user_may_otherwise();
"""
GONE = """
DROP TRIGGER user_changes_permissions ON portal_user_user_permissions;
DROP TRIGGER user_changes_groups ON portal_user_groups;
DROP FUNCTION portal_user_may_otherwise();
DROP TRIGGER user_changed ON portal_user;
DROP FUNCTION portal_user_changed();
"""


class Migration(migrations.Migration):
    dependencies = [("portal", "0005_sessions_and_attempts")]

    operations = [migrations.RunSQL(USER_CHANGED, GONE)]
