-- +goose Up

-- What is on hold, set aside among it: whoever lists that need not look at the
-- whole queue.
CREATE INDEX delivery_held ON delivery (id, seq) WHERE held;

-- In place of delivery_next and delivery_at. The planner does not see through
-- CASE: a statement with such a condition uses its index, and one without it
-- does not, whatever the tables look like.
CREATE INDEX delivery_waiting ON delivery (key, at)
	WHERE CASE WHEN held THEN 1 ELSE token END = 0;
DROP INDEX delivery_next;
CREATE INDEX delivery_due ON delivery (at) WHERE CASE WHEN held THEN 1 ELSE 0 END = 0;
DROP INDEX delivery_at;

INSERT INTO version (version, least) VALUES (3, 1);
