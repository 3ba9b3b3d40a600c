package pgspool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

const (
	chaosLasts = 4 * time.Second
	chaosLeast = 50 // messages that are acknowledged, however long it takes
	chaosParts = 3  // deliveries of a message
)

// chaos is two nodes that work on one queue while their connections end.
type chaos struct {
	*testing.T
	nodes []*pgspool.Store

	mu    sync.Mutex
	acked map[spool.ID]bool
	done  map[spool.DeliveryID]int // settlements that were acknowledged
}

// TestConnectionsThatEnd ends connections at any statement: what was
// acknowledged is there, once, and in the end nothing is left behind.
func TestConnectionsThatEnd(t *testing.T) {
	url := server.Database(t)
	pools := []*pgxpool.Pool{connect(t, url), connect(t, url)}
	c := &chaos{
		T: t, nodes: []*pgspool.Store{openOn(t, pools[0]), openOn(t, pools[1])},
		acked: make(map[spool.ID]bool), done: make(map[spool.DeliveryID]int),
	}
	pool := connect(t, url)
	ctx, cancel := context.WithTimeout(t.Context(), 20*chaosLasts)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 12 {
		node := c.nodes[i%2]
		wg.Go(func() { c.bring(ctx, node) })
		wg.Go(func() { c.serve(ctx, node) })
	}
	for begun := time.Now(); ctx.Err() == nil && (time.Since(begun) < chaosLasts ||
		c.acknowledged() < chaosLeast); {
		end(t, pool)
		time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
	}
	cancel()
	wg.Wait()
	for _, p := range pools {
		p.Reset() // one of them may have a connection that was ended last
	}
	c.drain(pool)
	if len(c.acked) < chaosLeast {
		t.Fatalf("only %d messages were acknowledged", len(c.acked))
	}
	for id, n := range c.done {
		if n > 1 {
			t.Errorf("%v was settled %d times", id, n)
		}
	}
	c.logged()
	// What a writer could not take back is left to the sweep, which waits.
	statements(t, pool, "WITH gone AS (DELETE FROM postern.staged RETURNING id) "+
		"DELETE FROM postern.chunk c USING gone WHERE c.id = gone.id")
	empty(t, pool)
	if st, err := c.nodes[0].Stats(t.Context()); err != nil || st != (spool.Stats{}) {
		t.Errorf("the totals are %+v, %v", st, err)
	}
}

func (c *chaos) acknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acked)
}

// end ends some connection of the nodes, and returns when it has ended.
func end(t *testing.T, pool *pgxpool.Pool) {
	_, err := pool.Exec(t.Context(), `
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
ORDER BY random() LIMIT 1`)
	if err != nil {
		t.Error(err)
	}
}

// bring commits messages of several deliveries, each with a key and an event.
func (c *chaos) bring(ctx context.Context, s *pgspool.Store) {
	for ctx.Err() == nil {
		id := spool.NewID(time.Now())
		var ds []spool.Delivery
		for i := range chaosParts {
			ds = append(ds, spool.Delivery{
				Key:        spool.Key{Route: fmt.Sprint("r", i)},
				Recipients: []spool.Recipient{{Address: "a@example.com"}},
			})
		}
		w, err := s.Create(ctx, id)
		if err == nil {
			_, err = w.Write([]byte(strings.Repeat("x", rand.IntN(600_000))))
		}
		if err == nil {
			err = w.Commit(c.Context(), spool.Commit{
				Deliveries: ds,
				Claim:      &spool.Claim{Scope: "chaos", Key: id.String(), TTL: time.Hour},
				Events:     []spool.Record{{Time: time.Now(), Data: []byte(id.String())}},
			})
		} else if w != nil {
			w.Abort()
		}
		if err == nil {
			c.mu.Lock()
			c.acked[id] = true
			c.mu.Unlock()
		}
	}
}

// serve leases and settles, or puts off.
func (c *chaos) serve(ctx context.Context, s *pgspool.Store) {
	for ctx.Err() == nil {
		got, err := s.Lease(ctx, spool.LeaseRequest{Max: 8, TTL: 5 * time.Second})
		if err != nil || len(got.Leases) == 0 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		for _, l := range got.Leases {
			c.settle(s, &l, rand.IntN(4) == 0)
		}
	}
}

func (c *chaos) settle(s *pgspool.Store, l *spool.Lease, again bool) bool {
	t := spool.Settlement{ID: l.Delivery.ID, Token: l.Token, Attempts: l.Delivery.Attempts + 1}
	if again {
		t.Remaining = l.Delivery.Recipients
	}
	if err := s.Settle(c.Context(), t); err != nil {
		return false
	}
	if !again {
		c.mu.Lock()
		c.done[l.Delivery.ID]++
		c.mu.Unlock()
	}
	return true
}

// drain settles what is left, when all connections are well.
func (c *chaos) drain(pool *pgxpool.Pool) {
	deadline := time.Now().Add(3 * time.Minute) // longer than a lease
	for time.Now().Before(deadline) {
		var left int
		err := pool.QueryRow(c.Context(), "SELECT count(*) FROM postern.delivery").Scan(&left)
		if err == nil && left == 0 {
			return
		}
		got, err := c.nodes[0].Lease(c.Context(), spool.LeaseRequest{Max: 100, TTL: time.Minute})
		if err != nil {
			c.Log(err)
		}
		for _, l := range got.Leases {
			if !c.settle(c.nodes[0], &l, false) {
				c.Errorf("%v is not settled", l.Delivery.ID)
			}
		}
		if len(got.Leases) == 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	c.Error("deliveries are left")
}

// logged sees that what was acknowledged is in the log, once.
func (c *chaos) logged() {
	seen := make(map[string]int)
	for at := spool.Cursor(0); ; {
		list, err := c.nodes[1].Records(c.Context(), at, 200)
		if err != nil {
			c.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, r := range list {
			seen[string(r.Data)]++
		}
		at = list[len(list)-1].At
	}
	for id := range c.acked {
		if seen[id.String()] != 1 {
			c.Errorf("%v is %d times in the log", id, seen[id.String()])
		}
	}
}
