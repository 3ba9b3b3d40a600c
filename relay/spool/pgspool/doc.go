// Package pgspool keeps a relay's queue in PostgreSQL, in the database that the
// application has: any number of relays take their work from it, and the
// application's own transaction can put mail into it.
//
//	queue, err := pgspool.Open(ctx, pool, nil)
//
// It needs PostgreSQL 14 or later, a schema that it may create, and neither
// extensions nor a superuser. It has all optional parts of package spool but
// the Gauge, which is about the room on a disk.
//
// # The application's transaction
//
// [Store.Tx] and [Store.SQLTx] commit a message in a transaction of the
// application, with [relay.Relay.SubmitIn]: the message is sent if, and only
// if, the transaction commits. A relay that never runs may enqueue.
//
// # Steps
//
// What sessions and deliveries have to write are steps: a commit, a settlement,
// both, or a message that a transaction of the application has left. Steps
// gather while others are written, and a committer, of which there are two,
// writes all that have gathered in one transaction. A step that fails does not
// fail the others.
//
// # The event log
//
// A committer leaves the events of its transaction in a row, and the sequencer
// gives them their places: a statement that one node at a time executes, and
// that holds nothing when its client stops. So places are without a gap, a
// transaction that is open does not hold readers up, and what is committed late
// comes later. It has a partition for each day (UTC), which [Store.Truncate]
// drops. Where the role may not make tables, all is in the default partition,
// and rows are deleted.
//
// # What ends
//
// About once a minute each store forgets what has ended: idempotency keys,
// counters and values, members, content without a message. It warns when an old
// snapshot or a late autovacuum keeps rows that are gone. Of counters and
// values there are 200,000 at most, counted then.
//
// # Time
//
// The server's clock says what is due and which leases have ended, in
// microseconds.
//
// # Connections
//
// A store uses a connection for each of two committers, one for who leases, one
// to wait for others, and those of readers for a moment each; none is held
// while a peer is slow. Give it a pool of its own, of 8 connections or more,
// where transactions of the application may use all of theirs.
//
// Transactions of the pool must be READ COMMITTED, as they are by default.
//
// Through pgbouncer in transaction mode, set the pool's exec mode to
// cache_describe (default_query_exec_mode=cache_describe in its URL): the store
// then polls, because a notification needs a connection of its own.
//
// # Durability
//
// Where synchronous_commit is off, the store turns it on for its own
// transactions; other values are left as they are. Those of the application
// have what the application sets.
package pgspool
