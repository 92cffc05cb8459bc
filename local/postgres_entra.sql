-- What a flexible server knows of Microsoft Entra ID: which role is mapped to which principal, as
-- `SECURITY LABEL FOR "pgaadauth"` keeps it on Azure. PostgreSQL takes labels only from a provider that was compiled for
-- it, so here a table keeps them, and Azure's functions for them are written over it ("Manage Microsoft Entra roles in
-- Azure Database for PostgreSQL"). Who maps a role has to be a Microsoft Entra administrator. A mapped role's password
-- is its principal's token of now: the control plane calls `renew` when tokens change.

SET allow_system_table_mods = on;

CREATE SCHEMA azure_entra;

GRANT USAGE ON SCHEMA azure_entra TO PUBLIC;

CREATE TABLE azure_entra.tokens (object_id text PRIMARY KEY, token text NOT NULL);

CREATE TABLE azure_entra.labels (
    role name PRIMARY KEY, object_id text NOT NULL, type text NOT NULL, admin boolean NOT NULL);

CREATE FUNCTION azure_entra.open(wanted name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT l.role, t.token FROM azure_entra.labels l JOIN pg_roles r ON r.rolname = l.role
                 LEFT JOIN azure_entra.tokens t USING (object_id) WHERE wanted IS NULL OR l.role = wanted
    LOOP
        EXECUTE format('ALTER ROLE %I PASSWORD %L', found.role, found.token);
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION azure_entra.open FROM PUBLIC;

CREATE FUNCTION azure_entra.renew(current_tokens jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    DELETE FROM azure_entra.tokens;
    INSERT INTO azure_entra.tokens SELECT * FROM jsonb_each_text(current_tokens);
    PERFORM azure_entra.open(NULL);
END $$;

REVOKE EXECUTE ON FUNCTION azure_entra.renew FROM PUBLIC;

CREATE FUNCTION azure_entra.label(labelled name, principal text, kind text, administrator boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF session_user <> current_user
       AND NOT EXISTS (SELECT FROM azure_entra.labels l WHERE l.role = session_user AND l.admin) THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('%s is no Microsoft Entra administrator, and may not map roles', session_user);
    END IF;
    INSERT INTO azure_entra.labels VALUES (labelled, lower(principal), kind, administrator)
    ON CONFLICT (role) DO UPDATE SET object_id = excluded.object_id, type = excluded.type, admin = excluded.admin;
    PERFORM azure_entra.open(labelled);
END $$;

CREATE FUNCTION pg_catalog.pgaadauth_create_principal_with_oid(
    rolename text, objectid text, objecttype text, isadmin boolean, ismfa boolean) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF isadmin OR ismfa THEN
        RAISE feature_not_supported USING MESSAGE = 'the local stack has neither isAdmin nor isMfa';
    END IF;
    IF objecttype NOT IN ('user', 'group', 'service') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%L is neither user, group nor service', objecttype);
    END IF;
    EXECUTE format('CREATE ROLE %I LOGIN', rolename);
    PERFORM azure_entra.label(rolename::name, objectid, objecttype, false);
    RETURN format('Created role for %I', rolename);
END $$;

CREATE FUNCTION pg_catalog.pgaadauth_list_principals(isadminvalue boolean)
RETURNS TABLE (rolename name, principaltype text, objectid text, tenantid text, ismfa integer, isadmin integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT l.role, l.type, l.object_id, '', 0, l.admin::integer
    FROM azure_entra.labels l JOIN pg_roles r ON r.rolname = l.role WHERE l.admin OR NOT isadminvalue ORDER BY l.role $$;
