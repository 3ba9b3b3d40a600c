package pgspool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// What cannot be read is made known as a damaged delivery, and holds up no
// other message.
func TestWakeThatIsDamaged(t *testing.T) {
	s, begin, _ := shared(t)
	tx := begin(t, "")
	ok(t, tx.Commit(t.Context(), prepared("one", "x")))
	ok(t, tx.exec("UPDATE postern.wake SET step = substring(step FOR 5)"))
	ok(t, tx.Commit(t.Context(), prepared("other", "x")))
	ok(t, tx.commit())
	damaged := 0
	for range 2 {
		l := lease(t, s)
		if l.Damaged != nil {
			wants(t, l.Damaged, spool.ErrDamaged)
			damaged++
		}
		ok(t, s.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	}
	if damaged != 1 {
		t.Fatalf("%d are damaged", damaged)
	}
	none(t, s)
	st, err := s.Stats(t.Context())
	if st.Messages != 0 || st.Deliveries != 0 || err != nil {
		t.Fatalf("%+v %v", st, err)
	}
}

// Find and Take know what a transaction has committed a moment ago, where no
// relay has run yet.
func TestFindAfterTx(t *testing.T) {
	s, begin, _ := shared(t)
	p := prepared("a", "x")
	id := p.Commit.Message.ID
	tx := begin(t, "")
	ok(t, tx.Commit(t.Context(), p))
	_, _, err := s.Find(t.Context(), id)
	wants(t, err, spool.ErrNotFound)
	_, err = s.Take(t.Context(), spool.DeliveryID{Message: id}, time.Minute)
	wants(t, err, spool.ErrNotFound)
	ok(t, tx.commit())
	l, err := s.Take(t.Context(), spool.DeliveryID{Message: id}, time.Minute)
	ok(t, err)
	_, err = s.Take(t.Context(), spool.DeliveryID{Message: id}, time.Minute)
	wants(t, err, spool.ErrLeased)
	m, items, err := s.Find(t.Context(), id)
	if err != nil || m.ID != id || len(items) != 1 || items[0].State != spool.StateLeased {
		t.Fatalf("%+v %+v %v", m, items, err)
	}
	ok(t, s.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	none(t, s)
}

// node is a relay on a queue.
func node(t *testing.T, s *pgspool.Store, f delivery.TransportFunc) *relay.Relay {
	t.Helper()
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: s, Transport: f,
		EventLog: relay.EventLog{Retention: time.Hour},
	})
	ok(t, err)
	return r
}

func submitIn(ctx context.Context, r *relay.Relay, c spool.Committer, order int) error {
	_, err := r.SubmitIn(ctx, c, &relay.Message{
		From: "shop@example.com", To: []string{fmt.Sprintf("user%d@example.org", order)},
		Key: fmt.Sprint(order), Labels: map[string]string{"order": fmt.Sprint(order)},
		Content: strings.NewReader("From: shop@example.com\r\nSubject: yours\r\n\r\nthanks\r\n"),
	})
	return err
}

// A process that only puts mail in has neither a watcher nor LISTEN; relays
// elsewhere send what was committed, and tell that it was accepted first.
func TestSubmitIn(t *testing.T) {
	const orders = 60
	url := server.Database(t)
	pool := connect(t, url)
	web := node(t, open(t, url), delivery.TransportFunc(func(
		context.Context, *delivery.Attempt,
	) []delivery.Result {
		t.Error("a relay that does not run delivers")
		return nil
	}))
	queue := open(t, url)
	var wg sync.WaitGroup
	for i := range orders {
		wg.Go(func() { order(t, pool, web, queue, i) })
	}
	wg.Wait()
	var listening int
	ok(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity "+
		"WHERE datname = current_database() AND query LIKE 'LISTEN%'").Scan(&listening))
	if listening != 0 {
		t.Fatal("a process that puts mail in listens")
	}
	got := runNode(t, open(t, url), orders*3/4)
	for i := range orders {
		to := fmt.Sprintf("user%d@example.org", i)
		want := "accepted delivered"
		if i%4 == 0 {
			want = ""
		}
		if s := strings.Join(got[to], " "); s != want {
			t.Errorf("%s: %q, want %q", to, s, want)
		}
	}
}

// order puts in an order's mail twice, and rolls back each fourth order.
func order(t *testing.T, pool *pgxpool.Pool, r *relay.Relay, queue *pgspool.Store, i int) {
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		for range 2 {
			if err := submitIn(t.Context(), r, queue.Tx(tx), i); err != nil {
				t.Error(err)
			}
		}
		if i%4 == 0 {
			return context.Canceled // rolls back
		}
		return nil
	})
	if err != nil && i%4 != 0 {
		t.Error(err)
	}
}

// runNode runs a relay until n messages are delivered, and returns the kinds of
// events of each recipient in the order of the log.
func runNode(t *testing.T, s *pgspool.Store, n int) map[string][]string {
	t.Helper()
	r := node(t, s, func(_ context.Context, a *delivery.Attempt) []delivery.Result {
		return a.All(delivery.Taken("mx.example.org", delivery.Reply{Code: 250}))
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	kinds := make(map[string][]string)
	err := r.Follow(ctx, "test", func(_ context.Context, list []event.Event) error {
		for i := range list {
			e := &list[i]
			for _, to := range e.To {
				kinds[to] = append(kinds[to], e.Kind.String())
			}
			if e.Kind == event.Delivered {
				n--
			}
		}
		if n <= 0 {
			cancel()
		}
		return nil
	})
	if n > 0 {
		t.Errorf("%d are not delivered: %v", n, err)
	}
	cancel()
	<-ran
	return kinds
}

// TestSubmitInTakesNoOtherConnection has the transaction hold the only one that
// the store's pool has.
func TestSubmitInTakesNoOtherConnection(t *testing.T) {
	pool := connect(t, server.Database(t)+"&pool_max_conns=1")
	queue, err := pgspool.Open(t.Context(), pool, nil)
	ok(t, err)
	t.Cleanup(func() { queue.Close() })
	r := node(t, queue, func(context.Context, *delivery.Attempt) []delivery.Result { return nil })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 3 {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if err := submitIn(ctx, r, queue.Tx(tx), i); err != nil {
				return err
			}
			return submitIn(ctx, r, queue.Tx(tx), i) // once more, with the same key
		})
		ok(t, err)
	}
}

// Whoever asks for what a transaction has committed knows it, also while others
// are about to make its deliveries.
func TestFindAfterTxAtOnce(t *testing.T) {
	url := server.Database(t)
	nodes, pool := []*pgspool.Store{open(t, url), open(t, url)}, connect(t, url)
	for range 40 {
		p := prepared("a", "x")
		tx, err := pool.Begin(t.Context())
		ok(t, err)
		ok(t, nodes[0].Tx(tx).Commit(t.Context(), p))
		ok(t, tx.Commit(t.Context()))
		var all sync.WaitGroup
		var taken atomic.Int32
		for i := range 8 {
			all.Go(func() {
				if _, _, err := nodes[i%2].Find(t.Context(), p.Commit.Message.ID); err != nil {
					t.Error(err)
				}
				id := spool.DeliveryID{Message: p.Commit.Message.ID}
				_, err := nodes[i%2].Take(t.Context(), id, time.Minute)
				if err == nil {
					taken.Add(1)
				} else if !errors.Is(err, spool.ErrLeased) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := taken.Load(); n != 1 {
			t.Errorf("%d have taken it", n)
		}
	}
}
