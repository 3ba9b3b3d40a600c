package pgspool_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// TestLargeAtOnce writes large messages slowly, all at once, while another one
// is given up: nobody holds a connection between two writes.
func TestLargeAtOnce(t *testing.T) {
	t.Parallel()
	const writers, size, piece = 5, 10 << 20, 1 << 20
	url := server.Database(t)
	pool := connect(t, url+"&pool_max_conns=2")
	s, err := pgspool.Open(t.Context(), pool, nil)
	ok(t, err)
	t.Cleanup(func() { s.Close() })
	var wg, written sync.WaitGroup
	written.Add(writers)
	for i := range writers + 1 {
		wg.Go(func() {
			w, err := s.Create(t.Context(), spool.NewID(time.Now()))
			for n := 0; err == nil && n < size; n += piece {
				_, err = w.Write(bytes.Repeat([]byte{byte(i), byte(n >> 20)}, piece/2))
				time.Sleep(20 * time.Millisecond)
				if i == writers && n > size/2 {
					err = w.Abort()
					break
				}
			}
			if i < writers {
				written.Done()
				written.Wait() // more than there are connections
			}
			if err == nil && i < writers {
				err = w.Commit(t.Context(), spool.Commit{Deliveries: []spool.Delivery{{
					Key: spool.Key{Route: "a"}, Recipients: []spool.Recipient{{Address: "a@a"}},
				}}})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	released(t, pool)
	seen := make(map[[32]byte]bool)
	for range writers {
		l := leaseOne(t, s, "a")
		r, err := s.Open(t.Context(), l.Message.ID)
		ok(t, err)
		b, err := io.ReadAll(r)
		ok(t, err)
		for n := 0; n < len(b); n += 2 {
			if b[n] != b[0] || int(b[n+1]) != n>>20 {
				t.Fatalf("the content is another one at %d", n)
			}
		}
		if len(b) != size {
			t.Fatalf("%d bytes", len(b))
		}
		seen[sha256.Sum256(b)] = true
		ok(t, s.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	}
	if len(seen) != writers {
		t.Errorf("%d messages are different", len(seen))
	}
	empty(t, connect(t, url))
}
