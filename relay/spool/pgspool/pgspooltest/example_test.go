package pgspooltest_test

import (
	"context"
	"fmt"

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
