package outbound

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// shared is a connection on which one delivery waits for its last reply, and a
// pool that has no other.
func shared(t *testing.T) (p *pool, c *conn, front *seat, peer net.Conn) {
	ours, peer := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	t.Cleanup(func() { peer.Close() })
	cfg := Config{}.withDefaults()
	p = &pool{hops: make(map[hopKey]*places), patience: time.Minute}
	c = newConn(ours, "mx", "mx:25", &cfg)
	c.ext.pipelining, c.skips, c.limit, c.pool.idle = true, true, -1, time.Minute
	c.pool.ends = time.Now().Add(time.Hour)
	front = new(seat)
	if cn, err := p.get(context.Background(), hopKey{}, 1, front); cn != nil || err != nil {
		t.Fatal(cn, err)
	}
	c.order.pool, c.order.front, c.order.timed = p, front, true
	return p, c, front, peer
}

// behind is a delivery that has the writing turn.
func behind(t *testing.T, p *pool, c *conn) *seat {
	t.Helper()
	s := &seat{may: true}
	if cn, err := p.get(context.Background(), hopKey{}, 1, s); cn != c || err != nil {
		t.Fatal("not ahead:", err)
	}
	return s
}

// A delivery that gets a place ahead may be slow to take it. Meanwhile the turn
// to read comes too, and nobody else waits for that.
func TestTurnComesBeforeThePlaceIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, front, _ := shared(t)
		slow := &seat{may: true}
		slow.stand()
		p.hops[hopKey{}].waits = []*seat{slow}
		p.offer(c, front)
		if !p.pass(c, front, false) {
			t.Fatal("nobody takes the turn")
		}
		if place, turn := <-slow.word, <-slow.word; place != c || turn != c {
			t.Errorf("word of %p and %p, want %p", place, turn, c)
		}
	})
}

// A connection is not used again while replies to a delivery that has left are
// still to come, whoever was to read them.
func TestWithdrawnLeavesNoReplies(t *testing.T) {
	for _, turn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p, c, front, _ := shared(t)
			p.offer(c, front)
			leaves := behind(t, p, c)
			leaves.owed = 5
			p.offer(c, leaves)
			last := behind(t, p, c)
			if !p.drop(c, leaves) || last.debt != 5 {
				t.Fatalf("%d replies to be read", last.debt)
			}
			if turn && !p.pass(c, front, false) {
				t.Fatal("nobody takes the turn")
			}
			p.withdraw(c, last)
			if !turn && !p.pass(c, front, false) {
				p.release(c)
			}
			if n := p.shelf.n; n != 0 {
				t.Errorf("turn %v: %d idle connections", turn, n)
			}
			if n := p.hops[hopKey{}].open; n != 0 {
				t.Errorf("turn %v: %d open connections", turn, n)
			}
		})
	}
}

// Who gets the turn to read when its context has ended already does not wait
// for replies: nobody would interrupt that.
func TestTurnAfterTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, front, _ := shared(t)
		p.offer(c, front)
		ctx, cancel := context.WithCancel(context.Background())
		tr := new(transaction)
		tr.seat.may, tr.ended = true, true
		if cn, err := p.get(ctx, hopKey{}, 1, &tr.seat); cn != c || err != nil {
			t.Fatal("not ahead:", err)
		}
		tr.seat.owed = 5
		p.offer(c, &tr.seat)
		p.pass(c, front, false)
		cancel()
		begin := time.Now()
		v, ok := tr.turned(ctx, c, <-tr.seat.word != nil)
		if ok {
			_, err := c.read(c.times.FinalTimeout, nil)
			t.Errorf("waits for %v: %v", time.Since(begin), err)
		}
		if v != broken && !ok {
			t.Errorf("verdict %d", v)
		}
	})
}
