-- The part of Azure's azure_cdc extension that clients see: its tables, its functions and what azure_cdc_admin may do.
-- Names, columns, status codes and the list of types are those of the "Fabric mirroring" documentation for flexible
-- server. Azure does not say whether NOT_TABLE_OWNER means a role without the rights of the owner, or every role but the
-- owner itself: the setting local.azure_cdc chooses (`membership`, `ownership`). With `silent` the extension is a preview
-- that can't be asked. Azure's two lists of types differ: local.azure_cdc_types chooses (`older`, `newest`).
-- The work itself, reading changes and shipping them, is done in Azure by the extension's own processes, and
-- here by the Fabric stand-in, which writes the tracking tables as a member of azure_cdc_admin.

DO $$
DECLARE
    allowed text := lower(coalesce(current_setting('azure.extensions', true), ''));
    preloaded text := lower(current_setting('shared_preload_libraries'));
BEGIN
    IF NOT 'azure_cdc' = ANY (string_to_array(replace(allowed, ' ', ''), ',')) THEN
        RAISE EXCEPTION 'extension "azure_cdc" is not allow-listed for users in Azure Database for PostgreSQL'
            USING ERRCODE = 'insufficient_privilege', HINT = 'Add it to the server parameter azure.extensions.';
    END IF;
    IF NOT 'azure_cdc' = ANY (string_to_array(replace(preloaded, ' ', ''), ',')) THEN
        RAISE EXCEPTION 'azure_cdc must be loaded via shared_preload_libraries'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Add it to the server parameter shared_preload_libraries and restart the server.';
    END IF;
END
$$;

CREATE TYPE data_format AS ENUM ('parquet');

CREATE TABLE tracked_publications (
    publication_id oid PRIMARY KEY,
    destination_path text NOT NULL,
    destination_format data_format NOT NULL DEFAULT 'parquet',
    include_data boolean NOT NULL DEFAULT true,
    include_changes boolean NOT NULL DEFAULT true,
    active boolean NOT NULL DEFAULT true,
    snapshot_done boolean NOT NULL DEFAULT false,
    snapshot_progress smallint NOT NULL DEFAULT 0,
    snapshot_progress_percentage text NOT NULL DEFAULT '0',
    generation_id integer NOT NULL DEFAULT 1,
    stream_start_lsn pg_lsn,
    stream_start_time timestamp,
    stream_stop_lsn pg_lsn,
    snapshot_size bigint NOT NULL DEFAULT 0,
    total_time integer NOT NULL DEFAULT 0
);

CREATE TABLE tracked_batches (
    publication_id oid NOT NULL REFERENCES tracked_publications ON DELETE CASCADE,
    completed_batch_id bigint NOT NULL,
    last_written_lsn pg_lsn NOT NULL,
    PRIMARY KEY (publication_id, completed_batch_id)
);

CREATE TABLE tracked_tables (
    publication_id oid NOT NULL REFERENCES tracked_publications ON DELETE CASCADE,
    table_oid oid NOT NULL,
    sequence_number bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (publication_id, table_oid)
);

CREATE FUNCTION list_tracked_publications() RETURNS SETOF text
LANGUAGE sql STABLE AS $$
    SELECT concat_ws(',', p.pubname, t.include_data, t.include_changes, t.active, t.snapshot_done, t.generation_id)
    FROM @extschema@.tracked_publications t JOIN pg_catalog.pg_publication p ON p.oid = t.publication_id
    ORDER BY p.pubname
$$;

-- Ends the stream of a publication for good: its session, its slot (which bears its name), its record and itself.
CREATE FUNCTION stop_publication(publication_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    publication oid := (SELECT oid FROM pg_publication WHERE pubname = publication_name);
    stream pg_replication_slots;
BEGIN
    IF publication IS NULL OR NOT EXISTS (
        SELECT FROM @extschema@.tracked_publications t WHERE t.publication_id = publication
    ) THEN
        RAISE EXCEPTION 'publication "%" is not tracked', publication_name USING ERRCODE = 'undefined_object',
            HINT = 'azure_cdc.list_tracked_publications() names those that are.';
    END IF;
    FOR stream IN
        SELECT * FROM pg_replication_slots WHERE slot_name = publication_name AND database = current_database()
    LOOP
        PERFORM pg_terminate_backend(stream.active_pid, 5000);
        PERFORM pg_drop_replication_slot(stream.slot_name);
    END LOOP;
    DELETE FROM @extschema@.tracked_publications WHERE publication_id = publication;
    EXECUTE format('DROP PUBLICATION %I', publication_name);
END
$$;

-- What speaks for and against mirroring one table: a JSON array of {status, status_code, details?}.
CREATE FUNCTION table_mirror_status(relation oid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH
    supported (type) AS (
        SELECT unnest(ARRAY['bigint', 'boolean', 'bytea', 'character', 'character varying', 'date', 'double precision',
            'integer', 'numeric', 'real', 'oid', 'money', 'smallint', 'text', 'time without time zone',
            'time with time zone', 'timestamp without time zone', 'timestamp with time zone', 'uuid']::regtype[])
        UNION ALL
        SELECT unnest(ARRAY['xml', 'json', 'jsonb', 'inet', 'cidr', 'macaddr', 'macaddr8', 'tsvector', 'tsquery',
            'int4range', 'int8range', 'numrange', 'tsrange', 'tstzrange', 'daterange', 'circle', 'line', 'lseg', 'box',
            'path', 'point', 'polygon', 'interval']::regtype[])
        WHERE current_setting('local.azure_cdc_types', true) = 'newest'
    ),
    subject AS (SELECT * FROM pg_class WHERE oid = relation),
    columns AS (
        SELECT attnum, attname::text AS name, attnotnull,
               format_type(atttypid, atttypmod) AS type,
               atttypid IN (SELECT type FROM supported) AS supported,
               atttypid IN (SELECT type FROM supported) AND atttypid <> 'timetz'::regtype AS fit_for_key
        FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped
    ),
    keys AS (
        SELECT i.indisprimary, bool_and(c.fit_for_key) AS fit
        FROM pg_index i JOIN columns c ON c.attnum = ANY (i.indkey[0 : i.indnkeyatts - 1])
        WHERE i.indrelid = relation AND i.indisunique AND i.indimmediate AND i.indisvalid
          AND i.indpred IS NULL AND i.indexprs IS NULL
        GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(c.attnotnull)
    ),
    findings (position, status, code, details) AS (
        SELECT 1, 'ERROR', 'NOT_REGULAR_TABLE', NULL::jsonb FROM subject
        WHERE relkind <> 'r' OR relpersistence <> 'p' OR relispartition
        UNION ALL
        SELECT 2, 'ERROR', 'NOT_TABLE_OWNER', NULL FROM subject
        WHERE CASE WHEN current_setting('local.azure_cdc', true) IN ('ownership', 'silent')
                   THEN pg_get_userbyid(relowner) <> current_user
                   ELSE NOT pg_has_role(current_user, relowner, 'USAGE') END
        UNION ALL
        SELECT 3, 'ERROR', 'FORBIDDEN_CHARS_IN_TABLE_NAME', NULL FROM subject WHERE relname ~ '[ ;{}\n\t=()]'
        UNION ALL
        SELECT 4, 'ERROR', 'FORBIDDEN_CHARS_IN_COLUMN_NAME', jsonb_agg(name) FROM columns
        WHERE name ~ '[ ;{}\n\t=()]' HAVING count(*) > 0
        UNION ALL
        SELECT 5, 'WARNING', 'UNSUPPORTED_DATA_TYPE', jsonb_object_agg(name, type) FROM columns
        WHERE NOT supported HAVING count(*) > 0
        UNION ALL
        SELECT 6, 'ERROR', 'UNSUPPORTED_TYPE_IN_REPLICA_IDENTITY', NULL
        WHERE NOT EXISTS (SELECT FROM keys WHERE fit)
          AND (EXISTS (SELECT FROM keys) OR EXISTS (SELECT FROM columns WHERE NOT supported))
        UNION ALL
        SELECT 7, 'OK', 'HAS_PRIMARY_KEY', NULL WHERE EXISTS (SELECT FROM keys WHERE fit AND indisprimary)
        UNION ALL
        SELECT 8, 'OK', 'HAS_UNIQUE_INDEX', NULL
        WHERE EXISTS (SELECT FROM keys WHERE fit) AND NOT EXISTS (SELECT FROM keys WHERE fit AND indisprimary)
        UNION ALL
        SELECT 9, 'WARNING', 'NO_INDEX_FULL_IDENTITY', NULL WHERE NOT EXISTS (SELECT FROM keys)
    )
    SELECT jsonb_agg(jsonb_strip_nulls(
        jsonb_build_object('status', status, 'status_code', code, 'details', details)) ORDER BY position) FROM findings
$$;

CREATE FUNCTION worst_status(findings jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN findings @> '[{"status": "ERROR"}]' THEN 'ERROR'
                WHEN findings @> '[{"status": "WARNING"}]' THEN 'WARNING' ELSE 'OK' END
$$;

-- What the extension itself goes by, also where it can't be asked.
CREATE FUNCTION all_tables_status(
    OUT table_schema text, OUT table_name text, OUT mirroring_status text, OUT mirroring_data jsonb
) RETURNS SETOF record
LANGUAGE sql STABLE AS $$
    SELECT n.nspname::text, c.relname::text, @extschema@.worst_status(d.data), d.data
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL @extschema@.table_mirror_status(c.oid) d (data)
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                      WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
    ORDER BY n.nspname, c.relname
$$;

CREATE FUNCTION get_all_tables_mirror_status(
    OUT table_schema text, OUT table_name text, OUT mirroring_status text, OUT mirroring_data jsonb
) RETURNS SETOF record
LANGUAGE sql STABLE AS $$ SELECT * FROM @extschema@.all_tables_status() $$;

CREATE FUNCTION is_table_mirrorable(schema_name text, table_name text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM @extschema@.all_tables_status() s
                   WHERE s.table_schema = $1 AND s.table_name = $2 AND s.mirroring_status <> 'ERROR')
$$;

CREATE FUNCTION check_prerequisites(OUT status text, OUT data jsonb) RETURNS record
LANGUAGE sql STABLE AS $$
    WITH findings (code, details) AS (
        SELECT 'IDENTITY_NOT_CONFIGURED', NULL::jsonb
        WHERE coalesce(current_setting('azure.service_principal_id', true), '') = ''
        UNION ALL
        SELECT 'USER_NOT_CDC_ADMIN', NULL WHERE NOT pg_has_role('azure_cdc_admin', 'USAGE')
        UNION ALL
        SELECT 'NO_CREATE_PRIVILEGE_ON_DATABASE', NULL
        WHERE NOT has_database_privilege(current_database(), 'CREATE')
        UNION ALL
        SELECT 'PUBLICATION_LIMIT_REACHED', NULL WHERE EXISTS (SELECT FROM @extschema@.tracked_publications)
        UNION ALL
        SELECT 'SERVER_IN_RECOVERY', NULL WHERE pg_is_in_recovery()
        UNION ALL
        SELECT 'MAX_WORKER_PROCESSES_TOO_LOW',
               jsonb_build_object('current_value', current_setting('max_worker_processes'), 'required_value', '13')
        WHERE current_setting('max_worker_processes')::integer < 13
    ), listed AS (
        SELECT jsonb_agg(jsonb_strip_nulls(
            jsonb_build_object('status', 'ERROR', 'status_code', code, 'details', details))) AS data FROM findings
    )
    SELECT CASE WHEN data IS NULL THEN 'OK' ELSE 'ERROR' END, coalesce(data, '[]') FROM listed
$$;

DO $$
BEGIN
    IF current_setting('local.azure_cdc', true) = 'silent' THEN
        DROP FUNCTION @extschema@.check_prerequisites(), @extschema@.get_all_tables_mirror_status();
    END IF;
END
$$;

GRANT USAGE ON SCHEMA @extschema@ TO azure_pg_admin, azure_cdc_admin;
GRANT SELECT ON ALL TABLES IN SCHEMA @extschema@ TO azure_pg_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA @extschema@ TO azure_cdc_admin;
REVOKE EXECUTE ON FUNCTION stop_publication(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION stop_publication(text) TO azure_pg_admin, azure_cdc_admin;
