package outbound_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// track is a network of addresses that connect after a while, or never. It
// notes when each is dialled, and how many at once.
type track struct {
	after map[string]time.Duration // by address; none: never
	gone  map[string]bool          // refuse at once
	mute  map[string]bool          // connect, and do not greet
	deaf  bool                     // dials go on when they are given up

	mu           sync.Mutex
	start        time.Time
	dials        []string // "when address"
	active, most int
	open         int
}

func (k *track) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	k.mu.Lock()
	if k.dials == nil {
		k.start = time.Now()
	}
	k.dials = append(k.dials, fmt.Sprint(time.Since(k.start), " ", host))
	k.active++
	k.most = max(k.most, k.active)
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.active--
		k.mu.Unlock()
	}()
	if k.gone[host] {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	wait, answers := k.after[host]
	if !answers {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if k.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return dialPipe(func(c net.Conn) {
		k.count(1)
		defer k.count(-1)
		if k.mute[host] {
			silence(c)
			return
		}
		(&sink{}).serve(c)
	})(ctx, "", "")
}

func (k *track) count(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open += n
}

func (k *track) took() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := strings.Join(k.dials, ", ")
	k.dials = nil
	return s
}

// hosts is a zone with one host of such addresses, as exchanger too.
func hosts(addresses ...string) zone {
	return zone{
		mx: map[string][]*net.MX{"example.test": {{Host: "mx.test."}}},
		ip: map[string][]string{"mx.test": addresses},
	}
}

const (
	ms = time.Millisecond
	v6 = "2001:db8::1"
)

// Addresses of both families are dialled in turn, a quarter of a second apart,
// and the first that connects is used.
func TestAddressesAreRaced(t *testing.T) {
	six, four := []string{v6, "2001:db8::2"}, []string{"10.0.0.1", "10.0.0.2"}
	silent, refused := "temporary dial 0 4.4.1 error", "temporary dial 0 4.4.1 error"
	for name, test := range map[string]struct {
		addresses []string
		track     *track
		want      string
		dials     string
		took      time.Duration
	}{
		"the first answers in time": {
			[]string{v6, four[0]}, &track{after: map[string]time.Duration{v6: 200 * ms}},
			taken, "0s " + v6, 200 * ms,
		},
		"the first is silent": {
			[]string{v6, four[0]}, &track{after: map[string]time.Duration{four[0]: 10 * ms}},
			taken, "0s " + v6 + ", 250ms 10.0.0.1", 260 * ms,
		},
		"the first is later but not too late": {
			[]string{v6, four[0]},
			&track{after: map[string]time.Duration{v6: 300 * ms, four[0]: 100 * ms}},
			taken, "0s " + v6 + ", 250ms 10.0.0.1", 300 * ms,
		},
		"the first refuses": {
			[]string{v6, four[0]},
			&track{
				gone:  map[string]bool{v6: true},
				after: map[string]time.Duration{four[0]: 10 * ms},
			},
			taken, "0s " + v6 + ", 0s 10.0.0.1", 10 * ms,
		},
		"families in turn": {
			slices.Concat(four, six), &track{}, silent,
			"0s 10.0.0.1, 250ms 2001:db8::1, 500ms 10.0.0.2, 750ms 2001:db8::2",
			30*time.Second + 750*ms,
		},
		"all refuse": {
			[]string{v6, four[0]},
			&track{gone: map[string]bool{v6: true, four[0]: true}},
			refused, "0s " + v6 + ", 0s 10.0.0.1", 0,
		},
		"one address": {four[:1], &track{}, silent, "0s 10.0.0.1", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := test.track
				c := newClient(t, k.dial, func(cfg *outbound.Config) {
					cfg.Resolver = hosts(test.addresses...)
				})
				r := newRequest("hi\r\n")
				r.Hop.Hosts, r.Domain = nil, "example.test"
				began := time.Now()
				expect(t, c.Deliver(context.Background(), r), test.want)
				if d := time.Since(began); d != test.took {
					t.Errorf("took %v, want %v", d, test.took)
				}
				if got := k.took(); got != test.dials {
					t.Errorf("dialled %q\nwant    %q", got, test.dials)
				}
			})
		})
	}
}

// An address that was passed comes last afterwards, so that not every
// connection waits for it.
func TestPassedAddressComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &track{after: map[string]time.Duration{"10.0.0.1": 10 * ms}}
		c := newClient(t, k.dial, func(cfg *outbound.Config) {
			cfg.Resolver = hosts(v6, "10.0.0.1")
		})
		r := newRequest("hi\r\n")
		r.Hop.Hosts, r.Hop.MessagesPerConnection = []string{"mx.test"}, 1
		for _, want := range []string{"0s " + v6 + ", 250ms 10.0.0.1", "0s 10.0.0.1"} {
			expect(t, c.Deliver(context.Background(), r), taken)
			if got := k.took(); got != want {
				t.Errorf("dialled %q, want %q", got, want)
			}
		}
		time.Sleep(6 * time.Minute)
		k.after[v6] = ms
		for range 2 {
			expect(t, c.Deliver(context.Background(), r), taken)
			if got := k.took(); got != "0s "+v6 {
				t.Errorf("dialled %q", got)
			}
		}
	})
}

// An address that connects and says nothing does not stand for the others.
func TestConnectedButSilentLeavesTheOthersTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &track{
			mute:  map[string]bool{v6: true},
			after: map[string]time.Duration{v6: ms, "10.0.0.1": ms},
		}
		c := newClient(t, k.dial, func(cfg *outbound.Config) {
			cfg.Resolver = hosts(v6, "10.0.0.1")
		})
		r := newRequest("hi\r\n")
		r.Hop.Hosts = []string{"mx.test"}
		expect(t, c.Deliver(context.Background(), r), taken)
		if got := k.took(); got != "0s "+v6+", 1m0.001s 10.0.0.1" {
			t.Errorf("dialled %q", got)
		}
	})
}

// However many addresses a host has, few are dialled at a time, and all of it
// is inside the clock.
func TestDialsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var many []string
		for n := range 60 {
			many = append(many, fmt.Sprintf("10.0.1.%d", n))
		}
		k := &track{}
		c := newClient(t, k.dial, func(cfg *outbound.Config) { cfg.Resolver = hosts(many...) })
		r := newRequest("hi\r\n")
		r.Hop.Hosts = []string{"mx.test"}
		began := time.Now()
		expect(t, c.Deliver(context.Background(), r), "temporary dial 0 4.4.1 error")
		if k.most != 8 || time.Since(began) != 2*time.Minute {
			t.Errorf("%d dials at a time, for %v", k.most, time.Since(began))
		}
	})
}

// Connections that come too late are closed.
func TestLateConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &track{deaf: true, after: map[string]time.Duration{
			v6: 10 * time.Second, "10.0.0.1": 50 * ms, "10.0.0.2": 50 * ms,
		}}
		c := newClient(t, k.dial, func(cfg *outbound.Config) {
			cfg.Resolver = hosts(v6, "10.0.0.1", "10.0.0.2")
		})
		r := newRequest("hi\r\n")
		r.Hop.Hosts, r.Hop.MessagesPerConnection = []string{"mx.test"}, 1
		expect(t, c.Deliver(context.Background(), r), taken)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if k.open != 0 {
			t.Errorf("%d connections are open", k.open)
		}
	})
}

// So are those of a delivery that has ended meanwhile.
func TestConnectionsOfTheEndedAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &track{
			deaf: true, gone: map[string]bool{v6: true},
			after: map[string]time.Duration{"10.0.0.1": 50 * ms},
		}
		c := newClient(t, k.dial, func(cfg *outbound.Config) {
			cfg.Resolver = hosts(v6, "10.0.0.1")
		})
		r := newRequest("hi\r\n")
		r.Hop.Hosts = []string{"mx.test"}
		ctx, cancel := context.WithTimeout(context.Background(), 20*ms)
		defer cancel()
		expect(t, c.Deliver(ctx, r), "temporary dial 0 4.4.1 error")
		synctest.Wait()
		if k.open != 0 {
			t.Errorf("%d connections are open", k.open)
		}
	})
}
