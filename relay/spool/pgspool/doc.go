// Package pgspool keeps a relay's queue in PostgreSQL, in the database that the
// application has: any number of relays take their work from it, and the
// application's own transaction can put mail into it.
//
// It needs PostgreSQL 14 or later, a schema that it may create, and neither
// extensions nor a superuser. It has all optional parts of package spool but
// the Gauge, which is about the room on a disk.
//
// # Opening
//
// A pool, a store and a relay are opened in this order and closed in the
// reverse one; Open makes the tables in the schema "postern":
//
//	pool, err := pgxpool.New(ctx, "postgres://shop@localhost/shop")
//	queue, err := pgspool.Open(ctx, pool, &pgspool.Options{Logger: logger})
//	r, err := relay.New(relay.Config{Hostname: host, Spool: queue})
//
// Give it a Logger: what is wrong with the database is told there.
//
// # The application's transaction
//
// [Store.Tx] and [Store.SQLTx] commit a message in a transaction of the
// application, with [relay.Relay.SubmitIn]: the message is sent if, and only
// if, the transaction commits. The transaction may come from another pool or
// driver, but has to be one of the same database.
//
// A relay that never runs may enqueue, such as that of a web process or a cron
// job. Its Config says what is written: give it the same Hostname, EventLog,
// DKIM and AcceptedDomains as those that run. Without an EventLog of its own
// its messages have no Accepted event. It needs no connectors. SubmitIn takes
// no connection but that of the transaction, save for a look at the length of
// the queue every two seconds, which a pool without a free one makes wait for a
// second.
//
// A consumer of events whose work is in the same database does it once with
// [Tx.Cursor] and [Tx.Advance].
//
// # Nodes
//
// Any number of relays may run on one schema, without further settings: they
// share mail and limits and take over from each other; see Several relays in
// the overview of package relay, and docs/scaling.md for topologies, what a
// fail-over of PostgreSQL keeps, and managed services.
//
// # Connections
//
// A store that a relay runs on uses a connection for each of two committers,
// one for who leases, one to wait for others, and those of readers for a moment
// each; none is held while a peer is slow. Give it a pool of its own, of 8
// connections or more, where transactions of the application may use all of
// theirs. With fewer than 4 the store polls, and keeps none to wait.
//
// Transactions of the pool must be READ COMMITTED, as they are by default;
// those of the application are as it likes. With several hosts in the URL add
// target_session_attrs=read-write, so that the pool finds the primary.
//
// # pgbouncer
//
// Through pgbouncer in transaction mode, set the pool's exec mode to
// cache_describe (default_query_exec_mode=cache_describe in its URL): the store
// then polls ten times a second, because a notification needs a connection of
// its own. The pools of the application that go through it need the same with
// pgx, in package stdlib too; "prepared statement already exists" and "does not
// exist" are what is heard without it, sometimes only after a while.
//
// # Rights
//
// A role that may create a schema, or owns an empty one, needs nothing else.
// Otherwise the owner runs [Migrate], or goose with [Migrations], and the store
// is opened with NoMigrate by a role that has
//
//	GRANT USAGE ON SCHEMA postern TO relay;
//	GRANT SELECT, INSERT, UPDATE, DELETE
//		ON ALL TABLES IN SCHEMA postern TO relay;
//	GRANT SELECT ON ALL SEQUENCES IN SCHEMA postern TO relay;
//
// Open warns of rights that lack. Whoever can read the schema can read the
// mail.
//
// # Upgrades
//
// Open brings the schema up to date, under a lock, and programs of the version
// before go on; while it makes an index, which reads the queue once, they wait
// to write. One that is too old for the schema is refused. So restart
// nodes one after the other, version by version. There is no way back but a new
// schema: the files for goose have no Down.
//
// # What to watch
//
// About once a minute each store forgets what has ended: idempotency keys,
// counters and values, members, content without a message. It warns in the log
// when a snapshot has been open for ten minutes, such as that of a forgotten
// transaction or a replication slot, and when autovacuum is late: both keep
// rows that are gone, and the queue gets slower. [relay.Relay.Stats] and
// [relay.Relay.Nodes] are good for figures. Where synchronous_commit is off,
// the store turns it on for its own transactions; other values are left as they
// are. Transactions of the application have what the application sets.
//
// # Sizes and limits
//
//   - content: up to 16,000 bytes in rows of 8,000, as it is; what is longer
//     in rows of 256 KiB, compressed; in a transaction of the application,
//     at most 256 MiB, which are in memory;
//   - the name of the schema: 63 bytes;
//   - consumers of events: 1,000; members of all groups of nodes: 1,000;
//   - counters and values: 200,000, counted once a minute.
//
// docs/flow.md has every wait, and who waits behind it.
//
// # How it works
//
// What sessions and deliveries have to write are steps: a commit, a settlement,
// both, or a message that a transaction of the application has left. Steps
// gather while others are written, and a committer, of which there are two,
// writes all that have gathered in one transaction. A step that fails does not
// fail the others.
//
// A committer leases at once what the relay is ready to deliver and hands it to
// the next Lease (see [spool.Expecter]), so that most mail needs no statement
// for its lease, and is delivered where its content is in memory. Mail that the
// relay does not expect waits for whichever node leases it.
//
// A committer leaves the events of its transaction in a row, and the sequencer
// gives them their places: a statement that one node at a time executes, and
// that holds nothing when its client stops. So places are without a gap, a
// transaction that is open does not hold readers up, and what is committed late
// comes later. The log has a partition for each day (UTC), which
// [Store.Truncate] drops. Where the role may not make tables, all is in the
// default partition, and rows are deleted.
//
// The server's clock says what is due and which leases have ended, in
// microseconds.
package pgspool
