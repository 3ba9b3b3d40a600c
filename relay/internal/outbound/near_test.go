package outbound_test

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// chatty writes each reply by itself, and its system keeps one back until the
// one before is acknowledged.
type chatty struct{ net.Conn }

func (c chatty) Write(p []byte) (n int, err error) {
	for line := range bytes.Lines(p) {
		m, err := c.Conn.Write(line)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// A peer that writes each reply by itself, with Nagle's algorithm, is not kept
// waiting for an acknowledgement, which takes Linux 40 ms or more.
func TestRepliesAreAcknowledgedAtOnce(t *testing.T) {
	s := &sink{discard: true, extensions: []string{"PIPELINING"}}
	c := newClient(t, dialTo(listen(t, func(nc net.Conn) {
		if err := nc.(*net.TCPConn).SetNoDelay(false); err != nil {
			t.Error(err)
		}
		s.serve(chatty{nc})
	})))
	r := newRequest("hi\r\n")
	quickest := time.Hour
	for n := 0; n < 60 || n < 200 && quickest > 30*time.Millisecond; n++ { // some on a busy machine
		began := time.Now()
		if res := c.Deliver(t.Context(), r); !res[0].Delivered {
			t.Fatal(res[0].Err)
		}
		if n >= 40 { // a system acknowledges the first of a connection by itself
			quickest = min(quickest, time.Since(began))
		}
	}
	if s.conns.Load() != 1 {
		t.Errorf("%d connections", s.conns.Load())
	}
	if quickest > 30*time.Millisecond {
		t.Errorf("the quickest message took %v", quickest)
	}
}

// Where a round trip is short, no delivery waits behind another's.
func TestNothingGoesAheadToNearHost(t *testing.T) {
	for _, test := range []struct {
		oneWay time.Duration
		ahead  int // deliveries for each connection
	}{
		{500 * time.Microsecond, 1},
		{5 * time.Millisecond, 2},
	} {
		t.Run(test.oneWay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{discard: true, extensions: []string{"PIPELINING"}}
				c := newClient(t, afar(dialPipe(s.serve), test.oneWay))
				r := newRequest("hi\r\n")
				r.Hop.MaxConnections = 4
				flood(t, c, r, 400)
				if got := c.Limit(r.Hop, r.Domain); got != 4*test.ahead {
					t.Errorf("%d deliveries are worth beginning", got)
				}
				c.Close()
				time.Sleep(time.Second) // for the good-byes to arrive
			})
		})
	}
}
