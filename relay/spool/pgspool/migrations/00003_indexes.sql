-- +goose Up

-- What is on hold, set aside among it: whoever lists that need not look at the
-- whole queue.
CREATE INDEX delivery_held ON delivery (id, seq) WHERE held;

-- In place of delivery_next. The planner does not see through CASE: a statement
-- with that condition can use no other index, whatever the tables look like.
CREATE INDEX delivery_waiting ON delivery (key, at)
	WHERE CASE WHEN held THEN 1 ELSE token END = 0;
DROP INDEX delivery_next;

INSERT INTO version (version, least) VALUES (3, 1);
