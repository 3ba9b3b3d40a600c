package pgspool_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// lines counts those of a log.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(b []byte) (int, error) {
	l.n.Add(1)
	return len(b), nil
}

// TestOneConnectionForAll has everything at once on one connection.
func TestOneConnectionForAll(t *testing.T) {
	t.Parallel()
	const messages = 12
	url := server.Database(t)
	s := open(t, url+"&pool_max_conns=1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	content := strings.Repeat("x", 700_000)
	var wg sync.WaitGroup
	for range messages {
		wg.Go(func() { message(t, s, "a", content) })
	}
	var settled atomic.Int64
	for range 3 {
		wg.Go(func() {
			for settled.Load() < messages && ctx.Err() == nil {
				settled.Add(serveWhole(ctx, t, s, content))
			}
		})
	}
	wg.Go(func() {
		f := follower{Store: s}
		f.follow(t, messages)
	})
	wg.Wait()
	if n := settled.Load(); n != messages {
		t.Errorf("%d were settled", n)
	}
	empty(t, connect(t, url))
}

// serveWhole leases, reads and settles, each with an event.
func serveWhole(ctx context.Context, t *testing.T, s *pgspool.Store, content string) (n int64) {
	got, err := s.Lease(ctx, spool.LeaseRequest{Max: 2, TTL: time.Minute})
	if err != nil {
		t.Error(err)
	}
	for _, l := range got.Leases {
		r, err := s.Open(ctx, l.Message.ID)
		var b []byte
		if err == nil {
			b, err = io.ReadAll(r)
		}
		if err == nil && string(b) != content {
			err = errors.New("the content is another one")
		}
		if err == nil {
			err = s.Settle(ctx, spool.Settlement{
				ID: l.Delivery.ID, Token: l.Token, Events: []spool.Record{record("settled")},
			})
		}
		if err != nil {
			t.Error(err)
		}
		n++
	}
	if n == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	return n
}

// TestExhaustedPool has the application hold all connections: who waits does so
// no longer than his context, and the others go on when there is one again.
func TestExhaustedPool(t *testing.T) {
	t.Parallel()
	pool := connect(t, server.Database(t)+"&pool_max_conns=4")
	s, err := pgspool.Open(t.Context(), pool, &pgspool.Options{PollOnly: true})
	ok(t, err)
	t.Cleanup(func() { s.Close() })
	message(t, s, "a", "hello")
	l := leaseOne(t, s, "a")
	release := takeAll(t, pool)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	waited := func(what string, f func() error) {
		t.Helper()
		began := time.Now()
		err := f()
		if took := time.Since(began); err == nil || took > 10*time.Second {
			t.Errorf("%s was answered %v after %v", what, err, took)
		}
	}
	done := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	waited("the settlement", func() error { return s.Settle(ctx, done) })
	waited("Lease", func() error { _, err := s.Lease(ctx, spool.LeaseRequest{Max: 1}); return err })
	waited("Open", func() error { _, err := s.Open(ctx, l.Message.ID); return err })
	waited("Records", func() error { _, err := s.Records(ctx, 0, 1); return err })
	patient := make(chan error, 1)
	go func() { patient <- s.Settle(t.Context(), done) }()
	time.Sleep(200 * time.Millisecond)
	release()
	if err := <-patient; err != nil {
		t.Errorf("the settlement that waited was answered %v", err)
	}
	roundTrip(t, s)
}

// takeAll takes all connections of a pool.
func takeAll(t *testing.T, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	var list []*pgxpool.Conn
	for range pool.Config().MaxConns {
		c, err := pool.Acquire(t.Context())
		ok(t, err)
		list = append(list, c)
	}
	return sync.OnceFunc(func() {
		for _, c := range list {
			c.Release()
		}
	})
}

// TestPoolClosedUnderneath: a pool that is closed before the store makes
// errors, few warnings, and no Close that hangs.
func TestPoolClosedUnderneath(t *testing.T) {
	t.Parallel()
	for _, pollOnly := range []bool{true, false} {
		var log lines
		pool := connect(t, server.Database(t))
		s, err := pgspool.Open(t.Context(), pool, &pgspool.Options{
			PollOnly: pollOnly, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		ok(t, err)
		roundTrip(t, s)
		closed := time.Now()
		pool.Close()
		_, err = s.Lease(t.Context(), spool.LeaseRequest{Max: 1})
		if w, createErr := s.Create(t.Context(), spool.NewID(time.Now())); createErr == nil {
			err = w.Commit(t.Context(), spool.Commit{Deliveries: []spool.Delivery{{}}})
		}
		if err == nil || !strings.Contains(err.Error(), "closed pool") {
			t.Errorf("the commit was answered %v", err)
		}
		for end := time.Now().Add(time.Minute); log.n.Load() == 0 && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		n, passed := log.n.Load(), time.Since(closed)
		if n == 0 || n > 10*int64(passed/time.Second) {
			t.Errorf("%d warnings in %v", n, passed)
		}
		began := time.Now()
		ok(t, s.Close())
		if took := time.Since(began); took > 9*time.Second { // less than it has, if it waits
			t.Errorf("Close took %v", took)
		}
	}
}

// TestUseAfterClose: every method answers that the store is closed.
func TestUseAfterClose(t *testing.T) {
	t.Parallel()
	s := open(t, server.Database(t))
	ctx, id := t.Context(), message(t, s, "a", "hello")
	early, err := s.Create(ctx, spool.NewID(time.Now()))
	ok(t, err)
	r, err := s.Open(ctx, id)
	ok(t, err)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { ok(t, s.Close()) })
	}
	wg.Wait()
	ok(t, s.Close())
	<-s.Appended()
	one := spool.Commit{Deliveries: []spool.Delivery{{}}}
	for name, f := range map[string]func() error{
		"Commit":  func() error { return early.Commit(ctx, one) },
		"Create":  func() error { _, err := s.Create(ctx, id); return err },
		"Open":    func() error { _, err := s.Open(ctx, id); return err },
		"Lease":   func() error { _, err := s.Lease(ctx, spool.LeaseRequest{Max: 1}); return err },
		"Settle":  func() error { return s.Settle(ctx, spool.Settlement{}) },
		"Return":  func() error { return s.Return(ctx, 0, make([]spool.Held, 1)) },
		"Renew":   func() error { _, err := s.Renew(ctx, 1, make([]spool.Held, 1)); return err },
		"Stats":   func() error { _, err := s.Stats(ctx); return err },
		"Records": func() error { _, err := s.Records(ctx, 0, 1); return err },
		"Bounds":  func() error { _, _, err := s.Bounds(ctx); return err },
		"Advance": func() error { return s.Advance(ctx, "c", 0) },
		"Cursor":  func() error { _, err := s.Cursor(ctx, "c"); return err },
		"Find":    func() error { _, _, err := s.Find(ctx, id); return err },
		"List":    func() error { _, err := s.List(ctx, spool.Query{}); return err },
		"Beat":    func() error { _, _, err := s.Beat(ctx, "g", "m", 1); return err },
		"Put":     func() error { return s.Put(ctx, "k", nil, 1) },
		"Claimed": func() error { _, _, _, err := s.Claimed(ctx, "s", "k"); return err },
	} {
		if err := f(); !errors.Is(err, spool.ErrClosed) {
			t.Errorf("%s was answered %v", name, err)
		}
	}
	if b, err := io.ReadAll(r); string(b) != "hello" && !errors.Is(err, spool.ErrClosed) {
		t.Errorf("read %q, %v", b, err)
	}
	if err := early.Abort(); err != nil {
		t.Error(err)
	}
}

// TestOpenAtOnce opens, uses and closes stores of one pool at once.
func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	pool := connect(t, server.Database(t)+"&pool_max_conns=5")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pgspool.Open(gone, pool, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Open was answered %v", err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 4 {
				s, err := pgspool.Open(t.Context(), pool, nil)
				if err != nil {
					t.Error(err)
					return
				}
				message(t, s, "a", "hello")
				_, err = s.Stats(t.Context())
				if err := errors.Join(err, s.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	released(t, pool)
}

// released waits until nobody holds a connection: who did may give it back a
// little after his answer.
func released(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n := pool.Stat().AcquiredConns()
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are held", n)
		}
	}
}
