package outbound_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// far delays what a host writes.
type far struct {
	net.Conn
	wait func()
}

func (f far) Write(p []byte) (int, error) {
	f.wait()
	return f.Conn.Write(p)
}

// distant is a next hop whose writes take a while, with a count of the
// connections that are open.
type distant struct {
	sink
	wait      func()
	room      int32 // connections it lets in; 0: all
	open, off atomic.Int32
}

func (d *distant) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d.wait()
	if n := d.open.Add(1); d.room > 0 && n > d.room {
		d.open.Add(-1)
		d.off.Add(1)
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	return dialPipe(func(c net.Conn) {
		defer d.open.Add(-1)
		d.serve(far{c, d.wait})
	})(ctx, network, addr)
}

// load keeps as many deliveries under way as the client says, until a time is
// over. The returned function waits for their end.
func load(t *testing.T, c *outbound.Client, r *outbound.Request, d time.Duration) (wait func()) {
	var all sync.WaitGroup
	done := make(chan struct{}, 1000)
	end := time.Now().Add(d)
	all.Go(func() {
		for active := 0; time.Now().Before(end); active-- {
			for ; active < c.Limit(r.Hop, r.Domain); active++ {
				all.Go(func() {
					if res := c.Deliver(context.Background(), r); !res[0].Delivered {
						t.Error(show(res[0]), res[0].Err)
					}
					done <- struct{}{}
				})
			}
			<-done
		}
	})
	return all.Wait
}

func after(d time.Duration) func() { return func() { time.Sleep(d) } }

// A next hop 50 ms away that answers quickly gets all of MaxConnections within
// seconds, and does not get them at once.
func TestConnectionsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &distant{sink: sink{discard: true}, wait: after(50 * time.Millisecond)}
		c := newClient(t, d.dial)
		r := newRequest("hi\r\n")
		r.Hop.MaxConnections = 100
		wait := load(t, c, r, 4*time.Second)
		time.Sleep(100 * time.Millisecond)
		if n := d.open.Load(); n != 5 {
			t.Errorf("%d connections at first, want 5", n)
		}
		time.Sleep(1900 * time.Millisecond)
		if n := d.open.Load(); n != 100 {
			t.Errorf("%d connections after 2 s, want 100", n)
		}
		wait()
	})
}

// A next hop that takes a second or 4 for a message by nature is not throttled
// for that, whether or not messages go ahead of each other on a connection.
func TestConnectionsGrowWhereHostIsSlowByNature(t *testing.T) {
	for name, d := range map[string]*distant{
		"4 s":        {wait: after(time.Second)},
		"PIPELINING": {sink: sink{extensions: []string{"PIPELINING"}}, wait: after(400 * ms)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d.discard = true
				c := newClient(t, d.dial)
				r := newRequest("hi\r\n")
				wait := load(t, c, r, 2*time.Minute)
				time.Sleep(90 * time.Second)
				if n := d.open.Load(); n != 20 {
					t.Errorf("%d connections, want 20", n)
				}
				wait()
			})
		})
	}
}

// A next hop in which more connections only wait for each other does not get
// all that it may have.
func TestConnectionsStopGrowingWhereHostIsCongested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := make(chan struct{}, 10) // it does 10 things at a time
		d := &distant{sink: sink{discard: true}, wait: func() {
			busy <- struct{}{}
			time.Sleep(50 * time.Millisecond)
			<-busy
		}}
		c := newClient(t, d.dial)
		r := newRequest("hi\r\n")
		r.Hop.MaxConnections, r.Hop.MessagesPerConnection = 1000, -1
		wait := load(t, c, r, 40*time.Second)
		for range 5 {
			time.Sleep(5 * time.Second)
			if n := d.open.Load(); n < 10 || n > 150 {
				t.Errorf("%d connections to a host that can use 10", n)
			}
		}
		before := d.accepted.Load()
		time.Sleep(10 * time.Second)
		if n := d.accepted.Load() - before; n < 350 { // of 10 / (5 * 50 ms)
			t.Errorf("%d messages in 10 s, want 400", n)
		}
		wait()
	})
}

// A next hop that becomes slow loses connections, and gets them back once that
// proves to be its way.
func TestConnectionsShrinkWhenHostSlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pause atomic.Int64
		pause.Store(int64(10 * time.Millisecond))
		d := &distant{sink: sink{discard: true}, wait: func() {
			time.Sleep(time.Duration(pause.Load()))
		}}
		c := newClient(t, d.dial)
		r := newRequest("hi\r\n")
		r.Hop.MessagesPerConnection = -1
		wait := load(t, c, r, 5*time.Minute)
		time.Sleep(time.Second)
		if n := d.open.Load(); n != 20 {
			t.Errorf("%d connections, want 20", n)
		}
		pause.Store(int64(time.Second))
		fewest := int32(20)
		for range 90 {
			time.Sleep(time.Second)
			fewest = min(fewest, d.open.Load())
		}
		if fewest > 5 {
			t.Errorf("never fewer than %d connections", fewest)
		}
		time.Sleep(3 * time.Minute)
		if n := d.open.Load(); n != 20 {
			t.Errorf("%d connections in the end, want 20", n)
		}
		wait()
	})
}

// A next hop that refuses to be dialled while it serves others gets no more
// than those, and nothing fails.
func TestDialRefusedBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &distant{sink: sink{discard: true}, wait: after(20 * time.Millisecond), room: 7}
		c := newClient(t, d.dial)
		r := newRequest("hi\r\n")
		wait := load(t, c, r, 50*time.Second)
		time.Sleep(40 * time.Second)
		if n := d.open.Load(); n > 7 || n < 6 {
			t.Errorf("%d connections, want 7", n)
		}
		if n := d.off.Load(); n > 8 {
			t.Errorf("%d connections were refused", n)
		}
		wait()
	})
}
