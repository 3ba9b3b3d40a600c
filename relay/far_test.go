package relay_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/relaytest"
)

// taker is a next hop that takes everything, by PIPELINING, and counts it.
type taker struct {
	taken atomic.Int64
}

func (k *taker) listen(t *testing.T, n *relaytest.Network, address string) {
	t.Helper()
	l, err := n.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go k.serve(c)
		}
	}()
}

func (k *taker) serve(c net.Conn) {
	defer c.Close()
	r, w := bufio.NewReader(c), bufio.NewWriter(c)
	fmt.Fprint(w, "220 far.test\r\n")
	for content := false; ; {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case err != nil:
			return
		case content && verb == ".":
			k.taken.Add(1)
			content = false
			fmt.Fprint(w, "250 2.0.0 taken\r\n")
		case content:
		case verb == "EHLO":
			fmt.Fprint(w, "250-far.test\r\n250 PIPELINING\r\n")
		case verb == "DATA":
			content = true
			fmt.Fprint(w, "354 go on\r\n")
		default:
			fmt.Fprint(w, "250 ok\r\n")
		}
	}
}

// A next hop 50 ms away, which can take a message in that time on each of its
// connections, gets most of that: the places of the scheduler are enough.
func TestFarNextHopIsKeptBusy(t *testing.T) {
	const address = "192.0.2.1:25"
	for connections, least := range map[int]float64{20: 340, 100: 1500} {
		t.Run(fmt.Sprint(connections), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				far := new(taker)
				w := relaytest.New(t, func(c *relay.Config) {
					c.SendConnectors = []*connector.SendConnector{{
						Name: "out", AddressSpaces: connector.AllDomains(),
						NextHop: connector.NextHop{
							Hosts: []string{address}, TLS: connector.TLSNone,
							MaxConnections: connections,
						},
					}}
				})
				far.listen(t, w.Net, address)
				if err := w.Net.Break(address, relaytest.Fault{
					Latency: 25 * time.Millisecond,
				}); err != nil {
					t.Fatal(err)
				}
				send := func(n int64) time.Duration {
					begin, want := time.Now(), far.taken.Load()+n
					for range n {
						submit(t, w.Relay, "alice@own.test", "x@far.test")
					}
					for far.taken.Load() < want {
						time.Sleep(time.Millisecond)
					}
					return time.Since(begin)
				}
				n := 20 * connections
				send(int64(n)) // until there are as many connections as there may be
				if got := float64(n) / send(int64(n)).Seconds(); got < least {
					t.Errorf("%.0f messages a second, want %.0f", got, least)
				}
				if err := w.Relay.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}
