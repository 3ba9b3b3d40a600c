package pgspool_test

import (
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// expecting are nodes that commit, expect, lease, give back and settle.
type expecting struct {
	*testing.T
	all  int // messages
	mu   sync.Mutex
	out  map[spool.ID]bool // those that somebody has
	done int
}

// TestExpectedOnce: each message is handed out until it is settled, and to one
// at a time.
func TestExpectedOnce(t *testing.T) {
	t.Parallel()
	const sessions, each = 10, 15
	url := server.Database(t)
	e := &expecting{T: t, all: 2 * sessions * each, out: make(map[spool.ID]bool)}
	var wg sync.WaitGroup
	for node := range 2 {
		s := open(t, url)
		for range sessions {
			wg.Go(func() {
				for i := range each {
					if err := s.Commit(t.Context(), mail(string("abc"[i%3]))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() { e.serve(s, node) })
	}
	wg.Wait()
	empty(t, connect(t, url))
}

// serve leases until all is settled.
func (e *expecting) serve(s *pgspool.Store, i int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for end := time.Now().Add(time.Minute); !e.whole(); i++ {
		s.Expect(spool.Expected{Max: i % 7 * 5, TTL: time.Hour, Others: 1 + i%9})
		got, err := s.Lease(e.Context(), spool.LeaseRequest{
			Max: 1 + i%11, MaxPerKey: i % 4, TTL: time.Hour,
		})
		if err != nil || time.Now().After(end) {
			e.Errorf("not all was settled: %v", err)
			return
		}
		for n, l := range got.Leases {
			back := (n+i)%5 == 0
			wg.Go(func() { e.end(s, l, back) })
		}
		time.Sleep(time.Duration(i%3) * time.Millisecond)
	}
}

// end settles a lease or gives it back.
func (e *expecting) end(s *pgspool.Store, l spool.Lease, back bool) {
	e.have(l.Message.ID, true)
	time.Sleep(time.Millisecond)
	e.have(l.Message.ID, false)
	held := spool.Held{ID: l.Delivery.ID, Token: l.Token}
	if back {
		if err := s.Return(e.Context(), 0, []spool.Held{held}); err != nil {
			e.Error(err)
		}
		return
	}
	err := s.Settle(e.Context(), spool.Settlement{ID: held.ID, Token: held.Token})
	if err != nil {
		e.Errorf("%+v: %v", l, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done++
}

func (e *expecting) have(id spool.ID, now bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now && e.out[id] {
		e.Errorf("%v is leased twice", id)
	}
	e.out[id] = now
}

func (e *expecting) whole() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.done >= e.all
}
