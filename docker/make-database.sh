#!/bin/sh
# Run once by the PostgreSQL image on an empty volume. None of the portal's roles is a superuser: those pass every
# grant and row-level security without a word. One owns the tables, the processes log in as the others.
set -eu
psql --username postgres --set ON_ERROR_STOP=1 --file /portal-roles.sql
psql --username postgres --set ON_ERROR_STOP=1 --set password="$DATABASE_PASSWORD" \
    --set web_password="$WEB_DATABASE_PASSWORD" --set work_password="$WORK_DATABASE_PASSWORD" <<'SQL'
create role portal login password :'password';
alter role portal_web password :'web_password';
alter role portal_work password :'work_password' createdb;
create database portal owner portal;
SQL
