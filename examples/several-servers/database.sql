-- Keep all other roles of this PostgreSQL server out of the Servers' database.
REVOKE ALL ON DATABASE lyftdata FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
