package outbound_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// afar is a network whose octets take a while each way.
func afar(
	dial func(context.Context, string, string) (net.Conn, error), oneWay time.Duration,
) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		there, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		ours, theirs := net.Pipe()
		go carry(there, theirs, oneWay)
		go carry(theirs, there, oneWay)
		return ours, nil
	}
}

// carry copies octets, each piece so late, and reads on meanwhile.
func carry(to io.WriteCloser, from io.ReadCloser, late time.Duration) {
	type piece struct {
		octets []byte
		due    time.Time
	}
	way := make(chan piece, 512)
	go func() {
		defer close(way)
		b := make([]byte, 16<<10)
		for {
			n, err := from.Read(b)
			if n > 0 {
				way <- piece{bytes.Clone(b[:n]), time.Now().Add(late)}
			}
			if err != nil {
				return
			}
		}
	}()
	broken := false
	for p := range way {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.octets); err != nil && !broken {
			broken = true
			from.Close()
		}
	}
	to.Close()
}

// BenchmarkFar is a next hop 50 ms away, 20 connections and 10 KB. As many
// deliveries are under way as the client says that it can use.
func BenchmarkFar(b *testing.B) {
	content := "Subject: test\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 128)
	for _, ext := range []string{
		"HELP", "PIPELINING", "PIPELINING,CHUNKING", "PIPELINING,CHUNKING,RUNS",
	} {
		b.Run(ext, func(b *testing.B) {
			s := &sink{discard: true, extensions: strings.Split("8BITMIME,"+ext, ",")}
			s.runs = strings.HasSuffix(ext, "RUNS")
			c := newClient(b, afar(dialTo(listen(b, s.serve)), 25*time.Millisecond))
			r := newRequest(content)
			flood(b, c, r, 500) // warm
			b.ResetTimer()
			flood(b, c, r, b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64(s.conns.Load()), "conns")
		})
	}
}

// flood delivers n times, as many at once as the client can use.
func flood(t testing.TB, c *outbound.Client, r *outbound.Request, n int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	free := sync.NewCond(&mu)
	busy := 0
	for range n {
		mu.Lock()
		for busy >= c.Limit(r.Hop, r.Domain) {
			free.Wait()
		}
		busy++
		mu.Unlock()
		wg.Go(func() {
			if res := c.Deliver(context.Background(), r); !res[0].Delivered {
				t.Errorf("%+v", res[0].Err)
			}
			mu.Lock()
			busy--
			mu.Unlock()
			free.Broadcast()
		})
	}
	wg.Wait()
}

// Twenty connections to a next hop 50 ms away make at least 85 % of 400
// messages a second by PIPELINING, and three times as many by CHUNKING.
func TestFarNextHopIsKeptBusy(t *testing.T) {
	content := "Subject: test\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 128)
	for ext, least := range map[string]float64{
		"PIPELINING": 340, "PIPELINING CHUNKING": 1200,
	} {
		t.Run(ext, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{discard: true, extensions: strings.Fields("8BITMIME " + ext)}
				c := newClient(t, afar(dialPipe(s.serve), 25*time.Millisecond))
				r := newRequest(content)
				flood(t, c, r, 500) // until there are as many connections as there may be
				begin := time.Now()
				flood(t, c, r, 2000)
				if got := 2000 / time.Since(begin).Seconds(); got < least {
					t.Errorf("%.0f messages a second, want %.0f", got, least)
				}
				c.Close()
				time.Sleep(time.Minute)
			})
		})
	}
}
