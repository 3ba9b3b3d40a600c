-- +goose Up

-- Rows of content that fit in a page stay there, as they are: cut into pieces
-- of 2 KB they cost twice as much. Longer ones are compressed, as before.
-- +goose StatementBegin
DO $$
BEGIN
	EXECUTE format('ALTER TABLE chunk SET (toast_tuple_target = %s)',
		current_setting('block_size')::int - 32);
END
$$;
-- +goose StatementEnd

INSERT INTO version (version, least) VALUES (2, 1);
