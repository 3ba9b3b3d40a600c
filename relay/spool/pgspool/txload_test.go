package pgspool_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// shared is a queue and an application on one database.
func shared(t *testing.T) (*pgspool.Store, application, string) {
	url := server.Database(t)
	s := open(t, url)
	return s, pgxApplication(s, connect(t, url+"&pool_max_conns=50")), url
}

// A transaction that is open for long holds up neither relays nor other
// transactions, but those with its key.
func TestTxOpenForLong(t *testing.T) {
	s, begin, url := shared(t)
	ctx := t.Context()
	none(t, s)
	tx := begin(t, "")
	ok(t, tx.Commit(ctx, withKey(prepared("late", "x"), "k", time.Hour)))

	quick, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for i := range 100 {
		p := prepared("others", "y")
		if i%2 == 0 {
			p = withKey(p, fmt.Sprint("k", i), time.Hour)
		}
		ok(t, s.Commit(quick, p))
	}
	other := begin(t, "")
	ok(t, other.Commit(quick, withKey(prepared("others", "y"), "other", time.Hour)))
	ok(t, other.commit())
	for range 101 {
		settled(t, s, "X: y\r\ny")
	}
	if n := countRecords(t, open(t, url)); n != 101 {
		t.Fatalf("%d records", n)
	}
	sameKeyWaits(t, s, begin, tx)
	settled(t, s, "X: y\r\nx")
	none(t, s)
}

// sameKeyWaits ends a transaction that has put in the key "k".
func sameKeyWaits(t *testing.T, s *pgspool.Store, begin application, tx transaction) {
	t.Helper()
	ctx := t.Context()
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	err := s.Commit(short, withKey(prepared("same", "z"), "k", time.Hour))
	wants(t, err, context.DeadlineExceeded)

	told := make(chan error, 2)
	go func() { told <- s.Commit(ctx, withKey(prepared("same", "z"), "k", time.Hour)) }()
	second := begin(t, "")
	go func() { told <- second.Commit(ctx, withKey(prepared("same", "z"), "k", time.Hour)) }()
	time.Sleep(300 * time.Millisecond)
	if len(told) > 0 {
		t.Errorf("somebody did not wait: %v", <-told)
	}
	ok(t, tx.commit())
	// The second one is open all the time.
	wants(t, <-told, spool.ErrClaimed)
	wants(t, <-told, spool.ErrClaimed)
	ok(t, second.exec("SELECT 1"))
	ok(t, second.commit())
}

// Who waited for a key takes it when the other transaction is rolled back.
func TestTxKeyOfOneThatRollsBack(t *testing.T) {
	s, begin, _ := shared(t)
	first, second := begin(t, ""), begin(t, "")
	ok(t, first.Commit(t.Context(), withKey(prepared("first", "x"), "k", time.Hour)))
	told := make(chan error, 1)
	go func() {
		told <- second.Commit(t.Context(), withKey(prepared("second", "x"), "k", time.Hour))
	}()
	time.Sleep(100 * time.Millisecond)
	ok(t, first.rollback())
	ok(t, <-told)
	ok(t, second.commit())
	if l := settled(t, s, "X: y\r\nx"); l.Delivery.Key.Route != "second" {
		t.Fatalf("%+v", l)
	}
}

// A transaction that commits long after it drew its number is found, though a
// node has taken many that drew later ones.
func TestTxThatCommitsLate(t *testing.T) {
	s, begin, _ := shared(t)
	late := begin(t, "")
	ok(t, late.Commit(t.Context(), prepared("late", "x")))
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		tx := begin(t, "")
		ok(t, tx.Commit(t.Context(), prepared("early", "x")))
		ok(t, tx.commit())
		if l := settled(t, s, "X: y\r\nx"); l.Delivery.Key.Route != "early" {
			t.Fatalf("%+v", l)
		}
	}
	ok(t, late.commit())
	if l := settled(t, s, "X: y\r\nx"); l.Delivery.Key.Route != "late" {
		t.Fatalf("%+v", l)
	}
}

// A thousand transactions at once, of which some are rolled back, and two nodes
// that take what they leave.
func TestTxManyAtOnce(t *testing.T) {
	const many = 1000
	s, begin, url := shared(t)
	nodes := []*pgspool.Store{s, open(t, url)}
	var sent sync.Map
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			p := prepared(fmt.Sprint("r", i%7), "x")
			if i%3 == 0 {
				p = withKey(p, fmt.Sprint("k", i), time.Hour)
			}
			tx := begin(t, "")
			if err := tx.Commit(context.Background(), p); err != nil {
				t.Error(err)
			}
			if i%4 == 0 {
				tx.rollback()
				return
			}
			sent.Store(p.Commit.Message.ID, true)
			if err := tx.commit(); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range many - many/4 {
		l := lease(t, nodes[i%2])
		if _, found := sent.LoadAndDelete(l.Message.ID); !found {
			t.Fatalf("%v was not sent, or has come before", l.Message.ID)
		}
		ok(t, nodes[i%2].Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	}
	wg.Wait()
	none(t, s)
	st, err := s.Stats(t.Context())
	if st != (spool.Stats{}) || err != nil {
		t.Fatalf("%+v %v", st, err)
	}
	ids := countRecords(t, s)
	if ids != many-many/4 {
		t.Fatalf("%d events", ids)
	}
}

func countRecords(t *testing.T, s *pgspool.Store) int {
	t.Helper()
	n, after := 0, spool.Cursor(0)
	for {
		list, err := s.Records(t.Context(), after, 1000)
		ok(t, err)
		if len(list) == 0 {
			return n
		}
		n, after = n+len(list), list[len(list)-1].At
	}
}

// Messages of SERIALIZABLE transactions are no conflict with each other.
func TestTxSerializable(t *testing.T) {
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			s, begin, _ := shared(t)
			ok(t, s.Commit(t.Context(), prepared("first", "x")))
			_, newest, err := s.Bounds(t.Context())
			ok(t, err)
			var wg sync.WaitGroup
			for worker := range 8 {
				name := fmt.Sprint("w", worker)
				ok(t, s.Advance(t.Context(), name, 0)) // a new one looks at the others
				wg.Go(func() {
					for i := range 10 {
						tx := begin(t, level)
						err := errors.Join(
							tx.Commit(t.Context(),
								withKey(prepared("a", "x"), fmt.Sprint(name, i), time.Hour)),
							tx.Advance(t.Context(), name, newest), tx.commit(),
						)
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// Two transactions that look at the past, with one key, are a serialization
// failure, as with each row.
func TestTxKeyOfRepeatableReads(t *testing.T) {
	_, begin, _ := shared(t)
	first, second := begin(t, "repeatable read"), begin(t, "repeatable read")
	ok(t, second.exec("SELECT 1")) // now it has its snapshot
	ok(t, first.Commit(t.Context(), withKey(prepared("a", "x"), "k", time.Hour)))
	ok(t, first.commit())
	err := second.Commit(t.Context(), withKey(prepared("b", "x"), "k", time.Hour))
	if pg, is := errors.AsType[*pgconn.PgError](err); !is || pg.Code != "40001" {
		t.Fatal(err)
	}
}

func TestTxAdvance(t *testing.T) {
	applications(t, func(t *testing.T, s *pgspool.Store, begin application) {
		ctx := t.Context()
		ok(t, s.Commit(ctx, prepared("a", "x")))
		_, newest, err := s.Bounds(ctx)
		ok(t, err)
		place := func(want spool.Cursor) {
			t.Helper()
			got, err := s.Cursor(ctx, "orders")
			if got != want || err != nil {
				t.Fatalf("the place is %d, want %d; %v", got, want, err)
			}
		}
		tx := begin(t, "")
		if err := tx.Advance(ctx, "orders", newest+1); err == nil {
			t.Fatal("a place behind the newest record is taken")
		}
		ok(t, tx.Advance(ctx, "orders", newest))
		place(0)
		ok(t, s.Advance(ctx, "other", newest)) // it does not wait
		ok(t, tx.rollback())
		place(0)
		tx = begin(t, "")
		ok(t, tx.Advance(ctx, "orders", newest))
		ok(t, tx.commit())
		place(newest)
	})
}

func TestTxConsumersAreBounded(t *testing.T) {
	s, begin, url := shared(t)
	ok(t, s.Commit(t.Context(), prepared("a", "x")))
	_, newest, err := s.Bounds(t.Context())
	ok(t, err)
	exec(t, connect(t, url), "INSERT INTO postern.consumer SELECT n::text, 0 "+
		"FROM generate_series(1, 1000) n")
	tx := begin(t, "")
	if err := tx.Advance(t.Context(), "new", newest); err == nil {
		t.Fatal("there are 1001")
	}
	ok(t, tx.Advance(t.Context(), "7", newest))
	ok(t, tx.commit())
	for name, want := range map[string]spool.Cursor{"new": 0, "7": newest} {
		if at, err := s.Cursor(t.Context(), name); at != want || err != nil {
			t.Fatalf("%s is at %d, %v", name, at, err)
		}
	}
}

func exec(t *testing.T, pool *pgxpool.Pool, text string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), text, pgx.QueryExecModeSimpleProtocol)
	ok(t, err)
}
