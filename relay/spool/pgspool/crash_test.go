package pgspool_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
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

// TestClaimedSurvives crashes such a server after it was asked for a key that
// an application has taken in a transaction of its own: whoever was told that
// his message is queued is told the truth.
func TestClaimedSurvives(t *testing.T) {
	t.Parallel()
	server := pgspooltest.Start(t, &pgspooltest.ServerOptions{Settings: map[string]string{
		"synchronous_commit": "off", "wal_writer_delay": "10s",
	}})
	url := server.Database(t)
	s, p := open(t, url), mail("a")
	p.Commit.Claim = &spool.Claim{Key: "k", TTL: time.Hour}
	tx := begin(t, connect(t, url), pgx.TxOptions{})
	ok(t, s.Tx(tx).Commit(t.Context(), p))
	ok(t, tx.Commit(t.Context()))
	claimed := func(s *pgspool.Store) {
		t.Helper()
		id, _, used, err := s.Claimed(t.Context(), "", "k")
		if err != nil || !used || id != p.Commit.Message.ID {
			t.Errorf("claimed by %v, %t, %v", id, used, err)
		}
	}
	claimed(s)
	server.Kill(t)
	server.Restart(t)
	claimed(open(t, url))
}

// TestExpectedWhenTheServerCrashes: what a commit has leased that nobody had
// asked for goes back when the server is there again. What a store leased that
// was closed meanwhile goes to the others when its leases have ended.
func TestExpectedWhenTheServerCrashes(t *testing.T) {
	t.Parallel()
	server := pgspooltest.Start(t, nil)
	url := server.Database(t)
	s, closed := open(t, url), open(t, url)
	e := anything
	s.Expect(e)
	ids := map[spool.ID]bool{message(t, s, "a", "stays"): true}
	e.TTL = time.Second
	closed.Expect(e)
	ids[message(t, closed, "a", "ends")] = true
	server.Kill(t)
	begun := time.Now()
	ok(t, closed.Close())
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("closed after %v", took)
	}
	server.Restart(t)
	other := open(t, url)
	for range len(ids) {
		l := leaseOne(t, other, "a")
		if !ids[l.Message.ID] {
			t.Errorf("leased %v", l.Message.ID)
		}
		delete(ids, l.Message.ID)
		ok(t, other.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	}
	if st, err := other.Stats(t.Context()); err != nil || st.Deliveries != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}
