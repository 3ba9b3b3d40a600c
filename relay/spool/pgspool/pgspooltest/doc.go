// Package pgspooltest is a kit for tests with a real PostgreSQL: private
// servers made of the programs of the machine, and the troubles that a database
// can have.
//
// # A server
//
// [Start] makes a server that ends with the test; [Server.Database] gives each
// test a fresh database, owned by a user without rights beyond it:
//
//	func TestOrders(t *testing.T) {
//		server := pgspooltest.Start(t, nil)
//		pool, err := pgxpool.New(t.Context(), server.Database(t))
//
// A start takes a second or two. A package with many tests makes one server in
// its TestMain, by [NewServer], and closes it there.
//
// PostgreSQL must be installed (Debian: postgresql, and pgbouncer for
// [Server.Bouncer]). It refuses to run as root: a test that is root runs it as
// the user postgres, or else nobody, who must be able to reach the folder for
// temporary files. Servers listen on 127.0.0.1 only, and trust whoever comes.
//
// # What was queued
//
// [RequireQueued] sees that a transaction of the application, while it is open,
// has queued what it ought to.
//
// # Trouble
//
// [Server.Kill] stops a server as a crash does, [Server.FillDisk] fills its
// disk, [Server.Replica] makes a standby that [Server.Promote] makes the
// primary, [Proxy] cuts and stalls connections, and [ShiftClock] lets the clock
// of a queue run ahead.
package pgspooltest
