package pgspooltest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// Outside of a test, such as in TestMain, whoever makes a server closes it.
func ExampleNewServer() {
	server, err := pgspooltest.NewServer(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	var fsync string
	err = c.QueryRow(ctx, "SHOW fsync").Scan(&fsync)
	fmt.Println("fsync:", fsync, err)
	// Output: fsync: on <nil>
}

// What was committed is there after a crash.
func ExampleStart() {
	var t *testing.T // of the test
	server := pgspooltest.Start(t, nil)
	url := server.Database(t)
	// … work with the database at url …
	server.Kill(t)
	server.Restart(t)
	fmt.Println(url)
}

// A fail-over: who connects through the proxy finds the new primary.
func ExampleServer_Replica() {
	var t *testing.T // of the test
	primary := pgspooltest.Start(t, nil)
	replica := primary.Replica(t, nil)
	proxy := pgspooltest.NewProxy(t, primary.Addr())
	url := proxy.URL(t, primary.Database(t))
	// … work with the database at url …
	primary.Kill(t)
	replica.Promote(t)
	proxy.Redirect(replica.Addr())
	fmt.Println(url)
}

// What would be due, or would end, in the next two hours is, and has.
func ExampleShiftClock() {
	var t *testing.T // of the test
	url := pgspooltest.Start(t, nil).Database(t)
	// … open the queue in the database at url, and put mail into it …
	pgspooltest.ShiftClock(t, url, "postern", 2*time.Hour)
}

// A queue in a schema of its own is asked by the name of that.
func ExampleQueuedIn() {
	var t *testing.T // of the test
	var tx pgx.Tx    // of the application, still open
	for _, m := range pgspooltest.QueuedIn(t, tx, "shop_mail") {
		fmt.Println(m.From, m.To, m.Stream)
	}
}

// An operator's restart: the queue goes on by itself.
func ExampleServer_Stop() {
	var t *testing.T // of the test
	server := pgspooltest.Start(t, nil)
	server.Stop(t)
	server.Restart(t)
	fmt.Println(server.Running())
}
