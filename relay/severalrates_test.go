package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// several are relays that share a store, each as it reaches it.
func several(
	t *testing.T, n int, change func(*relay.Config),
) (relays []*relay.Relay, nodes []*node) {
	store := memspool.New(nil)
	for range n {
		cfg, _ := config()
		for i, c := range cfg.Connectors {
			c.Bindings = []netip.AddrPort{
				netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}), 587),
			}
		}
		node := &node{Store: store}
		cfg.Spool = node
		change(&cfg)
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = r.Serve(newSilent()) }()
		t.Cleanup(func() { _ = r.Close() })
		relays, nodes = append(relays, r), append(nodes, node)
	}
	synctest.Wait()
	return relays, nodes
}

// codeOf is that of the reply to an error, 250 for none.
func codeOf(err error) int {
	if e, ok := errors.AsType[*relay.ReplyError](err); ok {
		return e.Code
	}
	return 250
}

// silent is a listener that nobody connects to.
type silent struct {
	open  context.Context
	close context.CancelFunc
}

func newSilent() *silent {
	open, stop := context.WithCancel(context.Background())
	return &silent{open, stop}
}

func (s *silent) Accept() (net.Conn, error) {
	<-s.open.Done()
	return nil, net.ErrClosed
}

func (s *silent) Close() error {
	s.close()
	return nil
}

func (*silent) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 587} }

// sendAs submits a message in a session of a client that may relay.
func sendAs(t *testing.T, r *relay.Relay, from string) int {
	t.Helper()
	s, err := r.OpenSession(t.Context(), "apps", relay.Peer{
		Remote: netip.AddrPortFrom(netip.MustParseAddr(from), 1), Protocol: "HTTP",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Submit(t.Context(), &relay.Message{
		From: "a@example.test", To: []string{"b@example.net"},
		Content: strings.NewReader("Subject: x\n\nx\n"),
	})
	return codeOf(err)
}

func TestRelaysShareMessageRates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, nodes := several(t, 2, func(cfg *relay.Config) {
			cfg.Connectors[0].Limits.MessageRate = 10
		})
		step := func(i, n int, want string) {
			t.Helper()
			var got []string
			for range n {
				got = append(got, fmt.Sprint(sendAs(t, r[i], "127.0.0.1")))
			}
			if text := strings.Join(got, " "); text != want {
				t.Errorf("relay %d answers %s, want %s", i, text, want)
			}
			time.Sleep(time.Second)
		}
		step(0, 7, "250 250 250 250 250 250 250")
		step(1, 1, "250")
		step(1, 3, "250 250 421")
		step(0, 1, "250") // it did not know yet
		step(0, 1, "421")
		time.Sleep(time.Minute)
		nodes[0].cut.Store(true) // then it counts alone
		step(1, 7, "250 250 250 250 250 250 250")
		step(0, 11, "250 250 250 250 250 250 250 250 250 250 421")
	})
}

func TestRelaysShareFailedLogons(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, nodes := several(t, 3, func(*relay.Config) {})
		nodes[2].cut.Store(true)
		logOn := func(i int, user, password string) int {
			t.Helper()
			s, err := r[i].OpenSession(t.Context(), "users", relay.Peer{
				Remote: netip.MustParseAddrPort("127.0.0.1:1"), Protocol: "HTTP",
			})
			if err != nil {
				t.Fatal(err)
			}
			return codeOf(s.Authenticate(
				t.Context(), auth.Proof{Username: user, Password: password},
			))
		}
		for i := range 23 {
			if got := logOn(0, fmt.Sprint("user", i), "guess"); got != 535 {
				t.Errorf("guess %d: %d", i, got)
			}
		}
		want := []int{535, 454, 535, 535}
		got := []int{
			logOn(1, "x", "guess"), logOn(1, "y", "guess"), logOn(2, "x", "guess"),
			logOn(2, "y", "guess"),
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}
