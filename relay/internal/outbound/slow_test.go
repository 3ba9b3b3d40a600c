package outbound_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// silence takes a connection and says nothing until the peer goes away.
func silence(c net.Conn) {
	defer c.Close()
	for b := make([]byte, 64); ; {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// uneven is a network of which some hosts are silent, by the last number of
// their address.
type uneven struct {
	network
	silent sync.Map
}

func (u *uneven) dial(_ context.Context, _, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	name := strings.TrimPrefix(host, "10.0.0.")
	u.mu.Lock()
	u.dialed = append(u.dialed, name)
	u.mu.Unlock()
	ours, theirs := net.Pipe()
	if _, quiet := u.silent.Load(name); quiet {
		go silence(theirs)
	} else {
		go (&sink{}).serve(theirs)
	}
	return ours, nil
}

// However many addresses are silent, the delivery is back within two minutes.
func TestOneClockForAllHosts(t *testing.T) {
	for name, set := range map[string]func(*outbound.Request){
		"smart hosts": func(r *outbound.Request) {
			r.Hop.Hosts = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}
		},
		"exchangers": func(r *outbound.Request) { r.Hop.Hosts, r.Domain = nil, "silent.test" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{serve: silence}
				c := newClient(t, n.dial, func(cfg *outbound.Config) {
					cfg.Resolver = zone{
						mx: map[string][]*net.MX{"silent.test": {
							{Host: "mx.silent.test.", Pref: 10},
							{Host: "mx2.silent.test.", Pref: 20},
						}},
						ip: map[string][]string{
							"mx.silent.test":  {"10.0.0.1", "10.0.0.2"},
							"mx2.silent.test": {"10.0.0.3"},
						},
					}
				})
				r := newRequest("hi\r\n")
				set(r)
				began := time.Now()
				res := c.Deliver(context.Background(), r)
				expect(t, res, "temporary greeting 0 4.4.2 error")
				if d := time.Since(began); d != 2*time.Minute {
					t.Errorf("back after %v, want 2m", d)
				}
				if !errors.Is(res[0].Err, os.ErrDeadlineExceeded) {
					t.Errorf("error %v", res[0].Err)
				}
				if got := n.took(); len(strings.Fields(got)) > 4 {
					t.Errorf("dialled %q", got)
				}
			})
		})
	}
}

// However many addresses are silent, the one behind them has its turn.
func TestHealthyBehindSilentIsReached(t *testing.T) {
	for _, silent := range []int{1, 2, 3, 4, 9} {
		for name, spread := range map[string]bool{"hosts": true, "addresses of a host": false} {
			t.Run(fmt.Sprint(silent, " ", name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n, dns := new(uneven), zone{
						mx: map[string][]*net.MX{}, ip: map[string][]string{},
					}
					for i := range silent + 1 {
						host, addr := "mx.test", fmt.Sprintf("10.0.0.%d", i)
						if spread {
							host = fmt.Sprintf("mx%d.test", min(i, 4))
						}
						dns.ip[host] = append(dns.ip[host], addr)
						if len(dns.ip[host]) == 1 {
							dns.mx["silent.test"] = append(dns.mx["silent.test"],
								&net.MX{Host: host, Pref: uint16(i)})
						}
						if i < silent {
							n.silent.Store(fmt.Sprint(i), true)
						}
					}
					c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = dns })
					r := newRequest("hi\r\n")
					r.Hop.Hosts, r.Domain = nil, "silent.test"
					began := time.Now()
					expect(t, c.Deliver(context.Background(), r), taken)
					if d := time.Since(began); d > 2*time.Minute {
						t.Errorf("took %v", d)
					}
				})
			})
		}
	}
}

// mute says no more from a stage of TLS on, until the peer goes away: behind
// STARTTLS, in the handshake or at EHLO behind it.
func mute(c net.Conn, cert *tls.Config, stage string) {
	hello := []string{"S: 220 mx", "C: EHLO relay.example.test", "S: 250-mx", "S: 250 STARTTLS"}
	script := append(hello, "C: STARTTLS")
	if stage != "starttls" {
		script = append(script, "S: 220 go ahead")
	}
	follow(c, script)
	if stage == "ehlo" {
		c = tls.Server(c, cert)
	}
	silence(c)
}

// A peer that falls silent over TLS gets the message in the clear, where that
// is allowed, and it waits where it is not.
func TestSilenceOverTLSFallsBack(t *testing.T) {
	for _, stage := range []string{"starttls", "handshake", "ehlo"} {
		for level, want := range map[connector.TLSLevel]string{
			connector.TLSOpportunistic:  taken,
			connector.TLSEncryptionOnly: "temporary",
		} {
			t.Run(fmt.Sprint(stage, " ", level), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var first atomic.Bool
					cert := selfSigned()
					n := &network{serve: func(c net.Conn) {
						if first.CompareAndSwap(false, true) {
							mute(c, cert, stage)
						} else {
							(&sink{}).serve(c)
						}
					}}
					c := newClient(t, n.dial)
					r := newRequest("hi\r\n")
					r.Hop.TLS, r.Hop.Hosts = level, []string{"10.0.0.1"}
					began := time.Now()
					res := c.Deliver(context.Background(), r)
					if d := time.Since(began); d > 2*time.Minute {
						t.Errorf("back after %v", d)
					}
					if want == taken {
						expect(t, res, taken)
					} else if res[0].Delivered || failureOf(res[0]).Permanent {
						t.Errorf("result %+v", res[0])
					}
				})
			})
		}
	}
}

// Look-ups that hang leave their turn to those that do not.
func TestHealthyBehindHungLookUpsIsReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, new(uneven).dial, func(cfg *outbound.Config) { cfg.Resolver = hung{} })
		r := newRequest("hi\r\n")
		r.Hop.Hosts = nil
		for i := range 8 {
			r.Hop.Hosts = append(r.Hop.Hosts, fmt.Sprintf("host%d.test", i))
		}
		r.Hop.Hosts = append(r.Hop.Hosts, "10.0.0.1")
		expect(t, c.Deliver(context.Background(), r), taken)
	})
}

// A look-up that hangs is inside the clock too.
func TestClockHoldsLookUps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, (&network{serve: silence}).dial, func(cfg *outbound.Config) {
			cfg.Resolver = hung{}
		})
		r := newRequest("hi\r\n")
		r.Hop.Hosts = nil
		for i := range 20 {
			r.Hop.Hosts = append(r.Hop.Hosts, fmt.Sprintf("host%d.test", i))
		}
		began := time.Now()
		c.Deliver(context.Background(), r)
		if d := time.Since(began); d > 2*time.Minute {
			t.Errorf("back after %v, want 2m at most", d)
		}
	})
}

// hung is a Resolver that never answers.
type hung struct{ zone }

func (hung) LookupNetIP(
	ctx context.Context, _, _ string,
) (a delivery.Answer[netip.Addr], err error) {
	<-ctx.Done()
	return a, ctx.Err()
}

// A smart host that lets connections wait is left to those that wait already.
func TestSlowSmartHostComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &uneven{}
		n.silent.Store("1", true)
		c := newClient(t, n.dial)
		r := newRequest("hi\r\n")
		r.Hop.Hosts = []string{"10.0.0.1", "10.0.0.2"}
		r.Hop.MessagesPerConnection = 1
		deliver := func(want string) {
			t.Helper()
			began := time.Now()
			expect(t, c.Deliver(context.Background(), r), taken)
			if got := n.took(); got != want {
				t.Errorf("dialled %q, want %q", got, want)
			}
			if d := time.Since(began); want == "2" && d > time.Second {
				t.Errorf("took %v", d)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { expect(t, c.Deliver(context.Background(), r), taken) })
		synctest.Wait()
		n.took()
		for range 5 {
			deliver("2") // the other one waits for 1
		}
		time.Sleep(2 * time.Second)
		deliver("2")
		wg.Wait()
		n.took()
		// What was slow is tried again after a while, and by one alone.
		time.Sleep(6 * time.Minute)
		wg.Go(func() { expect(t, c.Deliver(context.Background(), r), taken) })
		wg.Go(func() { expect(t, c.Deliver(context.Background(), r), taken) })
		synctest.Wait()
		if got := strings.Count(n.took(), "1"); got != 1 {
			t.Errorf("%d connections to the slow host, want 1", got)
		}
		wg.Wait()
		n.took()
		// It answers again: it has its turn like the other.
		n.silent.Delete("1")
		time.Sleep(6 * time.Minute)
		seen := ""
		for range 4 {
			expect(t, c.Deliver(context.Background(), r), taken)
			seen += n.took()
		}
		if strings.Count(seen, "1") != 2 {
			t.Errorf("dialled %q, want each in turn", seen)
		}
	})
}

// An exchanger that greets after some seconds keeps its place before the next.
func TestExchangerMayGreetLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{serve: func(c net.Conn) {
			time.Sleep(6 * time.Second)
			(&sink{}).serve(c)
		}}
		c := newClient(t, n.dial, func(cfg *outbound.Config) {
			cfg.Resolver = zone{
				mx: map[string][]*net.MX{"late.test": {
					{Host: "a.late.test.", Pref: 10}, {Host: "b.late.test.", Pref: 20},
				}},
				ip: map[string][]string{"a.late.test": {"10.0.0.1"}, "b.late.test": {"10.0.0.2"}},
			}
		})
		r := newRequest("hi\r\n")
		r.Hop.Hosts, r.Domain = nil, "late.test"
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { expect(t, c.Deliver(context.Background(), r), taken) })
			time.Sleep(time.Second)
		}
		wg.Wait()
		if got := n.took(); strings.Contains(got, "2") {
			t.Errorf("dialled %q: the second exchanger before the first had failed", got)
		}
	})
}
