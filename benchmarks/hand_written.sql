-- What a careful administrator writes: every sequence and the column it feeds from the catalogs (identity and serial),
-- the table locked before its maximum is read, never lowered, one short transaction for each.
CREATE PROCEDURE hand_written() LANGUAGE plpgsql AS $$
DECLARE
    fed record;
    highest bigint;
BEGIN
    FOR fed IN
        SELECT d.objid::regclass AS sequence, d.refobjid::regclass AS relation, a.attname AS attribute
        FROM pg_depend d
        JOIN pg_sequence s ON s.seqrelid = d.objid
        JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    LOOP
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', fed.relation);
        EXECUTE format('SELECT greatest(max(%I), (SELECT last_value FROM %s)) FROM %s',
                       fed.attribute, fed.sequence, fed.relation) INTO highest;
        PERFORM setval(fed.sequence, highest);
        COMMIT;
    END LOOP;
END
$$;
