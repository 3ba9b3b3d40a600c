CREATE SCHEMA IF NOT EXISTS shop;

CREATE TABLE IF NOT EXISTS shop.items (
    name  text PRIMARY KEY,
    stock int  NOT NULL
);

INSERT INTO shop.items VALUES ('tea', 1000), ('coffee', 1000), ('unicorn', 0)
ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS shop.orders (
    id     text        PRIMARY KEY,
    item   text        NOT NULL,
    buyer  text        NOT NULL,
    placed timestamptz NOT NULL DEFAULT now(),
    mail   text        NOT NULL DEFAULT 'waiting',
    detail text        NOT NULL DEFAULT '',
    told   int         NOT NULL DEFAULT 0 -- events so far
);
