package pgspool_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// poolThrough is a pool whose connections are wrapped.
func poolThrough(
	t *testing.T, url string, tracer pgx.QueryTracer, wrap func(net.Conn) net.Conn,
) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	ok(t, err)
	cfg.ConnConfig.Tracer = tracer
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return wrap(conn), nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	ok(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// cuttable are connections that can be cut.
type cuttable struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cuttable) add(conn net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
	return conn
}

func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// TestNothingIsAcknowledgedThatNoStandbyHas has the synchronous standby away: a
// commit that waits for it has its connection cut, and the server goes on
// without. It is acknowledged when the standby does not matter any more, and
// not before.
func TestNothingIsAcknowledgedThatNoStandbyHas(t *testing.T) {
	t.Parallel()
	server := pgspooltest.Start(t, nil)
	conns, admin := new(cuttable), connect(t, server.URL())
	s := openOn(t, poolThrough(t, server.Database(t), nil, conns.add))
	message(t, s, "before", "hello")
	const waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
	for name, back := range map[string]bool{"stays away": false, "is back": true} {
		standbyNames(t, server, admin, "gone")
		done := make(chan error, 1)
		go func() { done <- s.Commit(t.Context(), mail("a")) }()
		for end := time.Now().Add(lag); count(t, admin, waiting) == 0; {
			if time.Now().After(end) {
				t.Fatal("the commit does not wait for the standby")
			}
			time.Sleep(10 * time.Millisecond)
		}
		conns.cut()
		time.Sleep(3 * time.Second)
		if len(done) > 0 {
			t.Errorf("%s: answered while the standby is away", name)
		}
		if back {
			standbyNames(t, server, admin, "")
		}
		if err := <-done; (err == nil) != back {
			t.Errorf("%s: answered %v", name, err)
		}
		standbyNames(t, server, admin, "")
	}
}

func standbyNames(t *testing.T, server *pgspooltest.Server, admin *pgxpool.Pool, names string) {
	t.Helper()
	server.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'")
	server.Exec(t, "SELECT pg_reload_conf()")
	for end := time.Now().Add(lag); ; time.Sleep(10 * time.Millisecond) {
		var now string
		ok(t, admin.QueryRow(t.Context(), "SHOW synchronous_standby_names").Scan(&now))
		if now == names {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the server does not read its settings")
		}
	}
}

// TestOutcomeIsItsOwn: that the number of a transaction has been committed is
// not enough, where the answer to a commit was lost. A server that took over
// without it may have given the number to another one.
func TestOutcomeIsItsOwn(t *testing.T) {
	t.Parallel()
	for name, replaced := range map[string]bool{"its own": false, "of another": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := server.Database(t)
			d := &replacing{deaf: new(deaf), on: func() {}}
			if other := connect(t, url); replaced {
				d.on = func() {
					_, err := other.Exec(t.Context(), "UPDATE postern.counter SET n = n")
					ok(t, err)
				}
			}
			s := openOn(t, poolThrough(t, url, d, d.hear))
			d.Store(true)
			if err := s.Commit(t.Context(), mail("a")); (err != nil) != replaced {
				t.Errorf("answered %v", err)
			}
		})
	}
}

// replacing does something before it is asked what has become of a commit whose
// answer is lost.
type replacing struct {
	*deaf
	once sync.Once
	on   func()
}

func (r *replacing) TraceQueryStart(
	ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData,
) context.Context {
	if strings.Contains(data.SQL, "pg_xact_status") {
		r.once.Do(r.on)
		r.Store(false)
	}
	return ctx
}

// stuck has a committer wait for somebody else's lock, until let.
func stuck(t *testing.T, url string, s spool.Store) (done <-chan error, let func()) {
	t.Helper()
	message(t, s, "cause", "hello")
	cause := leaseOne(t, s, "cause")
	tx := begin(t, connect(t, url), pgx.TxOptions{})
	_, err := tx.Exec(t.Context(), "SELECT FROM postern.delivery FOR UPDATE")
	ok(t, err)
	c := make(chan error, 1)
	go func() {
		c <- s.Settle(t.Context(), spool.Settlement{ID: cause.Delivery.ID, Token: cause.Token})
	}()
	time.Sleep(200 * time.Millisecond)
	return c, func() { ok(t, tx.Rollback(context.Background())) }
}

// TestCloseWhileACommitterIsStuck gives back what was leased ahead.
func TestCloseWhileACommitterIsStuck(t *testing.T) {
	t.Parallel()
	url := server.Database(t)
	s, other := open(t, url), open(t, url)
	done, let := stuck(t, url, s)
	defer let()
	s.Expect(anything)
	id := message(t, s, "a", "hello")
	ok(t, s.Close())
	if err := <-done; err == nil {
		t.Error("settled what is locked")
	}
	if l := leaseOne(t, other, "a"); l.Message.ID != id {
		t.Errorf("leased %v", l.Message.ID)
	}
}

// TestClockAfterAWait: a transaction that waited for a lock tells nobody what
// the time was before: what has come meanwhile is leased at once.
func TestClockAfterAWait(t *testing.T) {
	t.Parallel()
	url := server.Database(t)
	s := open(t, url)
	done, let := stuck(t, url, s)
	time.Sleep(4 * time.Second)
	id := message(t, s, "a", "hello")
	let()
	ok(t, <-done)
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		got, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 9, TTL: time.Minute})
		ok(t, err)
		if len(got.Leases) == 1 && got.Leases[0].Message.ID == id {
			return
		}
		if got.Wait > time.Second || time.Since(begun) > lag {
			t.Fatalf("leased %d, and is to wait for %v", len(got.Leases), got.Wait)
		}
	}
}

// TestLeaseBrokenOffByClose: what it had leased goes back.
func TestLeaseBrokenOffByClose(t *testing.T) {
	t.Parallel()
	url := server.Database(t)
	s, other, c := open(t, url), open(t, url), connect(t, url)
	id := message(t, s, "a", "hello")
	for _, text := range []string{
		"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS " +
			"$$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$",
		"CREATE TRIGGER slow BEFORE UPDATE ON postern.delivery FOR EACH ROW " +
			"EXECUTE FUNCTION slow()",
	} {
		_, err := c.Exec(t.Context(), text)
		ok(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Lease(ctx, spool.LeaseRequest{Max: 1, TTL: time.Hour})
		done <- err
	}()
	time.Sleep(150 * time.Millisecond)
	cancel()
	ok(t, s.Close())
	if err := <-done; err == nil {
		t.Error("leased all the same")
	}
	_, err := c.Exec(t.Context(), "DROP TRIGGER slow ON postern.delivery")
	ok(t, err)
	if l := leaseOne(t, other, "a"); l.Message.ID != id {
		t.Errorf("leased %v", l.Message.ID)
	}
}

// heads sees how long the messages of a client say they are that have rows.
type heads struct {
	net.Conn
	mu    *sync.Mutex
	sizes map[uint32]int
}

func (h heads) Write(b []byte) (int, error) {
	if len(b) == 5 && b[0] == 'd' {
		h.mu.Lock()
		h.sizes[binary.BigEndian.Uint32(b[1:])]++
		h.mu.Unlock()
	}
	return h.Conn.Write(b)
}

// TestRowsGoInPieces: a server keeps each message of the protocol whole.
func TestRowsGoInPieces(t *testing.T) {
	t.Parallel()
	h := heads{mu: new(sync.Mutex), sizes: make(map[uint32]int)}
	s := openOn(t, poolThrough(t, server.Database(t), nil, func(c net.Conn) net.Conn {
		return heads{c, h.mu, h.sizes}
	}))
	p := mail("a")
	p.Content = bytes.Repeat([]byte("content\r\n"), 500_000)
	ok(t, s.Commit(t.Context(), p))
	r, err := s.Open(t.Context(), p.Commit.Message.ID)
	ok(t, err)
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, p.Content) {
		t.Errorf("%d octets, %v", len(b), err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for size, times := range h.sizes {
		if n += times; size > 512<<10 {
			t.Errorf("a message of %d octets", size)
		}
	}
	if n < 10 {
		t.Errorf("%d messages with rows", n)
	}
}
