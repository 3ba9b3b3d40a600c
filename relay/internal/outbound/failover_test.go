package outbound_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// network is a Dial for hosts that are up or down, which keeps what was
// dialled. Its hosts are addresses "10.0.0.N".
type network struct {
	serve func(net.Conn)
	down  map[string]bool

	mu     sync.Mutex
	dialed []string
}

func (n *network) dial(_ context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	host, _, _ := net.SplitHostPort(addr)
	n.dialed = append(n.dialed, strings.TrimPrefix(host, "10.0.0."))
	if n.down[host] {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	go n.serve(theirs)
	return ours, nil
}

func (n *network) took() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := strings.Join(n.dialed, " ")
	n.dialed = nil
	return s
}

func poolOf3(content string, to ...string) *outbound.Request {
	r := newRequest(content, to...)
	r.Hop.Hosts = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
	return r
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a second is a long time to a smart host
		n := &network{serve: (&sink{}).serve}
		c := newClient(t, n.dial)
		r := poolOf3("hi\r\n")
		r.Hop.MessagesPerConnection = 1
		for _, want := range []string{"1", "2", "3", "1", "2"} {
			res := c.Deliver(t.Context(), r)
			expect(t, res, taken)
			if got := n.took(); got != want {
				t.Errorf("dialled %s, want %s", got, want)
			}
			if want := "10.0.0." + want + " [10.0.0." + want + "]:25"; res[0].Host != want {
				t.Errorf("host %s, want %s", res[0].Host, want)
			}
		}
		// A next hop with other settings has a rotation of its own.
		r.Hop.Username, r.Hop.AllowPlaintextAuth = "", true
		expect(t, c.Deliver(t.Context(), r), taken)
		if got := n.took(); got != "1" {
			t.Errorf("dialled %s", got)
		}
	})
}

// The order of fail-over follows the rotation: 1,2,3 then 2,3,1 then 3,1,2.
// Dead hosts come last for 30 seconds.
func TestFailOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{
			serve: (&sink{}).serve,
			down:  map[string]bool{"10.0.0.1": true, "10.0.0.2": true, "10.0.0.3": true},
		}
		c := newClient(t, n.dial)
		r := poolOf3("hi\r\n", "a@example.net", "b@example.net")
		r.Hop.MessagesPerConnection = 1
		const refused = "temporary dial 0 4.4.1 error"
		wait := func() { <-time.After(31 * time.Second) }
		deliver := func(dialed string, want ...string) {
			t.Helper()
			expect(t, c.Deliver(context.Background(), r), want...)
			if got := n.took(); got != dialed {
				t.Errorf("dialled %s, want %s", got, dialed)
			}
		}
		deliver("1 2 3", refused, refused)
		wait()
		deliver("2 3 1", refused, refused)
		deliver("3 1 2", refused, refused)
		n.down = map[string]bool{"10.0.0.1": true}
		wait()
		deliver("1 2", taken, taken)
		deliver("2", taken, taken)
		deliver("3", taken, taken)
		deliver("2", taken, taken) // 1 2 3, with 1 known to be dead
		deliver("2", taken, taken)
		n.down = nil
		wait()
		deliver("3", taken, taken)
		deliver("1", taken, taken)
	})
}

// What makes the client go on to the next host, and what not.
func TestFailOverReasons(t *testing.T) {
	hello := []string{"S: 220 mx", "C: EHLO relay.example.test", "S: 250 mx"}
	mail := append(slices.Clone(hello), "C: MAIL FROM:<alice@example.com>")
	for name, test := range map[string]struct {
		script []string
		dialed string
		want   string
	}{
		"greeting 421": {
			[]string{"S: 421 4.3.2 busy"}, "1 2 3", `temporary greeting 421 4.3.2 "busy"`,
		},
		"greeting 554": {
			[]string{"S: 554 5.3.2 no"}, "1 2 3", `permanent greeting 554 5.3.2 "no"`,
		},
		"greeting ends": {[]string{"close"}, "1 2 3", "temporary greeting 0 4.4.2 error"},
		"ehlo 421": {
			[]string{hello[0], hello[1], "S: 421 busy"}, "1 2 3", `temporary ehlo 421  "busy"`,
		},
		"helo 550": {
			[]string{hello[0], hello[1], "S: 502 no", "C: HELO relay.example.test", "S: 550 no"},
			"1 2 3", `permanent ehlo 550  "no"`,
		},
		"mail 421": {
			append(slices.Clone(mail), "S: 421 4.3.2 busy"), "1 2 3",
			`temporary mail 421 4.3.2 "busy"`,
		},
		"mail ends": {append(slices.Clone(mail), "close"), "1 2 3", "temporary mail 0 4.4.2 error"},
		"mail 451": {
			append(slices.Clone(mail), "S: 451 4.3.0 later"), "1",
			`temporary mail 451 4.3.0 "later"`,
		},
		"mail 550": {
			append(slices.Clone(mail), "S: 550 5.7.1 no"), "1", `permanent mail 550 5.7.1 "no"`,
		},
		"rcpt ends": {
			append(slices.Clone(mail), "S: 250 ok", "C: RCPT TO:<bob@example.net>", "close"), "1",
			"temporary rcpt 0 4.4.2 error",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{serve: func(c net.Conn) {
				defer c.Close()
				follow(c, test.script)
			}}
			c := newClient(t, n.dial)
			expect(t, c.Deliver(t.Context(), poolOf3("hi\r\n")), test.want)
			if got := n.took(); got != test.dialed {
				t.Errorf("dialled %s, want %s", got, test.dialed)
			}
		})
	}
}

// A failure is permanent only when all hosts say so.
func TestFailOverMixed(t *testing.T) {
	for down, want := range map[string]string{
		"10.0.0.1": "temporary dial 0 4.4.1 error",
		"10.0.0.3": "temporary dial 0 4.4.1 error",
		"":         `permanent greeting 554  "no"`,
	} {
		n := &network{down: map[string]bool{down: true}, serve: func(c net.Conn) {
			defer c.Close()
			follow(c, []string{"S: 554 no"})
		}}
		c := newClient(t, n.dial)
		expect(t, c.Deliver(t.Context(), poolOf3("hi\r\n")), want)
	}
}
