-- +goose Up

-- What is on hold, set aside among it: whoever lists that need not look at the
-- whole queue.
CREATE INDEX delivery_held ON delivery (id, seq) WHERE held;

INSERT INTO version (version, least) VALUES (3, 1);
