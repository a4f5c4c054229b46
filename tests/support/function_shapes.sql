-- Functions whose bodies hold much that looks like the name of a relation, function or type, and is none.

CREATE TABLE users (id bigint PRIMARY KEY, name text, status text, doc jsonb, tags text[], at timestamptz);
CREATE TABLE audit (id bigint, op text, row_data jsonb);
CREATE TYPE addr AS (street text, city text);
CREATE TYPE level AS ENUM ('a', 'b');
CREATE FUNCTION is_admin(uid bigint DEFAULT 1) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION "Mixed Case"(a int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE batch(INOUT n int) LANGUAGE plpgsql AS 'BEGIN n := n + 1; COMMIT; END';

CREATE FUNCTION statements() RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
    r record; rec users%ROWTYPE; v users.name%TYPE; arr text[] := '{}'; n int DEFAULT (0); a addr := ROW('x', 'y')::addr;
    curs refcursor; cur2 NO SCROLL CURSOR (k bigint, l text) IS SELECT * FROM users WHERE id = k;
BEGIN
    <<outer>> FOR r IN SELECT u.id, u.name FROM users AS u (id, name) LEFT JOIN audit a2 USING (id) LOOP
        CONTINUE outer WHEN (r.id) IS NULL;
        EXIT outer WHEN is_admin(r.id);
    END LOOP;
    FOR r IN cur2(1, 'x') LOOP NULL; END LOOP;
    OPEN cur2 (k := 1, l := 'z'); FETCH cur2 INTO rec; CLOSE cur2;
    OPEN curs FOR EXECUTE format('SELECT %s FROM users', quote_ident('id')) USING n;
    FETCH FIRST FROM curs INTO r; MOVE NEXT FROM curs;
    SELECT INTO STRICT n count(*) FILTER (WHERE status = 'x') FROM users;
    SELECT count(*) OVER (PARTITION BY (status) ORDER BY (at)) INTO n FROM users WINDOW w AS (PARTITION BY id);
    IF (n) IN (1, 2) OR NOT (n > 3) AND is_admin() THEN RETURN; ELSE CALL batch(n); END IF;
    CASE (n) WHEN (1) THEN NULL;
    ELSE RAISE EXCEPTION 'bad %', (n) USING ERRCODE = 'P0001', HINT = (v || 'x'), DETAIL = format('%s', n);
    END CASE;
    a.street := (a).city; arr[1] := 'x'; arr := arr || ARRAY['a'] || (SELECT array_agg(name) FROM users);
    FOREACH v IN ARRAY (arr) LOOP NULL; END LOOP;
    FOR i IN REVERSE (10)..1 BY (2) LOOP NULL; END LOOP;
    WHILE(n<2)LOOP n:=n+1; EXIT WHEN(n>3); CONTINUE WHEN NOT(n<2); END LOOP;
    GET DIAGNOSTICS n = ROW_COUNT;
    ASSERT (n) > 0, ('message');
    PERFORM pg_notify('chan', json_build_object('id', n)::text), "Mixed Case"(1), array(SELECT 1 LIMIT (1) OFFSET (2));
    v := v || E'it''s (x)\'' || $$gone($$ || (CASE WHEN (v) = 'x' THEN (1)::text ELSE coalesce(v, '') END);
EXCEPTION
    WHEN unique_violation OR division_by_zero THEN RAISE;
    WHEN OTHERS THEN RAISE WARNING '% %', SQLERRM, SQLSTATE;
END $body$;

CREATE FUNCTION queries() RETURNS void LANGUAGE plpgsql AS $body$
DECLARE x jsonb; total numeric(12, 2);
BEGIN
    INSERT INTO users AS u (id, name) VALUES (1, (SELECT max(name) FROM users)), (2, upper('x'))
        ON CONFLICT (id) WHERE (status = 'x') DO UPDATE SET (name, status) = (EXCLUDED.name, u.status) RETURNING (id);
    SELECT jsonb_object_agg(k, v) INTO x FROM jsonb_each('{}'::jsonb) AS e(k, v);
    SELECT j.a FROM jsonb_to_recordset('[]') j(a int, b numeric(4,2)) INTO total;
    SELECT t.a FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1, 2])) WITH ORDINALITY t (a, b, c) INTO total;
    SELECT t.a FROM XMLTABLE('/r' PASSING ('<r/>'::xml) COLUMNS a int PATH 'a', b numeric(4, 2) PATH 'b') t INTO total;
    SELECT s.id FROM users s TABLESAMPLE BERNOULLI (10) REPEATABLE (1) INTO total;
    SELECT EXTRACT(epoch FROM (now() - at)) / (60), at AT TIME ZONE ('UTC'), at::date - (1), (at)::time(3) FROM users
        INTO total;
    SELECT substring(name FROM '(.*)'), overlay(name PLACING 'x' FROM 1 FOR 2), trim(LEADING ' ' FROM name) FROM users
        INTO total;
    SELECT status COLLATE "C" || (name), name LIKE ('x%') ESCAPE ('\'), tags @> ARRAY['x'], doc #>> '{a}' FROM users
        INTO total;
    SELECT count(*) FROM users GROUP BY GROUPING SETS ((status), ()), CUBE (name), ROLLUP (id) HAVING (count(*)) > 1
        INTO total;
    SELECT (ROW(1, 'x')::addr).street, ((a).city) FROM (SELECT ROW('x', 'y')::addr AS a) q (a) INTO total;
    SELECT 1 FROM users WHERE (id, name) = ANY (SELECT 1, 'x') OR EXISTS (SELECT FROM audit) OR id = SOME (ARRAY[1])
        FOR UPDATE OF users SKIP LOCKED INTO total;
    WITH RECURSIVE tree (id, depth) AS (SELECT id, 0 FROM users UNION ALL
                                        SELECT u.id, depth + (1) FROM users u JOIN tree (id2, d2) ON true)
            SEARCH DEPTH FIRST BY id SET ord CYCLE id SET is_cycle USING path,
        other (z) AS MATERIALIZED (SELECT 1)
    SELECT count(*) INTO total FROM tree, other o (q);
    MERGE INTO users u USING (VALUES (1, 'x')) v (id, name) ON (u.id = v.id)
        WHEN MATCHED AND (true) THEN UPDATE SET name = upper(v.name)
        WHEN NOT MATCHED THEN INSERT (id, name) VALUES (v.id, lower(v.name));
END $body$;

CREATE FUNCTION definitions() RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS scratch (id int PRIMARY KEY, amount numeric(10, 2) DEFAULT round(1.5),
        CHECK (amount > 0), FOREIGN KEY (id) REFERENCES users (id), EXCLUDE USING gist (id WITH =)) ON COMMIT DROP;
    CREATE UNIQUE INDEX idx ON scratch USING btree (lower(id::text), (amount)) INCLUDE (amount) WHERE (amount > 0);
    ALTER TABLE scratch ADD COLUMN y varchar(10), ADD CONSTRAINT u UNIQUE (y), ALTER y TYPE char(3) USING (y)::char(3);
    CREATE TABLE part PARTITION OF parted FOR VALUES FROM ('x') TO ('y');
    CREATE TABLE copy_of (LIKE users INCLUDING ALL); INSERT INTO scratch (id, amount) SELECT id, 1 FROM copy_of;
    CREATE VIEW vw (a, b) AS SELECT 1, 2; CREATE DOMAIN dd AS varchar(3) CHECK (value <> '');
    GRANT EXECUTE ON FUNCTION some_fn(int), other_fn(text) TO PUBLIC; REVOKE ALL (name) ON users FROM PUBLIC;
    COMMENT ON FUNCTION some_fn(int) IS 'x'; DROP FUNCTION IF EXISTS a_fn(int), b_fn(text) CASCADE;
    CREATE POLICY p ON users USING (is_admin(id)) WITH CHECK (is_admin(id));
    CREATE TRIGGER tr AFTER UPDATE OF name ON users EXECUTE FUNCTION noth();
    ANALYZE users (id, name); LOCK TABLE users IN SHARE MODE; EXPLAIN (ANALYZE, BUFFERS) SELECT 1;
    COPY users (id, name) TO STDOUT WITH (FORMAT csv); EXECUTE 'CREATE TABLE ' || quote_ident('x') || ' (id int)';
    EXECUTE $q$ SELECT public.nothing_there(1), x::no_type FROM never_there $q$;
END $body$;

CREATE FUNCTION returns_rows() RETURNS TABLE (id bigint, name text) LANGUAGE plpgsql AS $body$
#variable_conflict use_column
BEGIN
    RETURN QUERY (SELECT u.id, u.name FROM users u);
    RETURN QUERY EXECUTE ('SELECT 1, 2') USING (1);
    RETURN QUERY WITH x (a) AS (VALUES (1)) SELECT 1::bigint, a::text FROM x y (a);
END $body$;
CREATE FUNCTION of_any(anyelement, VARIADIC anyarray) RETURNS int LANGUAGE plpgsql AS
    $body$ BEGIN RETURN cardinality($2) + (SELECT count(*)::int FROM unnest($2) AS v (x)); END $body$;
CREATE FUNCTION of_any_in_sql(a anyelement) RETURNS text LANGUAGE sql AS
    $body$ SELECT upper(a::text) || (SELECT string_agg(name, ',' ORDER BY (id)) FROM users u (id, name)) $body$;
CREATE FUNCTION of_row(p users) RETURNS text LANGUAGE plpgsql AS
    $body$ DECLARE z text := (p).name; BEGIN RETURN upper(p.name) || name(p); END $body$;
CREATE FUNCTION on_change() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF (NEW.name) IS DISTINCT FROM (OLD.name) THEN NEW.name := trim(NEW.name); END IF;
    EXECUTE format('SELECT ($1).%I', TG_ARGV[0]) USING NEW;
    INSERT INTO audit (id, op, row_data) VALUES (OLD.id, TG_OP, to_jsonb(OLD));
    RETURN NEW;
END $body$;
CREATE TRIGGER on_change BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION on_change('name');
CREATE FUNCTION empty_path() RETURNS bigint LANGUAGE plpgsql SET search_path = '' AS $body$
BEGIN
    CREATE TEMP TABLE tt (a int);
    INSERT INTO tt VALUES (1);
    PERFORM count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE 'a'::public.level IS NULL;
    RETURN (SELECT count(*) FROM public.users u, LATERAL (SELECT 1) l);
END $body$;
CREATE FUNCTION own_path() RETURNS int LANGUAGE plpgsql SET search_path = public, pg_temp AS
    $body$ DECLARE l level := 'a'; BEGIN RETURN (SELECT 1 FROM users WHERE 'b'::level = l AND is_admin()); END $body$;
CREATE FUNCTION path_of_user() RETURNS int LANGUAGE plpgsql SET search_path = "$user", public AS
    $body$ BEGIN RETURN (SELECT count(*) FROM users) + "Mixed Case"(1); END $body$;
