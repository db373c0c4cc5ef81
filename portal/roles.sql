-- The roles of the portal's processes, for whoever administers PostgreSQL: as a superuser, or a role that may make roles.
-- It can be run again at any time, in any database of the server, and does nothing that is done already.
--
--   psql --username postgres --file portal/roles.sql
--
-- What a process may do belongs to four roles that nobody can log in as. They own nothing, and no row is theirs
-- but by a policy (see docs/operator.md).
DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY[
        'portal_entrance NOLOGIN',  -- whoever has not said yet who they are: sign-in, sessions, invitations
        'portal_supplier NOLOGIN',  -- the people of one Supplier, which each transaction names
        'portal_staff NOLOGIN',     -- DCC's people
        'portal_worker NOLOGIN',    -- workers and beat
        -- What the processes log in as. The web process has nothing by itself: each transaction says as whom it asks.
        'portal_web LOGIN NOINHERIT',
        'portal_work LOGIN INHERIT'
    ] LOOP
        BEGIN
            EXECUTE 'CREATE ROLE ' || made;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN  -- it is there, or somebody makes it right now
            NULL;
        END;
    END LOOP;
    ALTER ROLE portal_web NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB;
    ALTER ROLE portal_work INHERIT NOSUPERUSER NOBYPASSRLS NOCREATEROLE;
    GRANT portal_entrance, portal_supplier, portal_staff TO portal_web;
    -- a worker writes a Supplier's exports as that Supplier
    GRANT portal_worker, portal_supplier TO portal_work;
END
$$;
