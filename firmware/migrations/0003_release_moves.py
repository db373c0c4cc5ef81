"""
Make illegal moves of a release impossible, and freeze what was submitted, whoever writes.

The triggers run after the CHECKs, so that a broken rule is named by its own constraint.
"""

from django.db import migrations

MOVES = (
    ("draft", "submitted"),
    ("draft", "withdrawn"),
    ("submitted", "draft"),
    ("submitted", "published"),
    ("submitted", "withdrawn"),
    ("published", "halted"),
    ("published", "closed"),
    ("published", "withdrawn"),
    ("halted", "published"),
    ("halted", "closed"),
    ("halted", "withdrawn"),
)
FROZEN = (
    "cpl_entry_id",
    "name",
    "version_id",
    "manufacturer",
    "image_type",
    "minimum_hardware",
    "maximum_hardware",
    "digest",
    "size",
    "image",
    "has_no_predecessor",
    "notes",
    "known_issues",
    "contact",
    "urgency",
    "urgency_reason",
    "author_id",
    "created_at",
)

RELEASE_FUNCTION = """
CREATE FUNCTION firmware_release_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN ({moves}) THEN
        RAISE EXCEPTION 'release % cannot move from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'release_moves', TABLE = 'firmware_firmwarerelease';
    END IF;
    IF ({old}) IS DISTINCT FROM ({new}) THEN
        IF OLD.state <> 'draft' THEN
            RAISE EXCEPTION 'release % is %: what it says is frozen', OLD.id, OLD.state
                USING ERRCODE = 'check_violation', CONSTRAINT = 'release_frozen',
                      TABLE = 'firmware_firmwarerelease';
        END IF;
        IF NEW.revision <= OLD.revision THEN
            RAISE EXCEPTION 'release % changed without a new revision', OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'release_change_has_revision',
                      TABLE = 'firmware_firmwarerelease';
        END IF;
    END IF;
    IF NEW.revision < OLD.revision THEN
        RAISE EXCEPTION 'release % cannot go back to revision %', OLD.id, NEW.revision
            USING ERRCODE = 'check_violation', CONSTRAINT = 'release_revision_grows',
                  TABLE = 'firmware_firmwarerelease';
    END IF;
    RETURN NULL;
END $$;
""".format(
    moves=", ".join(f"('{source}', '{target}')" for source, target in MOVES),
    old=", ".join(f"OLD.{column}" for column in FROZEN),
    new=", ".join(f"NEW.{column}" for column in FROZEN),
)

RELEASE_TRIGGER = """
CREATE TRIGGER release_changed AFTER UPDATE ON firmware_firmwarerelease
    FOR EACH ROW EXECUTE FUNCTION firmware_release_changed();
"""

SIGN_OFF_FUNCTION = """
CREATE FUNCTION firmware_sign_off_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NOT EXISTS (
            SELECT FROM firmware_firmwarerelease release
            WHERE release.id = NEW.release_id
              AND release.author_id = NEW.author_id AND release.submitter_id = NEW.submitter_id
              AND release.revision = NEW.revision AND release.digest = NEW.digest
        ) THEN
            RAISE EXCEPTION 'sign-off does not name the people, revision and digest of release %', NEW.release_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'sign_off_of_the_release_as_it_is',
                      TABLE = 'firmware_signoff';
        END IF;
    ELSIF OLD.voided_at IS NOT NULL OR NEW.voided_at IS NULL
        OR to_jsonb(OLD) - 'voided_at' <> to_jsonb(NEW) - 'voided_at'
    THEN
        RAISE EXCEPTION 'sign-off % can only be voided, once', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sign_off_only_voided', TABLE = 'firmware_signoff';
    END IF;
    RETURN NULL;
END $$;
"""

SIGN_OFF_TRIGGER = """
CREATE TRIGGER sign_off_written AFTER INSERT OR UPDATE ON firmware_signoff
    FOR EACH ROW EXECUTE FUNCTION firmware_sign_off_written();
"""


class Migration(migrations.Migration):
    dependencies = [("firmware", "0002_initial")]

    operations = [
        migrations.RunSQL(RELEASE_FUNCTION, "DROP FUNCTION firmware_release_changed()"),
        migrations.RunSQL(RELEASE_TRIGGER, "DROP TRIGGER release_changed ON firmware_firmwarerelease"),
        migrations.RunSQL(SIGN_OFF_FUNCTION, "DROP FUNCTION firmware_sign_off_written()"),
        migrations.RunSQL(SIGN_OFF_TRIGGER, "DROP TRIGGER sign_off_written ON firmware_signoff"),
    ]
