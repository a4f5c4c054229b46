# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Planned, torn down and undone with 100,000 messages: the whole database is what it was, whoever did it and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.database import TestDatabase
from tests.support.quarantine import MANIFEST, SHAPES, assert_same, state
from tests.support.teardown import add_messages, as_released, load_application
from tests.support.teardown_run import tear_down, token_of, undo

MESSAGES = 100_000

#: Beside the application's own and SHAPES, in either shape of the tables.
MORE = """
SET search_path = public;
-- The operator, who owns it, may not export what hides rows from its owner.
ALTER TABLE "Coach Data"."order" NO FORCE ROW LEVEL SECURITY;
CREATE TABLE ratings (id bigserial PRIMARY KEY, message_id int REFERENCES sponsor_chat_messages ON DELETE CASCADE,
                      stars int CHECK (stars > 0), user_id uuid REFERENCES auth.users);
INSERT INTO ratings (message_id, stars, user_id) SELECT id, 5, sender_id FROM sponsor_chat_messages WHERE id % 7 = 0;
ALTER TABLE ratings ENABLE ROW LEVEL SECURITY;
CREATE POLICY "of whom it concerns" ON ratings FOR SELECT TO authenticated USING (EXISTS (
    SELECT FROM sponsor_chat_messages m WHERE m.id = message_id AND m.receiver_id = auth.uid()));
CREATE POLICY "only while it lasts" ON journal_entries AS RESTRICTIVE TO authenticated USING (NOT EXISTS (
    SELECT FROM sponsor_connections c WHERE c.practitioner_user_id = user_id AND c.status = 'ended'));
COMMENT ON POLICY "only while it lasts" ON journal_entries IS 'Whoever ended it is not read any more';
CREATE FUNCTION tells_sponsor() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    PERFORM get_unread_memo_count(NEW.user_id, NULL);
    RETURN NEW;
END $$;
CREATE TRIGGER "Tells sponsor" AFTER INSERT OR UPDATE OF entry_text ON journal_entries
    FOR EACH ROW WHEN (NEW.entry_text <> '') EXECUTE FUNCTION tells_sponsor();
CREATE VIEW unread_messages AS SELECT receiver_id, count(*) AS unread FROM sponsor_chat_messages
    WHERE read_at IS NULL GROUP BY 1;
CREATE VIEW "Most unread" WITH (security_invoker = true) AS SELECT max(unread) AS most FROM unread_messages;
GRANT SELECT ON "Most unread" TO anon;
CREATE MATERIALIZED VIEW per_sponsor AS
    SELECT sponsor_user_id, count(*) AS connections FROM sponsor_connections GROUP BY 1;
CREATE UNIQUE INDEX per_sponsor_key ON per_sponsor (sponsor_user_id);
CREATE PUBLICATION "Live" FOR TABLE sponsor_chat_messages, ratings WITH (publish = 'insert');
"""

#: What a project on Supabase is given at its start.
SUPABASE = "".join(
    f"ALTER DEFAULT PRIVILEGES FOR ROLE {role} IN SCHEMA public"
    f" GRANT ALL ON {what} TO anon, authenticated, service_role;"
    for role in ("operator", "postgres") for what in ("TABLES", "SEQUENCES", "FUNCTIONS")
)  # fmt: skip

#: But for what only a superuser can make again.
ALL: dict[str, Any] = {
    **MANIFEST,
    "tables": [name for name in MANIFEST["tables"] if name != "public.far"],
    "functions": [*MANIFEST["functions"], "public.tells_sponsor()"],
}


@pytest.mark.full
@pytest.mark.parametrize("shape", ["identity", "serial"])
@pytest.mark.parametrize("user", ["operator", "postgres"])
@pytest.mark.parametrize("mode", ["quarantine", "drop"])
def test_the_whole_database_is_what_it_was(
    database: TestDatabase, tmp_path: Path, mode: str, user: str, shape: str
) -> None:
    load_application(database)
    database.query(SUPABASE, user="postgres")
    if shape == "serial":
        as_released(database)
    add_messages(database, MESSAGES)
    database.query(SHAPES)
    database.query(MORE)
    how = {**database.login(user), "manifest": ALL, "mode": mode, "require_backup": False}
    before, token = state(database), token_of(database, **how)

    done = tear_down(database, tmp_path, token, **how)
    assert not done.failed, done["msg"]
    gone = {("table", name) for name in ALL["tables"]} | {("policy", '"only while it lasts" on public.journal_entries')}
    left = gone & set(state(database)[0].objects)
    assert left == (set() if mode == "drop" else {("policy", '"only while it lasts" on public.journal_entries')})

    back = undo(database, tmp_path, **database.login(user))
    assert not back.failed, back["msg"]
    assert (back["notes"], back["objects"]) == ([], len(done["plan"]["objects"]))
    assert_same(before, state(database), same_objects=mode == "quarantine")
    # And it can be done again: the plan is the same one.
    assert token_of(database, **how) == token
