"""What depends on the owner of tables: facts of the catalogue about tables that the fabric role does not own yet.

PostgreSQL does some things as the owner of a relation, whoever asks for them: referential actions and what they fire,
the checks of foreign keys, the actions of rules, and the functions of indexes and statistics in maintenance. It asks
other things of the same owner, and it exempts the owner, and all members of the owner, from row-level security. Where
such a thing uses nothing but what every role may use, another owner changes nothing, and there is no fact about it.

The queries read the catalogue alone. No function, operator or type of the user is ever called: their texts are not even
looked at, so a function of the user counts, whatever it does, unless it is a SECURITY DEFINER function.

Sources: "CREATE TRIGGER", "CREATE RULE" ("Rules and Privileges"), "ANALYZE", "REINDEX", "CREATE SUBSCRIPTION",
"ALTER SEQUENCE", "ALTER DEFAULT PRIVILEGES", "Row Security Policies" of the PostgreSQL docs; the release notes of 18
(AFTER triggers run as the role that was active when they were queued); SetUserIdAndSecContext in PostgreSQL's source.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from shared.desired.takeover import TableName
from shared.source.connection import Connection
from shared.source.facts import Dependent
from shared.source.membership import major


async def dependents(connection: Connection, role: str, tables: Sequence[TableName]) -> tuple[Dependent, ...]:
    """What depends on the owner of those of `tables` that exist and that `role` does not own; `role` may be missing."""
    new = major(connection) >= 16
    parameters = {
        "role": role,
        "schemas": [table.schema for table in tables],
        "names": [table.name for table in tables],
        "become": "SET" if new else "MEMBER",
    }
    facts: list[Dependent] = []
    async with connection.transaction():
        await connection.execute(_PLAN)
        for query in (_CODE, _RELATIONS, _SUBSCRIPTIONS_16 if new else _SUBSCRIPTIONS_14, _OWNERS):
            for row in await (await connection.execute(_TARGETS + query, parameters)).fetchall():
                name = TableName(row.pop("schema"), row.pop("name"))
                facts.append(Dependent(table=name, **row))
    return tuple(facts)


# The planner takes the parts of these queries for small. With many tables nested loops over them take minutes.
_PLAN = sql.SQL("""
    SELECT pg_catalog.set_config('enable_nestloop', 'off', true), pg_catalog.set_config('jit', 'off', true)
""")

# `rights` is the role, or PUBLIC while there is no such role: has_…_privilege knows both.
_TARGETS = sql.SQL("""
    WITH RECURSIVE who AS (
        SELECT r.oid, coalesce(r.rolname, 'public') AS rights
        FROM (VALUES (%(role)s::name)) AS wanted (name) LEFT JOIN pg_catalog.pg_roles r ON r.rolname = wanted.name
    ), target AS (
        SELECT c.oid, c.relowner, c.relnamespace, c.relrowsecurity AND NOT c.relforcerowsecurity AS exempts,
               n.nspname::text AS schema, c.relname::text AS name, n.nspname || '.' || c.relname AS label,
               pg_catalog.pg_get_userbyid(c.relowner)::text AS owner
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relowner IS DISTINCT FROM (SELECT oid FROM who)
          AND (n.nspname, c.relname) IN (
              SELECT * FROM ROWS FROM (pg_catalog.unnest(%(schemas)s::name[]), pg_catalog.unnest(%(names)s::name[]))
          )
    ),
""")

# An UPDATE by a referential action evaluates checks, generated columns and domains; a DELETE evaluates none of them.
# PostgreSQL 14 notes what a generated column uses as a dependency of the column, later versions of its expression.
# A trigger with ENABLE REPLICA never fires in a referential action, since that is itself the work of a plain trigger.
# `checked`: PostgreSQL asks for EXECUTE where an expression calls a function, but not where a trigger or a type does. A
# function of an extension may look up names in its own schema, and so do the checks of foreign keys. Functions of
# extensions are written for everybody, but those for triggers may write to tables, or note who is at work.
_CODE = sql.SQL("""
    action AS (
        SELECT t.oid AS target, k.conkey, k.confdeltype = 'c' AS deletes,
               k.confdeltype IN ('n', 'd') OR k.confupdtype IN ('c', 'n', 'd') AS updates,
               'd' IN (k.confdeltype, k.confupdtype) AS sets_default
        FROM target t JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid AND k.contype = 'f'
        WHERE EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgconstraint = k.oid AND g.tgrelid = k.confrelid)
    ), updated AS (
        SELECT a.target, u.attnum, pg_catalog.bool_or(a.sets_default) AS sets_default
        FROM action a, pg_catalog.unnest(a.conkey) AS u (attnum) WHERE a.updates GROUP BY 1, 2
    ), fired AS (
        SELECT DISTINCT g.oid, g.tgfoid, g.tgname, g.tgrelid AS target,
               CASE WHEN g.tgtype & 2 <> 0 THEN 'trigger' ELSE 'after trigger' END AS kind
        FROM pg_catalog.pg_trigger g JOIN action a ON a.target = g.tgrelid
        WHERE NOT g.tgisinternal AND g.tgenabled IN ('O', 'A')
          AND (a.deletes AND g.tgtype & 8 <> 0
               OR a.updates AND g.tgtype & 16 <> 0
                  AND (pg_catalog.cardinality(g.tgattr::int2[]) = 0 OR g.tgattr::int2[] && a.conkey))
    ), object (kind, target, label, class, oid, part, skipped) AS (
        SELECT kind, target, 'trigger ' || tgname, 'pg_catalog.pg_trigger'::pg_catalog.regclass, oid, 0, tgfoid
        FROM fired
        UNION ALL
        SELECT 'index', i.indrelid, 'index ' || x.relname, 'pg_catalog.pg_class'::pg_catalog.regclass, x.oid, 0, 0
        FROM target t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid
        JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        UNION ALL
        SELECT 'statistics', s.stxrelid, 'statistics ' || s.stxname,
               'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, s.oid, 0, 0
        FROM target t JOIN pg_catalog.pg_statistic_ext s ON s.stxrelid = t.oid
        UNION ALL
        SELECT 'check constraint', k.conrelid, 'check constraint ' || k.conname,
               'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid, 0, 0
        FROM pg_catalog.pg_constraint k WHERE k.contype = 'c' AND k.conrelid IN (SELECT target FROM updated)
        UNION ALL
        SELECT CASE a.attgenerated WHEN '' THEN 'default' ELSE 'generated column' END, a.attrelid,
               CASE a.attgenerated WHEN '' THEN 'default of column ' ELSE 'generated column ' END || a.attname,
               u.class, CASE u.class WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN a.attrelid ELSE d.oid END,
               CASE u.class WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN a.attnum ELSE 0 END, 0
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        JOIN (VALUES ('pg_catalog.pg_attrdef'::pg_catalog.regclass), ('pg_catalog.pg_class')) AS u (class)
          ON u.class = 'pg_catalog.pg_attrdef'::pg_catalog.regclass OR a.attgenerated = 's'
        WHERE a.attgenerated = 's' AND a.attrelid IN (SELECT target FROM updated)
           OR a.attgenerated = '' AND (a.attrelid, a.attnum) IN (SELECT target, attnum FROM updated WHERE sets_default)
    ), calls (class, oid, part, function) AS (
        SELECT classid, objid, objsubid, refobjid FROM pg_catalog.pg_depend
        WHERE refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
        UNION ALL
        SELECT d.classid, d.objid, d.objsubid, o.oprcode
        FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_operator o ON o.oid = d.refobjid
        WHERE d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass
    ), domain (oid, base) AS (
        SELECT oid, oid FROM pg_catalog.pg_type WHERE typtype = 'd'
        UNION
        SELECT d.oid, t.typbasetype FROM domain d JOIN pg_catalog.pg_type t ON t.oid = d.base AND t.typtype = 'd'
    ), domain_call (domain, function) AS (
        SELECT d.oid, c.function FROM domain d JOIN pg_catalog.pg_constraint k ON k.contypid = d.base
        JOIN calls c ON c.class = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND c.oid = k.oid
    ), code (kind, target, label, function, checked) AS (
        SELECT o.kind, o.target, o.label, c.function, true
        FROM object o JOIN calls c ON c.class = o.class AND c.oid = o.oid AND c.part = o.part
                                   AND c.function <> o.skipped
        UNION
        SELECT o.kind, o.target, o.label, c.function, true
        FROM object o JOIN pg_catalog.pg_depend d ON d.classid = o.class AND d.objid = o.oid AND d.objsubid = o.part
                                                 AND d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass
        JOIN domain_call c ON c.domain = d.refobjid
        UNION
        SELECT 'domain', a.attrelid, 'domain of column ' || a.attname, c.function, true
        FROM updated u JOIN pg_catalog.pg_attribute a ON a.attrelid = u.target AND a.attnum = u.attnum
        JOIN domain_call c ON c.domain = a.atttypid
        UNION
        SELECT 'foreign key', t.oid, 'foreign key ' || k.conname, o.oprcode, true
        FROM pg_catalog.pg_constraint k, pg_catalog.unnest(ARRAY[k.conrelid, k.confrelid]) AS side (oid)
        JOIN target t ON t.oid = side.oid,
             pg_catalog.unnest(k.conpfeqop || k.conppeqop || k.conffeqop) AS u (operator)
        JOIN pg_catalog.pg_operator o ON o.oid = u.operator
        WHERE k.contype = 'f'
        UNION
        SELECT 'range type', t.oid, 'range type of column ' || a.attname, r.rngsubdiff, false
        FROM target t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN domain d ON d.oid = a.atttypid
        JOIN pg_catalog.pg_range r ON coalesce(d.base, a.atttypid) IN (r.rngtypid, r.rngmultitypid)
        UNION
        SELECT kind, target, 'trigger ' || tgname, tgfoid, false FROM fired
    ), function AS (
        SELECT p.oid, p.prosecdef, n.nspname IN ('pg_catalog', 'information_schema') AS of_system, n.nspname,
               n.oid IN (SELECT relnamespace FROM target)
               OR pg_catalog.has_schema_privilege(who.rights, n.oid, 'USAGE') AS may_use,
               pg_catalog.has_function_privilege(who.rights, p.oid, 'EXECUTE') AS may_execute,
               EXISTS (SELECT FROM pg_catalog.pg_depend e
                       WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = p.oid
                         AND e.deptype = 'e') AS of_extension,
               pg_catalog.format('%%I.%%I(%%s)', n.nspname, p.proname,
                                 pg_catalog.pg_get_function_identity_arguments(p.oid)) AS signature
        FROM who, pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE p.oid IN (SELECT function FROM code)
    ), reliance AS (
        SELECT c.kind, c.target, c.label, f.signature,
               CASE WHEN NOT (f.of_system OR f.prosecdef OR f.of_extension AND (c.checked OR c.kind = 'range type'))
                    THEN pg_catalog.format('ALTER FUNCTION %%s SECURITY DEFINER; ', f.signature) ELSE '' END
               || CASE WHEN c.checked AND NOT f.may_execute
                       THEN pg_catalog.format('GRANT EXECUTE ON FUNCTION %%s TO %%I; ', f.signature, %(role)s::text)
                       ELSE '' END
               || CASE WHEN c.checked AND f.of_extension AND NOT f.of_system AND NOT f.may_use
                       THEN pg_catalog.format('GRANT USAGE ON SCHEMA %%I TO %%I; ', f.nspname, %(role)s::text)
                       ELSE '' END AS statement
        FROM code c JOIN function f ON f.oid = c.function
    )
    SELECT r.kind, t.schema, t.name, t.owner, r.label || ' of ' || t.label AS object, r.signature AS subject,
           pg_catalog.rtrim(r.statement) AS statement
    FROM reliance r JOIN target t ON t.oid = r.target WHERE r.statement <> ''
    ORDER BY r.kind, t.schema, t.name, r.label, r.signature
""")

# A rule asks for rights on relations alone: its functions run with the rights of whoever fires it. A relation that
# comes along to the fabric role, or on which that role has every right, is no obstacle; but under row-level security
# rights are not enough, and being the owner is not where it is forced.
_RELATIONS = sql.SQL("""
    rule AS (
        SELECT DISTINCT w.rulename, t.oid AS target, r.oid AS relation, r.relrowsecurity,
               pg_catalog.format('%%I.%%I', n.nspname, r.relname) AS name
        FROM who CROSS JOIN target t JOIN pg_catalog.pg_rewrite w ON w.ev_class = t.oid AND w.ev_enabled <> 'D'
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
                                   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        JOIN pg_catalog.pg_class r ON r.oid = d.refobjid AND r.oid <> t.oid AND r.relkind <> 'S'
        JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
        WHERE CASE WHEN r.relowner = who.oid OR r.oid IN (SELECT oid FROM target) THEN r.relforcerowsecurity
                   ELSE r.relrowsecurity
                        OR NOT (pg_catalog.has_table_privilege(who.rights, r.oid, 'SELECT')
                                AND pg_catalog.has_table_privilege(who.rights, r.oid, 'INSERT')
                                AND pg_catalog.has_table_privilege(who.rights, r.oid, 'UPDATE')
                                AND pg_catalog.has_table_privilege(who.rights, r.oid, 'DELETE')) END
    ), linkable AS (
        SELECT t.oid AS target, s.relname, a.attname, pg_catalog.format('%%I.%%I', t.schema, s.relname) AS sequence,
               pg_catalog.format('%%I.%%I.%%I', t.schema, t.name, a.attname) AS owned_by
        FROM target t JOIN pg_catalog.pg_attrdef f ON f.adrelid = t.oid
        JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid
                                   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        JOIN pg_catalog.pg_class s ON s.oid = d.refobjid AND s.relkind = 'S' AND s.relowner = t.relowner
                                  AND s.relnamespace = t.relnamespace
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend l
                          WHERE l.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND l.objid = s.oid
                            AND l.refclassid = l.classid AND l.deptype IN ('a', 'i'))
    ), dependent (kind, target, object, subject, statement) AS (
        SELECT 'rule', target, 'rule ' || rulename, name,
               CASE WHEN relrowsecurity THEN '' ELSE
                    pg_catalog.format('GRANT SELECT, INSERT, UPDATE, DELETE ON %%s TO %%I;', name, %(role)s::text) END
        FROM rule
        UNION ALL
        SELECT 'sequence', target, 'default of column ' || attname, sequence,
               pg_catalog.format('ALTER SEQUENCE %%s OWNED BY %%s;', sequence, owned_by)
        FROM linkable
    )
    SELECT d.kind, t.schema, t.name, t.owner, d.object || ' of ' || t.label AS object, d.subject, d.statement
    FROM dependent d JOIN target t ON t.oid = d.target ORDER BY d.kind, t.schema, t.name, d.object, d.subject
""")

_SUBSCRIPTIONS = """
    subscription AS (
        SELECT s.oid, s.subname, s.subowner FROM pg_catalog.pg_subscription s
        JOIN pg_catalog.pg_database d ON d.oid = s.subdbid AND d.datname = pg_catalog.current_database()
        {where}
    )
    SELECT 'subscription' AS kind, t.schema, t.name, t.owner,
           'subscription ' || s.subname || ' of ' || pg_catalog.pg_get_userbyid(s.subowner) AS object,
           pg_catalog.pg_get_userbyid(s.subowner)::text AS subject,
           pg_catalog.format('ALTER SUBSCRIPTION %%I SET (run_as_owner = true);', s.subname) AS statement
    FROM subscription s JOIN pg_catalog.pg_subscription_rel r ON r.srsubid = s.oid JOIN target t ON t.oid = r.srrelid
    ORDER BY s.subname, t.schema, t.name
"""
_SUBSCRIPTIONS_14 = sql.SQL(_SUBSCRIPTIONS).format(where=sql.SQL(""))
_SUBSCRIPTIONS_16 = sql.SQL(_SUBSCRIPTIONS).format(where=sql.SQL("WHERE NOT s.subrunasowner"))

# `heir`: who has the rights of the fabric role then. Besides the owners these are its members of today, who may be the
# former owners of tables in other databases. The app's own identity and superusers gain nothing.
_OWNERS = sql.SQL("""
    owner AS (
        SELECT DISTINCT ON (t.relowner) t.relowner AS oid, t.owner AS name, t.oid AS target, t.label,
               pg_catalog.count(*) OVER (PARTITION BY t.relowner) AS tables
        FROM target t ORDER BY t.relowner, t.schema, t.name
    ), member AS (
        SELECT DISTINCT m.member AS oid FROM who JOIN pg_catalog.pg_auth_members m ON m.roleid = who.oid
        WHERE pg_catalog.pg_has_role(m.member, who.oid, 'USAGE')
           OR pg_catalog.pg_has_role(m.member, who.oid, %(become)s)
    ), heir AS (
        SELECT r.oid, r.rolname::text AS name, r.rolbypassrls, r.oid IN (SELECT oid FROM member) AS already
        FROM pg_catalog.pg_roles r
        WHERE r.oid IN (SELECT oid FROM owner UNION SELECT oid FROM member)
          AND NOT r.rolsuper AND r.rolname <> CURRENT_USER
    ), gain AS (
        SELECT h.name AS heir, h.rolbypassrls, o.oid AS owner, o.target,
               pg_catalog.format('the tables of %%s', o.name) AS object
        FROM heir h JOIN owner o ON NOT pg_catalog.pg_has_role(h.oid, o.oid, 'USAGE')
    ), gainers AS (
        SELECT owner, (pg_catalog.array_agg(heir ORDER BY heir))[1:3] AS first, pg_catalog.count(*) AS number
        FROM gain WHERE NOT rolbypassrls GROUP BY owner
    ), lacking AS (
        SELECT d.defaclrole AS owner, a.grantee, a.is_grantable, n.nspname,
               pg_catalog.string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS privileges
        FROM pg_catalog.pg_default_acl d JOIN owner o ON o.oid = d.defaclrole
        LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace,
             pg_catalog.aclexplode(d.defaclacl) a
        WHERE d.defaclobjtype = 'S' AND a.grantee <> d.defaclrole
          AND (d.defaclnamespace = 0
               OR EXISTS (SELECT FROM target t WHERE t.relowner = o.oid AND t.relnamespace = d.defaclnamespace))
          AND NOT EXISTS (
              SELECT FROM who JOIN pg_catalog.pg_default_acl e ON e.defaclrole = who.oid AND e.defaclobjtype = 'S'
                                                              AND e.defaclnamespace = d.defaclnamespace,
                          pg_catalog.aclexplode(e.defaclacl) b
              WHERE b.grantee = a.grantee AND b.privilege_type = a.privilege_type AND b.is_grantable >= a.is_grantable)
        GROUP BY 1, 2, 3, 4
    ), default_statement AS (
        SELECT owner, pg_catalog.string_agg(
            pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %%I ', %(role)s::text)
            || coalesce('IN SCHEMA ' || pg_catalog.quote_ident(nspname) || ' ', '')
            || pg_catalog.format('GRANT %%s ON SEQUENCES TO ', privileges)
            || CASE grantee WHEN 0 THEN 'PUBLIC'
                            ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)) END
            || CASE WHEN is_grantable THEN ' WITH GRANT OPTION;' ELSE ';' END,
            ' ' ORDER BY nspname, grantee, is_grantable) AS statement
        FROM lacking GROUP BY owner
    ), dependent (kind, target, object, subject, statement) AS (
        SELECT 'default privileges', o.target, 'default privileges of ' || o.name || ' for sequences', o.name,
               d.statement
        FROM owner o JOIN default_statement d ON d.owner = o.oid
        UNION ALL
        SELECT 'row-level security', t.oid, 'row-level security of ' || t.label,
               pg_catalog.array_to_string(g.first, ', ')
               || CASE WHEN g.number > 3 THEN pg_catalog.format(' and %%s more roles', g.number - 3) ELSE '' END, ''
        FROM target t JOIN gainers g ON g.owner = t.relowner WHERE t.exempts
        UNION ALL
        SELECT 'other owner', target, object, heir, '' FROM gain
        UNION ALL
        SELECT 'other owner', o.target, 'the tables that the fabric role owns already', h.name, ''
        FROM heir h JOIN owner o ON o.oid = h.oid
        WHERE NOT h.already
          AND EXISTS (SELECT FROM who JOIN pg_catalog.pg_class c ON c.relowner = who.oid AND c.relkind = 'r')
        UNION ALL
        SELECT 'no inheritance', o.target, 'the tables of ' || o.name, o.name,
               pg_catalog.format('ALTER ROLE %%I INHERIT;', o.name)
        FROM owner o JOIN pg_catalog.pg_roles r ON r.oid = o.oid AND NOT r.rolinherit AND NOT r.rolsuper
        UNION ALL
        SELECT 'set role', o.target, 'the tables of ' || o.name, o.name, ''
        FROM owner o JOIN heir h ON h.oid = o.oid
        UNION ALL
        SELECT 'schema', o.target, 'foreign keys of tables of ' || o.name, n.nspname,
               pg_catalog.format('GRANT USAGE ON SCHEMA %%I TO %%I;', n.nspname, %(role)s::text)
        FROM who, owner o JOIN pg_catalog.pg_namespace n
             ON n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'azure_cdc')
                AND n.oid NOT IN (SELECT relnamespace FROM target)
        WHERE NOT pg_catalog.has_schema_privilege(who.rights, n.oid, 'USAGE')
          AND pg_catalog.has_schema_privilege(o.oid, n.oid, 'CREATE')
          AND o.oid IN (SELECT t.relowner
                        FROM pg_catalog.pg_constraint k, pg_catalog.unnest(ARRAY[k.conrelid, k.confrelid]) AS side (oid)
                        JOIN target t ON t.oid = side.oid WHERE k.contype = 'f')
        UNION ALL
        SELECT 'event trigger', (SELECT target FROM owner ORDER BY label LIMIT 1), 'event trigger ' || e.evtname,
               pg_catalog.format('%%I.%%I()', n.nspname, p.proname),
               pg_catalog.format('ALTER EVENT TRIGGER %%I DISABLE;', e.evtname)
        FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE e.evtenabled IN ('O', 'A') AND e.evtevent IN ('ddl_command_start', 'ddl_command_end')
          AND (e.evttags IS NULL OR e.evttags && ARRAY['ALTER TABLE', 'GRANT', 'REVOKE'])
          AND EXISTS (SELECT FROM target)
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend x
                          WHERE x.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass
                            AND x.objid = e.oid AND x.deptype = 'e')
    )
    SELECT d.kind, t.schema, t.name, t.owner, d.object, d.subject, d.statement
    FROM dependent d JOIN target t ON t.oid = d.target ORDER BY d.kind, t.schema, t.name, d.object, d.subject
""")
