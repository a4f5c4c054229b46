-- The coaching migration as it was released: keys as SERIAL, and IF NOT EXISTS, which skips the tables where they are
-- older than the migration. Run it as `operator`; a second run changes nothing.

SET client_min_messages = warning;

CREATE TABLE IF NOT EXISTS public.sponsor_connections (
    id serial PRIMARY KEY,
    practitioner_user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    sponsor_user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'active', 'ended')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (practitioner_user_id, sponsor_user_id),
    CHECK (practitioner_user_id <> sponsor_user_id)
);
CREATE INDEX IF NOT EXISTS sponsor_connections_sponsor ON public.sponsor_connections (sponsor_user_id);

CREATE TABLE IF NOT EXISTS public.sponsor_chat_messages (
    id serial PRIMARY KEY,
    connection_id integer NOT NULL REFERENCES public.sponsor_connections ON DELETE CASCADE,
    sender_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    receiver_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    message_text text NOT NULL,
    search tsvector GENERATED ALWAYS AS (to_tsvector('pg_catalog.english', message_text)) STORED,
    read_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS sponsor_chat_messages_connection
    ON public.sponsor_chat_messages (connection_id, created_at);
CREATE INDEX IF NOT EXISTS sponsor_chat_messages_search ON public.sponsor_chat_messages USING gin (search);

CREATE TABLE IF NOT EXISTS public.sponsor_visible_memos (
    id serial PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    memo_id bigint NOT NULL UNIQUE REFERENCES public.user_virtue_stage_memos ON DELETE CASCADE,
    read_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS sponsor_visible_memos_unread ON public.sponsor_visible_memos (user_id) WHERE read_at IS NULL;

CREATE OR REPLACE FUNCTION public.create_coach_connection(practitioner uuid, sponsor uuid) RETURNS bigint
    LANGUAGE sql
    AS $$
INSERT INTO public.sponsor_connections (practitioner_user_id, sponsor_user_id, status)
VALUES (practitioner, sponsor, 'active')
ON CONFLICT (practitioner_user_id, sponsor_user_id) DO UPDATE SET status = 'active'
RETURNING id
$$;

CREATE OR REPLACE FUNCTION public.get_unread_memo_count(practitioner uuid, sponsor uuid) RETURNS bigint
    LANGUAGE sql STABLE
    AS $$
SELECT count(*)
FROM public.sponsor_visible_memos m
JOIN public.sponsor_connections c ON c.practitioner_user_id = m.user_id AND c.sponsor_user_id = sponsor
WHERE m.user_id = practitioner AND m.read_at IS NULL
$$;

CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON public.sponsor_connections
    FOR EACH ROW EXECUTE FUNCTION public.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON public.sponsor_chat_messages
    FOR EACH ROW EXECUTE FUNCTION public.set_updated_at();
CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON public.sponsor_visible_memos
    FOR EACH ROW EXECUTE FUNCTION public.set_updated_at();

ALTER TABLE public.sponsor_connections ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sponsor_chat_messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sponsor_visible_memos ENABLE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS own ON public.sponsor_connections;
CREATE POLICY own ON public.sponsor_connections TO authenticated
    USING (auth.uid() IN (practitioner_user_id, sponsor_user_id));
DROP POLICY IF EXISTS own ON public.sponsor_chat_messages;
CREATE POLICY own ON public.sponsor_chat_messages TO authenticated USING (auth.uid() IN (sender_id, receiver_id));
DROP POLICY IF EXISTS own ON public.sponsor_visible_memos;
CREATE POLICY own ON public.sponsor_visible_memos TO authenticated USING (user_id = auth.uid());

GRANT SELECT, INSERT, UPDATE, DELETE
    ON public.sponsor_connections, public.sponsor_chat_messages, public.sponsor_visible_memos TO authenticated;
GRANT USAGE, SELECT
    ON SEQUENCE public.sponsor_connections_id_seq, public.sponsor_chat_messages_id_seq,
                public.sponsor_visible_memos_id_seq TO authenticated;
