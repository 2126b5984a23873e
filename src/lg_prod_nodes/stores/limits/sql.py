"""The tables and functions of rate limit windows in Postgres.

The tables are unlogged: what a crash of the server costs is the windows that were open. A row of
`lg_prod_nodes_limits` is one window. A moving window counts up for ever: `taken` is all that was taken, `gone` what is
known to be over, and each hit leaves one entry that says up to where it counted and until when it weighs. So a
decision is a look into an index, however many hits a window has and however much each of them cost.

A function whose meaning changes gets another number, so that workers of two versions may share a database.
"""

from __future__ import annotations

from typing import LiteralString

TABLES: dict[str, LiteralString] = {
    "lg_prod_nodes_limits": """
        CREATE UNLOGGED TABLE IF NOT EXISTS lg_prod_nodes_limits (
            id uuid PRIMARY KEY, taken bigint NOT NULL DEFAULT 0, gone bigint NOT NULL DEFAULT 0,
            since float8 NOT NULL DEFAULT 0, until float8 NOT NULL DEFAULT 0
        ) WITH (fillfactor = 50)""",
    "lg_prod_nodes_limit_entries": """
        CREATE UNLOGGED TABLE IF NOT EXISTS lg_prod_nodes_limit_entries (
            id uuid, until float8, upto bigint, amount bigint NOT NULL,
            PRIMARY KEY (id, until, upto))""",
    "lg_prod_nodes_limit_charges": """
        CREATE UNLOGGED TABLE IF NOT EXISTS lg_prod_nodes_limit_charges (
            id uuid PRIMARY KEY, until float8 NOT NULL)""",
    "lg_prod_nodes_limit_decide_1": """
        CREATE OR REPLACE FUNCTION lg_prod_nodes_limit_decide_1(
            strategy text, ids uuid[], quotas bigint[], spans float8[], cost bigint,
            forced boolean, taken_at float8, charge uuid, remember float8,
            OUT admitted boolean, OUT at float8, OUT readings float8[]
        ) LANGUAGE plpgsql AS $$
        DECLARE
            held lg_prod_nodes_limits[]; w lg_prod_nodes_limits;
            oldest lg_prod_nodes_limit_entries; used bigint; starts float8; wait float8; reading float8[];
        BEGIN
            FOR i IN 1 .. cardinality(ids) LOOP  -- in the order of their ids: nobody waits in a circle
                LOOP
                    SELECT * INTO w FROM lg_prod_nodes_limits WHERE id = ids[i] FOR UPDATE;
                    EXIT WHEN FOUND;
                    INSERT INTO lg_prod_nodes_limits (id) VALUES (ids[i]) ON CONFLICT DO NOTHING;
                END LOOP;
                held[i] := w;
            END LOOP;
            at := extract(epoch FROM clock_timestamp());
            IF EXISTS (SELECT FROM lg_prod_nodes_limit_charges c WHERE c.id = charge AND c.until > at) THEN
                cost := 0;
            END IF;
            admitted := true;
            FOR i IN 1 .. cardinality(ids) LOOP
                w := held[i];
                CASE strategy
                WHEN 'fixed-window' THEN
                    IF w.until <= at THEN w.taken := 0; END IF;
                    used := w.taken;
                    reading := ARRAY[used, greatest(w.until - at, 0), greatest(w.until - at, 0)];
                WHEN 'moving-window' THEN
                    at := greatest(at, w.since);
                    SELECT * INTO oldest FROM lg_prod_nodes_limit_entries e
                    WHERE e.id = w.id AND e.until >= at AND e.upto > w.gone
                    ORDER BY e.until, e.upto LIMIT 1;
                    w.gone := CASE WHEN FOUND THEN greatest(w.gone, oldest.upto - oldest.amount) ELSE w.taken END;
                    used := w.taken - w.gone;
                    reading := ARRAY[used, coalesce(oldest.until - at, 0), coalesce(oldest.until - at, 0)];
                    IF cost > 1 AND cost <= quotas[i] AND used + cost > quotas[i] THEN
                        SELECT e.until - at INTO wait FROM lg_prod_nodes_limit_entries e
                        WHERE e.id = w.id AND e.until >= at AND e.upto >= w.taken + cost - quotas[i]
                        ORDER BY e.until, e.upto LIMIT 1;
                        reading[3] := wait;
                    END IF;
                ELSE
                    starts := floor(at / spans[i]) * spans[i];
                    IF w.since < starts THEN
                        w.gone := CASE WHEN w.since = starts - spans[i] THEN w.taken ELSE 0 END;
                        w.taken := 0;
                    END IF;
                    w.since := starts;
                    reading := ARRAY[w.gone, starts + spans[i] - at, w.taken, starts + 2 * spans[i] - at];
                    used := floor(w.gone * reading[2] / spans[i] + w.taken);
                END CASE;
                held[i] := w;
                readings := readings || reading;
                IF NOT forced AND used + cost > quotas[i] THEN admitted := false; END IF;
            END LOOP;
            IF cost = 0 OR NOT admitted THEN
                RETURN;
            END IF;
            readings := '{}';
            FOR i IN 1 .. cardinality(ids) LOOP
                w := held[i];
                CASE strategy
                WHEN 'fixed-window' THEN
                    IF cost > 0 AND w.taken = 0 THEN
                        w.since := at;
                        w.until := at + spans[i];
                    END IF;
                    IF cost > 0 OR taken_at >= w.since THEN w.taken := greatest(w.taken + cost, 0); END IF;
                    reading := ARRAY[w.taken, greatest(w.until - at, 0), 0];
                WHEN 'moving-window' THEN
                    IF cost > 0 THEN
                        w.since := at;
                        w.until := at + spans[i];
                        w.taken := w.taken + cost;
                        INSERT INTO lg_prod_nodes_limit_entries VALUES (w.id, w.until, w.taken, cost);
                    ELSIF taken_at >= at - spans[i] THEN
                        w.gone := least(w.gone - cost, w.taken);
                        DELETE FROM lg_prod_nodes_limit_entries WHERE ctid = ANY(ARRAY(
                            SELECT e.ctid FROM (
                                SELECT ctid, upto FROM lg_prod_nodes_limit_entries
                                WHERE id = w.id ORDER BY until, upto LIMIT 100) e
                            WHERE e.upto <= w.gone));
                    END IF;
                    SELECT * INTO oldest FROM lg_prod_nodes_limit_entries e
                    WHERE e.id = w.id AND e.until >= at AND e.upto > w.gone
                    ORDER BY e.until, e.upto LIMIT 1;
                    reading := ARRAY[w.taken - w.gone, coalesce(oldest.until - at, 0), 0];
                ELSE
                    IF cost > 0 OR taken_at >= w.since THEN
                        w.taken := greatest(w.taken + cost, 0);
                    ELSIF taken_at >= w.since - spans[i] THEN
                        w.gone := greatest(w.gone + cost, 0);
                    END IF;
                    w.until := w.since + 2 * spans[i];
                    reading := ARRAY[w.gone, w.since + spans[i] - at, w.taken, w.until - at];
                END CASE;
                readings := readings || reading;
                UPDATE lg_prod_nodes_limits l
                SET taken = w.taken, gone = w.gone, since = w.since, until = w.until WHERE l.id = w.id;
            END LOOP;
            IF charge IS NOT NULL THEN
                INSERT INTO lg_prod_nodes_limit_charges VALUES (charge, at + remember)
                ON CONFLICT (id) DO UPDATE SET until = excluded.until;
            END IF;
        END $$""",
    "lg_prod_nodes_limit_decide_all_1": """
        CREATE OR REPLACE FUNCTION lg_prod_nodes_limit_decide_all_1(requests jsonb)
        RETURNS TABLE (admitted boolean, at float8, readings float8[]) LANGUAGE plpgsql AS $$
        DECLARE
            wanted uuid[]; locked bigint; r record;
        BEGIN
            SELECT array_agg(DISTINCT found.id) INTO wanted
            FROM jsonb_to_recordset(requests) AS given (ids uuid[]), unnest(given.ids) AS found (id);
            LOOP  -- all at once and in the order of their ids: nobody waits in a circle
                INSERT INTO lg_prod_nodes_limits (id) SELECT id FROM unnest(wanted) AS missing (id)
                WHERE NOT EXISTS (SELECT FROM lg_prod_nodes_limits l WHERE l.id = missing.id)
                ORDER BY id ON CONFLICT DO NOTHING;
                PERFORM FROM lg_prod_nodes_limits l WHERE l.id = ANY(wanted) ORDER BY l.id FOR UPDATE;
                GET DIAGNOSTICS locked = ROW_COUNT;
                EXIT WHEN locked = cardinality(wanted);
            END LOOP;
            FOR r IN SELECT * FROM jsonb_to_recordset(requests) AS given (
                strategy text, ids uuid[], quotas bigint[], spans float8[], cost bigint,
                forced boolean, since float8, charge uuid, remember float8)
            LOOP
                SELECT * INTO admitted, at, readings FROM lg_prod_nodes_limit_decide_1(
                    r.strategy, r.ids, r.quotas, r.spans, r.cost, r.forced, r.since, r.charge, r.remember);
                RETURN NEXT;
            END LOOP;
        END $$""",
    "lg_prod_nodes_limit_sweep_1": """
        CREATE OR REPLACE FUNCTION lg_prod_nodes_limit_sweep_1(block bigint, blocks bigint)
        RETURNS bigint LANGUAGE plpgsql AS $$
        DECLARE
            name text; size bigint; longest bigint := 0;
            now float8 := extract(epoch FROM clock_timestamp());
        BEGIN
            FOREACH name IN ARRAY ARRAY[
                'lg_prod_nodes_limits', 'lg_prod_nodes_limit_entries', 'lg_prod_nodes_limit_charges'
            ] LOOP
                size := greatest(pg_relation_size(name) / current_setting('block_size')::bigint, 1);
                longest := greatest(longest, size);
                EXECUTE format('
                    DELETE FROM %I WHERE ctid = ANY(ARRAY(
                        SELECT ctid FROM %I WHERE ctid >= $1 AND ctid < $2 AND until < $3 FOR UPDATE SKIP LOCKED))',
                    name, name)
                USING format('(%s,0)', block % size)::tid, format('(%s,0)', block % size + blocks)::tid, now;
            END LOOP;
            RETURN CASE WHEN block + blocks < longest THEN block + blocks ELSE 0 END;
        END $$""",
}
