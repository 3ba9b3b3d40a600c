package pgspooltest_test

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		return // all of it needs PostgreSQL
	}
	os.Exit(m.Run())
}
