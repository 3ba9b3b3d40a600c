-- +goose Up

-- No partitioned table takes a default that is that of the database anyway.
SELECT set_config('default_tablespace', '', true)
WHERE current_setting('default_tablespace') = (
	SELECT t.spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
	WHERE d.datname = current_database());

-- The clock of the queue. Tests put another one in its place.
-- +goose StatementBegin
CREATE FUNCTION clock() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT now()';
-- +goose StatementEnd

-- Versions of the schema. A program refuses one whose "least" is above its own.
CREATE TABLE version (
	version int PRIMARY KEY,
	least   int NOT NULL, -- the oldest program that can still work with it
	made    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE message (
	id    uuid PRIMARY KEY,
	parts int NOT NULL,    -- deliveries that it began with
	size  bigint NOT NULL, -- bytes of content
	meta  bytea NOT NULL   -- spool.Message
);

-- Content, 256 KiB a row; row 0 is what Commit put in front, and the rest if
-- that is short.
CREATE TABLE chunk (
	id   uuid NOT NULL,
	n    int NOT NULL,
	sum  int NOT NULL,   -- CRC-32C of data
	data bytea NOT NULL,
	PRIMARY KEY (id, n)
);

-- Content whose message is not committed yet: swept when nobody adds to it.
CREATE TABLE staged (
	id    uuid PRIMARY KEY,
	since timestamptz NOT NULL
);

CREATE TABLE delivery (
	id       uuid NOT NULL,
	seq      int NOT NULL,
	key      bigint NOT NULL, -- a digest of route, domain and stream
	route    bytea NOT NULL,
	domain   bytea NOT NULL,
	stream   bytea NOT NULL,
	at       timestamptz NOT NULL, -- when it may be handed out next: due, or the end of its lease
	due      timestamptz NOT NULL,
	expires  timestamptz,          -- null is never
	attempts int NOT NULL,
	held     bool NOT NULL,
	token    bigint NOT NULL,      -- of its lease, 0 without one
	rcpt     bytea NOT NULL,       -- []spool.Recipient
	PRIMARY KEY (id, seq),
	-- no program can read an infinite time
	CHECK (isfinite(at) AND isfinite(due) AND isfinite(expires))
) WITH (
	fillfactor = 70,
	autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
	autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5
);
CREATE INDEX delivery_key ON delivery (key, at) WHERE NOT held;
-- Those that wait. The ends of leases stand in front of them in delivery_key, and
-- an old snapshot keeps them there.
CREATE INDEX delivery_next ON delivery (key, at) WHERE NOT held AND token = 0;
CREATE INDEX delivery_at ON delivery (at) WHERE NOT held;
CREATE INDEX delivery_leased ON delivery (at) WHERE token <> 0;

ALTER TABLE message SET (
	autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
	autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE chunk SET (
	autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
	autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_scale_factor = 0,
	toast.autovacuum_vacuum_threshold = 20000, toast.autovacuum_vacuum_cost_delay = 0
);

-- lz4 where the server has it; elsewhere no compression, which costs less.
-- +goose StatementBegin
DO $$
BEGIN
	ALTER TABLE chunk ALTER COLUMN data SET COMPRESSION lz4;
EXCEPTION WHEN OTHERS THEN
	ALTER TABLE chunk ALTER COLUMN data SET STORAGE EXTERNAL;
END
$$;
-- +goose StatementEnd

-- Messages that a transaction of the application has committed: a node makes
-- their deliveries.
CREATE TABLE wake (
	n    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id   uuid NOT NULL,
	step bytea NOT NULL -- deliveries and events
) WITH (
	autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_cost_delay = 0
);

-- Totals: the sum of all rows. A committer has a row of its own, and begins
-- another one now and then, so that the versions of one stay few.
CREATE TABLE counter (
	node       uuid NOT NULL,
	n          int NOT NULL,
	messages   bigint NOT NULL,
	deliveries bigint NOT NULL,
	bytes      bigint NOT NULL,
	PRIMARY KEY (node, n)
) WITH (
	fillfactor = 10,
	autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
	autovacuum_vacuum_cost_delay = 0
);

-- Idempotency keys.
CREATE TABLE claim (
	hash    bytea PRIMARY KEY, -- SHA-256 of scope and key
	message uuid NOT NULL,
	digest  bytea NOT NULL,
	made    timestamptz NOT NULL,
	expires timestamptz NOT NULL
);
CREATE INDEX claim_expires ON claim (expires);
CREATE INDEX claim_made ON claim (made);

-- Events without a place yet: those of a step, or of many, in one row.
CREATE TABLE inbox (
	id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	n     int NOT NULL,          -- records in data
	until timestamptz NOT NULL,  -- the greatest Time among them
	data  bytea NOT NULL
) WITH (
	autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_scale_factor = 0,
	toast.autovacuum_vacuum_threshold = 5000, toast.autovacuum_vacuum_cost_delay = 0
);

-- The log of events: a row holds the places from first+1 to last.
CREATE TABLE log (
	day   date NOT NULL,         -- that it was placed on, UTC
	first bigint NOT NULL,
	last  bigint NOT NULL,
	until timestamptz NOT NULL,
	data  bytea NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX log_last ON log (last);
CREATE INDEX log_until ON log (until);
CREATE TABLE log_rest PARTITION OF log DEFAULT; -- of days without one of their own

-- lz4 costs a fraction of the default; where the server has none, that stays.
-- +goose StatementBegin
DO $$
BEGIN
	ALTER TABLE inbox ALTER COLUMN data SET COMPRESSION lz4;
	ALTER TABLE log ALTER COLUMN data SET COMPRESSION lz4;
EXCEPTION WHEN OTHERS THEN
	NULL;
END
$$;
-- +goose StatementEnd

-- Up to where the log was dropped.
CREATE TABLE dropped (
	one  bool PRIMARY KEY DEFAULT true CHECK (one),
	last bigint NOT NULL
);
INSERT INTO dropped (last) VALUES (0);

-- What it is called in must survive a crash.
-- +goose StatementBegin
CREATE FUNCTION durable() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
		WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)
$$;
-- +goose StatementEnd

-- Refuses a transaction of which all statements see the same: what has been
-- written while it waited for its turn, it would not see.
-- +goose StatementBegin
CREATE FUNCTION fresh() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'the pool of the queue needs default_transaction_isolation = read committed'
			USING ERRCODE = 'invalid_transaction_state';
	END IF;
END
$$;
-- +goose StatementEnd

-- The sequencer: gives events their places, in the order of their ids above a
-- floor. One works at a time; moved is -1 while that is another. All ids so far
-- are at most top. A statement of a VOLATILE function sees what was committed
-- before it: what the one before has moved is not moved again.
-- +goose StatementBegin
CREATE FUNCTION place(floor bigint, most int,
	OUT moved bigint, OUT newest bigint, OUT top bigint)
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
	today date := (clock() AT TIME ZONE 'UTC')::date;
BEGIN
	PERFORM fresh();
	PERFORM durable();
	moved := -1;
	IF pg_try_advisory_xact_lock(1886352246, hashtext(current_schema())) THEN
		SELECT last_value INTO top FROM inbox_id_seq;
		IF floor > top THEN -- a standby knew less when it took over
			floor := 0;
		END IF;
		newest := coalesce((SELECT last FROM log ORDER BY last DESC LIMIT 1),
			(SELECT last FROM dropped WHERE one));
		WITH next AS (SELECT id FROM inbox WHERE id > floor ORDER BY id LIMIT most),
		taken AS (DELETE FROM inbox i USING next WHERE i.id = next.id
			RETURNING i.id, i.n, i.until, i.data),
		counted AS (
			SELECT newest + sum(n) OVER (ORDER BY id) AS last, n, until, data FROM taken),
		placed AS (INSERT INTO log (day, first, last, until, data)
			SELECT today, c.last - c.n, c.last, c.until, c.data FROM counted c RETURNING log.last)
		SELECT count(*), coalesce(max(placed.last), newest) INTO moved, newest FROM placed;
	ELSE
		newest := coalesce((SELECT last FROM log ORDER BY last DESC LIMIT 1),
			(SELECT last FROM dropped WHERE one));
	END IF;
END
$$;
-- +goose StatementEnd

CREATE TABLE consumer (
	name text COLLATE "C" PRIMARY KEY,
	at   bigint NOT NULL
);

-- Counters (value is null) and values that end.
CREATE TABLE shared (
	counter bool NOT NULL,
	name    bytea NOT NULL,
	count   bigint NOT NULL,
	value   bytea,
	ends    timestamptz NOT NULL,
	PRIMARY KEY (name, counter)
) WITH (
	fillfactor = 50,
	autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX shared_ends ON shared (ends);

-- Who is alive, by groups.
CREATE TABLE node (
	team   text COLLATE "C" NOT NULL,
	member text COLLATE "C" NOT NULL,
	joined bigint GENERATED ALWAYS AS IDENTITY,
	ends   timestamptz NOT NULL,
	PRIMARY KEY (team, member)
) WITH (fillfactor = 50);

-- Prolongs a membership or begins one. Members of all teams come one after the
-- other, so that two never think that they are the first. With too
-- many of them, live is 0.
-- +goose StatementBegin
CREATE FUNCTION beat(who_team text, who text, ttl interval, most int,
	OUT rank bigint, OUT live bigint)
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
	moment timestamptz;
	mine   bigint;
BEGIN
	PERFORM fresh();
	PERFORM durable();
	PERFORM pg_advisory_xact_lock(1886352248, hashtext(current_schema()));
	moment := clock() + (clock_timestamp() - now()); -- since now() there was a wait
	DELETE FROM node WHERE ends <= moment;
	UPDATE node SET ends = moment + ttl WHERE team = who_team AND member = who
		RETURNING joined INTO mine;
	IF mine IS NULL THEN
		INSERT INTO node (team, member, ends)
			SELECT who_team, who, moment + ttl WHERE (SELECT count(*) FROM node) < most
			RETURNING joined INTO mine;
	END IF;
	SELECT count(*) FILTER (WHERE joined < mine), count(*) INTO rank, live
		FROM node WHERE team = who_team AND mine IS NOT NULL;
END
$$;
-- +goose StatementEnd

INSERT INTO version (version, least) VALUES (1, 1);
