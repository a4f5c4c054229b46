-- Puts sequences out of step the way it happens in life. Run it as `operator`, on the sample application.

-- A data load that brings its own ids, as COPY and restores do: the sequence never hears of them.
INSERT INTO public.sponsor_chat_messages (id, connection_id, sender_id, receiver_id, message_text)
OVERRIDING SYSTEM VALUE
SELECT (SELECT max(id) FROM public.sponsor_chat_messages) + n, c.id, c.sponsor_user_id, c.practitioner_user_id,
       format('Imported message %s', n)
FROM generate_series(1, 500) n
JOIN public.sponsor_connections c ON c.id = 1 + n % 200;

-- The same by hand, for a SERIAL key.
INSERT INTO public.virtues (id, name) VALUES (13, 'curiosity'), (14, 'fairness'), (15, 'hope');

-- A bad fix: somebody "reset" the sequence of a table that has rows.
SELECT setval('public.journal_entries_id_seq', 1, false);

-- Ahead of the data, with a gap: harmless, and not to be touched.
SELECT setval('public.sponsor_feedback_id_seq', 5000);

-- Healthy: sponsor_connections, sponsor_visible_memos, user_virtue_stage_memos.
