-- The database with many sequences: tables app_1, app_2 … with serial and identity keys by turns.
CREATE PROCEDURE make_tables(number int, row_count int) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', false);
    FOR n IN 1 .. number LOOP
        EXECUTE format('CREATE TABLE app_%s (id %s PRIMARY KEY, created timestamptz NOT NULL)', n,
                       CASE n % 2 WHEN 0 THEN 'serial' ELSE 'bigint GENERATED ALWAYS AS IDENTITY' END);
        EXECUTE format('INSERT INTO app_%s (created) SELECT now() FROM generate_series(1, %s)', n, row_count);
        IF n % 100 = 0 THEN
            COMMIT; -- each table holds locks until then
        END IF;
    END LOOP;
END
$$;

-- Every tenth sequence stands at half of its table's rows.
CREATE PROCEDURE put_behind(number int, row_count int) LANGUAGE sql AS $$
    SELECT setval(format('app_%s_id_seq', n)::regclass, row_count / 2) FROM generate_series(1, number, 10) n
$$;
