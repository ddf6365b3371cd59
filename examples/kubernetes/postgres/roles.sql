-- The two roles and the database of this folder, made once by whoever may make them:
--
--   psql -v password=... -v owner_password=... -f examples/kubernetes/postgres/roles.sql
--
-- The Job makes the table as limits_owner; the servers count as fluxlimit and may nothing else.
CREATE ROLE limits_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE fluxlimit LOGIN PASSWORD :'password';
CREATE DATABASE limits OWNER limits_owner;
\connect limits
ALTER DEFAULT PRIVILEGES FOR ROLE limits_owner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO fluxlimit;
