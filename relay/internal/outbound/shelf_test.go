package outbound_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A connection is not used beyond its age, however busy.
func TestConnectionAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		c := newClient(t, dialPipe(s.serve))
		r := newRequest("hi\r\n")
		r.Hop.ConnectionAge, r.Hop.IdleTimeout = 10*time.Second, time.Minute
		for range 12 { // every 2 s
			expect(t, c.Deliver(context.Background(), r), taken)
			time.Sleep(2 * time.Second)
		}
		if n := s.conns.Load(); n != 3 {
			t.Errorf("%d connections in 22 s, want 3", n)
		}
		time.Sleep(8 * time.Second)
		synctest.Wait()
		if n := c.Idle(); n != 0 {
			t.Errorf("%d idle connections that are too old", n)
		}
	})
}

// Next hops with other idle times do not keep each other's connections, nor
// close them.
func TestIdleTimeoutIsTheNextHops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, dialPipe((&sink{}).serve))
		for _, idle := range []time.Duration{20 * time.Second, 0, 10 * time.Second} {
			r := newRequest("hi\r\n")
			r.Hop.IdleTimeout = idle
			expect(t, c.Deliver(context.Background(), r), taken)
		}
		for _, want := range []int{3, 2, 1, 0} {
			synctest.Wait()
			if n := c.Idle(); n != want {
				t.Errorf("%d idle connections, want %d", n, want)
			}
			switch want {
			case 3, 2:
				time.Sleep(6 * time.Second)
			default:
				time.Sleep(10 * time.Second)
			}
		}
	})
}
