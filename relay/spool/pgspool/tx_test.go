package pgspool_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// prepared is a message for a route, with one event.
func prepared(route, content string) *spool.Prepared {
	return &spool.Prepared{
		Commit: spool.Commit{
			Message: spool.Message{ID: spool.NewID(time.Now()), From: "shop@example.com"},
			Deliveries: []spool.Delivery{{
				Key:        spool.Key{Route: route},
				Recipients: []spool.Recipient{{Address: "a@" + route}},
			}},
			Prepend: []byte("X: y\r\n"),
			Events:  []spool.Record{{Time: time.Now(), Data: []byte("accepted " + route)}},
		},
		Content: []byte(content),
	}
}

// withKey gives a message an idempotency key.
func withKey(p *spool.Prepared, key string, ttl time.Duration) *spool.Prepared {
	p.Commit.Claim = &spool.Claim{Scope: "s", Key: key, TTL: ttl}
	rand.Read(p.Commit.Claim.Digest[:])
	return p
}

// transaction is one of the application, of whichever driver.
type transaction struct {
	*pgspool.Tx
	exec             func(string) error
	commit, rollback func() error
}

// application begins transactions.
type application func(t *testing.T, level string) transaction

func pgxApplication(s *pgspool.Store, pool *pgxpool.Pool) application {
	return func(t *testing.T, level string) transaction {
		t.Helper()
		ctx := context.Background()
		tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.TxIsoLevel(level)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tx.Rollback(ctx) })
		return transaction{
			Tx:       s.Tx(tx),
			exec:     func(text string) error { _, err := tx.Exec(ctx, text); return err },
			commit:   func() error { return tx.Commit(ctx) },
			rollback: func() error { return tx.Rollback(ctx) },
		}
	}
}

func sqlApplication(t *testing.T, s *pgspool.Store, driver, url string) application {
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	levels := map[string]sql.IsolationLevel{
		"repeatable read": sql.LevelRepeatableRead, "serializable": sql.LevelSerializable,
	}
	return func(t *testing.T, level string) transaction {
		t.Helper()
		tx, err := db.BeginTx(context.Background(), &sql.TxOptions{Isolation: levels[level]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tx.Rollback() })
		return transaction{
			Tx:     s.SQLTx(tx),
			exec:   func(text string) error { _, err := tx.Exec(text); return err },
			commit: tx.Commit, rollback: tx.Rollback,
		}
	}
}

// applications calls f for each driver, each exec mode, and pgbouncer.
func applications(t *testing.T, f func(*testing.T, *pgspool.Store, application)) {
	run := func(name string, make func(*testing.T, *pgspool.Store, string) application) {
		t.Run(name, func(t *testing.T) {
			url := server.Database(t)
			s := open(t, url)
			f(t, s, make(t, s, url))
		})
	}
	for _, mode := range []string{
		"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol",
	} {
		run("pgx/"+mode, func(t *testing.T, s *pgspool.Store, url string) application {
			return pgxApplication(s, connect(t, url+"&default_query_exec_mode="+mode))
		})
	}
	run("pgbouncer", func(t *testing.T, s *pgspool.Store, url string) application {
		url = server.Bouncer(t, url) + "&default_query_exec_mode=cache_describe"
		return pgxApplication(s, connect(t, url))
	})
	for name, driver := range map[string]string{"stdlib": "pgx", "pq": "postgres"} {
		run(name, func(t *testing.T, s *pgspool.Store, url string) application {
			return sqlApplication(t, s, driver, url)
		})
	}
	run("pq/binary", func(t *testing.T, s *pgspool.Store, url string) application {
		return sqlApplication(t, s, "postgres", url+"&binary_parameters=yes")
	})
}

// lease waits for a delivery.
func lease(t testing.TB, s spool.Store) spool.Lease {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		got, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Leases) > 0 {
			return got.Leases[0]
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("nothing to lease")
	return spool.Lease{}
}

// none waits long enough for a node to have taken what there is.
func none(t testing.TB, s spool.Store) {
	t.Helper()
	for range 8 {
		got, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
		if err != nil || len(got.Leases) > 0 {
			t.Fatalf("leased %+v, %v", got, err)
		}
		time.Sleep(25 * time.Millisecond)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

// settled leases a delivery, compares its content, and ends it.
func settled(t testing.TB, s spool.Store, want string) spool.Lease {
	t.Helper()
	l := lease(t, s)
	r, err := s.Open(t.Context(), l.Message.ID)
	ok(t, err)
	got, err := io.ReadAll(r)
	ok(t, err)
	if string(got) != want {
		t.Fatalf("content is %d bytes, want %d", len(got), len(want))
	}
	ok(t, s.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	return l
}

func TestTxIsSentIfItCommits(t *testing.T) {
	applications(t, func(t *testing.T, s *pgspool.Store, begin application) {
		large := strings.Repeat("0123456789abcdef", 50_000) // four rows
		p := prepared("large", large)
		tx := begin(t, "")
		ok(t, tx.Commit(t.Context(), withKey(p, "k", time.Hour)))
		ok(t, tx.Commit(t.Context(), prepared("empty", "")))
		none(t, s)
		ok(t, tx.commit())
		want := map[string]string{"large": "X: y\r\n" + large, "empty": "X: y\r\n"}
		for range 2 {
			l := lease(t, s)
			route := l.Delivery.Key.Route
			if l.Message.From != "shop@example.com" ||
				l.Delivery.Recipients[0].Address != "a@"+route ||
				l.Message.Size != int64(len(want[route])) {
				t.Fatalf("%+v", l)
			}
			ok(t, s.Return(t.Context(), time.Hour,
				[]spool.Held{{ID: l.Delivery.ID, Token: l.Token}}))
			r, err := s.Open(t.Context(), l.Message.ID)
			ok(t, err)
			got, err := io.ReadAll(r)
			if string(got) != want[route] || err != nil {
				t.Fatalf("%s: %d bytes, %v", route, len(got), err)
			}
		}
		st, err := s.Stats(t.Context())
		if st.Messages != 2 || st.Deliveries != 2 || st.Bytes != int64(len(large)+12) {
			t.Fatalf("%+v %v", st, err)
		}
	})
}

func TestTxThatRollsBackLeavesNothing(t *testing.T) {
	applications(t, func(t *testing.T, s *pgspool.Store, begin application) {
		p := withKey(prepared("a", "x"), "k", time.Hour)
		tx := begin(t, "")
		ok(t, tx.Commit(t.Context(), p))
		ok(t, tx.rollback())
		none(t, s)
		ok(t, s.Commit(t.Context(), p)) // neither id nor key is in use
		settled(t, s, "X: y\r\nx")
	})
}

// Whatever the store refuses, the transaction goes on.
func TestTxGoesOnAfterRefusals(t *testing.T) {
	applications(t, func(t *testing.T, s *pgspool.Store, begin application) {
		ctx := t.Context()
		stored := withKey(prepared("stored", "x"), "stored", time.Hour)
		ok(t, s.Commit(ctx, stored))
		expired := withKey(prepared("expired", "x"), "expired", time.Millisecond)
		ok(t, s.Commit(ctx, expired))
		settled(t, s, "X: y\r\nx")
		settled(t, s, "X: y\r\nx")

		tx := begin(t, "")
		inside := withKey(prepared("inside", "x"), "inside", time.Hour)
		ok(t, tx.Commit(ctx, inside))
		for _, first := range []*spool.Prepared{stored, inside} {
			key := first.Commit.Claim.Key
			err := tx.Commit(ctx, withKey(prepared("other", "y"), key, time.Hour))
			used, is := errors.AsType[*spool.ClaimedError](err)
			if !is || used.Message != first.Commit.Message.ID ||
				used.Digest != first.Commit.Claim.Digest {
				t.Fatalf("%s: %v", key, err)
			}
		}
		again := *inside
		again.Commit.Claim = nil
		wants(t, tx.Commit(ctx, &again), spool.ErrExists)
		wants(t, tx.Commit(ctx, withKey(&again, "free", time.Hour)), spool.ErrExists)
		refusedPlainly(t, tx)
		ok(t, tx.Commit(ctx, withKey(prepared("b", "z"), "expired", time.Hour)))
		ok(t, tx.Commit(ctx, withKey(prepared("c", "z"), "free", time.Hour)))
		ok(t, tx.exec("CREATE TABLE fine ()"))
		ok(t, tx.commit())
		routes := map[string]bool{}
		for range 3 {
			routes[lease(t, s).Delivery.Key.Route] = true
		}
		if !routes["inside"] || !routes["b"] || !routes["c"] {
			t.Fatal(routes)
		}
		none(t, s)
	})
}

// refusedPlainly tries what no store takes.
func refusedPlainly(t *testing.T, tx transaction) {
	t.Helper()
	p := prepared("a", "x")
	p.Commit.Deliveries = nil
	wants(t, tx.Commit(t.Context(), p), spool.ErrNoDelivery)
	p = prepared("a", "x")
	p.Commit.Events[0].Data = make([]byte, spool.MaxRecord+1)
	wants(t, tx.Commit(t.Context(), p), spool.ErrRecordSize)
	p = prepared("a", "x")
	p.Commit.Settle = []spool.Settlement{{}}
	if err := tx.Commit(t.Context(), p); err == nil {
		t.Fatal("a settlement is taken")
	}
	if err := tx.Advance(t.Context(), "c", 99); err == nil {
		t.Fatal("a place behind the newest record is taken")
	}
}

func TestTxSavepoint(t *testing.T) {
	applications(t, func(t *testing.T, s *pgspool.Store, begin application) {
		ctx := t.Context()
		tx := begin(t, "")
		ok(t, tx.exec("SAVEPOINT one"))
		p := withKey(prepared("a", "x"), "k", time.Hour)
		ok(t, tx.Commit(ctx, p))
		ok(t, tx.exec("ROLLBACK TO one"))
		ok(t, tx.Commit(ctx, withKey(prepared("b", "x"), "k", time.Hour)))
		ok(t, tx.commit())
		if l := settled(t, s, "X: y\r\nx"); l.Delivery.Key.Route != "b" {
			t.Fatalf("%+v", l)
		}
		none(t, s)
	})
}
