-- The sample application: a coaching application on a Supabase-shaped database, with a few thousand rows.
-- Load it as a superuser into an empty database: it makes the roles that are missing, and then works as `operator`,
-- who owns the application's tables and is not a superuser. The data is the same on every load.

SET client_min_messages = warning;

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated', 'service_role', 'auth_admin', 'operator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO operator', current_database());
END
$$;
ALTER ROLE operator LOGIN;
ALTER ROLE service_role BYPASSRLS;
-- The operator can act as the roles of the API.
GRANT anon, authenticated TO operator;

-- Accounts -------------------------------------------------------------------------------------------------------------
CREATE SCHEMA auth AUTHORIZATION auth_admin;
ALTER SCHEMA public OWNER TO operator;
GRANT USAGE ON SCHEMA auth, public TO anon, authenticated, service_role, operator;

SET ROLE auth_admin;

CREATE TABLE auth.users (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
GRANT ALL ON auth.users TO operator, service_role;

-- The subject of the JSON web token that the API puts into a setting.
CREATE FUNCTION auth.uid() RETURNS uuid
    LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;

INSERT INTO auth.users (id, email, created_at)
SELECT format('00000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid, format('user%s@example.com', n),
       timestamptz '2025-01-01 00:00+00' + n * interval '3 hours'
FROM generate_series(1, 240) n;

RESET ROLE;
SET ROLE operator;

-- Tables that were there before coaching, and live on --------------------------------------------------------------------
CREATE FUNCTION public.set_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TABLE public.profiles (
    id uuid PRIMARY KEY REFERENCES auth.users ON DELETE CASCADE,
    display_name text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE public.virtues (
    id serial PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE public.journal_entries (
    id bigserial PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES public.profiles ON DELETE CASCADE,
    entry_text text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX journal_entries_user_id ON public.journal_entries (user_id, created_at DESC);

CREATE TABLE public.user_virtue_stage_memos (
    id bigserial PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES public.profiles ON DELETE CASCADE,
    virtue_id integer NOT NULL REFERENCES public.virtues,
    stage smallint NOT NULL CHECK (stage BETWEEN 1 AND 3),
    memo_text text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, virtue_id, stage)
);

-- Coaching, in the shape it has in production: older than the migration, keys as identity columns --------------------------
CREATE TABLE public.sponsor_connections (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    practitioner_user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    sponsor_user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'active', 'ended')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (practitioner_user_id, sponsor_user_id),
    CHECK (practitioner_user_id <> sponsor_user_id)
);
CREATE INDEX sponsor_connections_sponsor ON public.sponsor_connections (sponsor_user_id);

CREATE TABLE public.sponsor_chat_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection_id bigint NOT NULL REFERENCES public.sponsor_connections ON DELETE CASCADE,
    sender_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    receiver_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    message_text text NOT NULL,
    search tsvector GENERATED ALWAYS AS (to_tsvector('pg_catalog.english', message_text)) STORED,
    read_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sponsor_chat_messages_connection ON public.sponsor_chat_messages (connection_id, created_at);
CREATE INDEX sponsor_chat_messages_search ON public.sponsor_chat_messages USING gin (search);

CREATE TABLE public.sponsor_visible_memos (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    memo_id bigint NOT NULL UNIQUE REFERENCES public.user_virtue_stage_memos ON DELETE CASCADE,
    read_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sponsor_visible_memos_unread ON public.sponsor_visible_memos (user_id) WHERE read_at IS NULL;

-- Lives on too, and refers to the coaching tables ------------------------------------------------------------------------
CREATE TABLE public.sponsor_feedback (
    id serial PRIMARY KEY,
    connection_id bigint REFERENCES public.sponsor_connections ON DELETE SET NULL,
    rating smallint NOT NULL CHECK (rating BETWEEN 1 AND 5),
    feedback_text text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW public.coach_overview WITH (security_invoker = true) AS
SELECT c.sponsor_user_id, c.practitioner_user_id, p.display_name, count(m.id) AS messages,
       count(m.id) FILTER (WHERE m.read_at IS NULL) AS unread
FROM public.sponsor_connections c
JOIN public.profiles p ON p.id = c.practitioner_user_id
LEFT JOIN public.sponsor_chat_messages m ON m.connection_id = c.id
WHERE c.status = 'active'
GROUP BY 1, 2, 3;

CREATE FUNCTION public.create_coach_connection(practitioner uuid, sponsor uuid) RETURNS bigint
    LANGUAGE sql
    AS $$
INSERT INTO public.sponsor_connections (practitioner_user_id, sponsor_user_id, status)
VALUES (practitioner, sponsor, 'active')
ON CONFLICT (practitioner_user_id, sponsor_user_id) DO UPDATE SET status = 'active'
RETURNING id
$$;

CREATE FUNCTION public.get_unread_memo_count(practitioner uuid, sponsor uuid) RETURNS bigint
    LANGUAGE sql STABLE
    AS $$
SELECT count(*)
FROM public.sponsor_visible_memos m
JOIN public.sponsor_connections c ON c.practitioner_user_id = m.user_id AND c.sponsor_user_id = sponsor
WHERE m.user_id = practitioner AND m.read_at IS NULL
$$;

-- updated_at, by the shared function -------------------------------------------------------------------------------------
DO $$
DECLARE
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY['profiles', 'journal_entries', 'user_virtue_stage_memos', 'sponsor_connections',
                                      'sponsor_chat_messages', 'sponsor_visible_memos', 'sponsor_feedback'] LOOP
        EXECUTE format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON public.%I'
                       ' FOR EACH ROW EXECUTE FUNCTION public.set_updated_at()', table_name);
    END LOOP;
END
$$;

-- Data ---------------------------------------------------------------------------------------------------------------------
-- Users 1 to 40 are sponsors, the others practitioners.
INSERT INTO public.profiles (id, display_name)
SELECT id, initcap(split_part(email, '@', 1)) FROM auth.users ORDER BY id;

INSERT INTO public.virtues (name)
SELECT unnest(ARRAY['patience', 'honesty', 'courage', 'humility', 'gratitude', 'diligence', 'kindness', 'temperance',
                    'justice', 'prudence', 'generosity', 'forgiveness']);

INSERT INTO public.journal_entries (user_id, entry_text, created_at)
SELECT format('00000000-0000-4000-8000-%s', lpad((1 + n % 240)::text, 12, '0'))::uuid, format('Entry number %s', n),
       timestamptz '2025-02-01 00:00+00' + n * interval '1 hour'
FROM generate_series(1, 3000) n;

INSERT INTO public.user_virtue_stage_memos (user_id, virtue_id, stage, memo_text)
SELECT format('00000000-0000-4000-8000-%s', lpad((41 + n % 200)::text, 12, '0'))::uuid, 1 + n / 200, 1 + n % 3,
       format('Memo number %s', n)
FROM generate_series(0, 1199) n;

INSERT INTO public.sponsor_connections (practitioner_user_id, sponsor_user_id, status, created_at)
SELECT format('00000000-0000-4000-8000-%s', lpad((40 + n)::text, 12, '0'))::uuid,
       format('00000000-0000-4000-8000-%s', lpad((1 + n % 40)::text, 12, '0'))::uuid,
       CASE WHEN n % 10 = 0 THEN 'ended' WHEN n % 7 = 0 THEN 'pending' ELSE 'active' END,
       timestamptz '2025-03-01 00:00+00' + n * interval '2 hours'
FROM generate_series(1, 200) n;

INSERT INTO public.sponsor_chat_messages (connection_id, sender_id, receiver_id, message_text, read_at, created_at)
SELECT c.id, CASE WHEN n % 2 = 0 THEN c.sponsor_user_id ELSE c.practitioner_user_id END,
       CASE WHEN n % 2 = 0 THEN c.practitioner_user_id ELSE c.sponsor_user_id END, format('Message number %s', n),
       CASE WHEN n % 5 > 0 THEN c.created_at + n * interval '2 minutes' END, c.created_at + n * interval '1 minute'
FROM generate_series(1, 2500) n
JOIN public.sponsor_connections c ON c.id = 1 + n % 200
ORDER BY n;

INSERT INTO public.sponsor_visible_memos (user_id, memo_id, read_at)
SELECT user_id, id, CASE WHEN id % 3 > 0 THEN timestamptz '2025-06-01 00:00+00' END
FROM public.user_virtue_stage_memos WHERE id % 2 = 0 ORDER BY id;

INSERT INTO public.sponsor_feedback (connection_id, rating, feedback_text)
SELECT 1 + n % 200, 1 + n % 5, format('Feedback number %s', n) FROM generate_series(1, 300) n;

-- Who may see what ---------------------------------------------------------------------------------------------------------
ALTER TABLE public.profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.journal_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.user_virtue_stage_memos ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sponsor_connections ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sponsor_chat_messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sponsor_visible_memos ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sponsor_feedback ENABLE ROW LEVEL SECURITY;

CREATE POLICY own ON public.profiles TO authenticated USING (id = auth.uid());
CREATE POLICY own ON public.journal_entries TO authenticated USING (user_id = auth.uid());
CREATE POLICY own ON public.user_virtue_stage_memos TO authenticated USING (user_id = auth.uid());
CREATE POLICY own ON public.sponsor_connections TO authenticated
    USING (auth.uid() IN (practitioner_user_id, sponsor_user_id));
CREATE POLICY own ON public.sponsor_chat_messages TO authenticated USING (auth.uid() IN (sender_id, receiver_id));
CREATE POLICY own ON public.sponsor_visible_memos TO authenticated USING (user_id = auth.uid());
-- Policies of tables that live on, which look into the coaching tables.
CREATE POLICY sponsor_reads ON public.profiles FOR SELECT TO authenticated
    USING (EXISTS (SELECT FROM public.sponsor_connections c
                   WHERE c.practitioner_user_id = profiles.id AND c.sponsor_user_id = auth.uid()));
CREATE POLICY sponsor_reads ON public.user_virtue_stage_memos FOR SELECT TO authenticated
    USING (EXISTS (SELECT FROM public.sponsor_visible_memos v
                   JOIN public.sponsor_connections c ON c.practitioner_user_id = v.user_id
                   WHERE v.memo_id = user_virtue_stage_memos.id AND c.sponsor_user_id = auth.uid()));
CREATE POLICY party ON public.sponsor_feedback TO authenticated
    USING (EXISTS (SELECT FROM public.sponsor_connections c
                   WHERE c.id = sponsor_feedback.connection_id
                     AND auth.uid() IN (c.practitioner_user_id, c.sponsor_user_id)));

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO authenticated, service_role;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO authenticated, service_role;
GRANT SELECT ON public.virtues TO anon;

CREATE PUBLICATION supabase_realtime FOR TABLE public.journal_entries, public.sponsor_chat_messages;

RESET ROLE;
