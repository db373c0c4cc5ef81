#!/bin/sh
# Run once by the PostgreSQL image on an empty volume. The portal's role is no superuser: those pass every
# grant and row-level security without a word.
set -eu
psql --username postgres --set ON_ERROR_STOP=1 --set password="$DATABASE_PASSWORD" <<'SQL'
create role portal login password :'password';
create database portal owner portal;
SQL
