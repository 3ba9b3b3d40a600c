package pgspool_test

import (
	"testing"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// TestWhatIsReadSurvives crashes a server that acknowledges before it writes,
// unless a transaction asks for more: what Records has returned and where a
// consumer is are there afterwards.
func TestWhatIsReadSurvives(t *testing.T) {
	server := pgspooltest.Start(t, &pgspooltest.ServerOptions{Settings: map[string]string{
		"synchronous_commit": "off", "wal_writer_delay": "10s",
	}})
	url := server.Database(t)
	s := open(t, url)
	commitRecords(t, s, record("1"))
	commitRecords(t, s, record("2"))
	if n := countRecords(t, s); n != 2 {
		t.Fatalf("%d records", n)
	}
	if err := s.Advance(t.Context(), "c", 1); err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	server.Restart(t)
	again := open(t, url)
	pool := connect(t, url)
	if n := count(t, pool, "SELECT max(last) FROM postern.log"); n != 2 {
		t.Fatalf("the log goes up to %d", n)
	}
	if at, err := again.Cursor(t.Context(), "c"); at != spool.Cursor(1) || err != nil {
		t.Fatal(at, err)
	}
}
