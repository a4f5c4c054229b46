-- Copyright (c) 2026 The pgops.rollback authors
-- GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Tables of an application: each with a serial key and an index, every other one with a foreign key to the one before,
-- every tenth with a policy, and all with a row.
CREATE PROCEDURE make_catalog(number int) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1 .. number LOOP
        EXECUTE format('CREATE TABLE entry_%1$s (id serial PRIMARY KEY, owner int NOT NULL, note text)', n);
        EXECUTE format('CREATE INDEX ON entry_%1$s (owner)', n);
        IF n % 2 = 0 THEN
            EXECUTE format('ALTER TABLE entry_%s ADD FOREIGN KEY (owner) REFERENCES entry_%s', n, n - 1);
        END IF;
        IF n % 10 = 0 THEN
            EXECUTE format('ALTER TABLE entry_%s ENABLE ROW LEVEL SECURITY', n);
            EXECUTE format('CREATE POLICY own_rows ON entry_%s USING (owner = 1)', n);
        END IF;
        EXECUTE format('INSERT INTO entry_%s (owner) VALUES (1)', n);
        -- One transaction for all would need more locks than a server has.
        IF n % 100 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END
$$;
