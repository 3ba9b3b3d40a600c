package outbound_test

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// A next hop with a source address is spoken to from there.
func TestSourceAddress(t *testing.T) {
	source := netip.MustParseAddr("127.0.0.1")
	if runtime.GOOS == "linux" { // all of 127/8 is this host
		source = netip.MustParseAddr("127.0.0.2")
	}
	from := make(chan string, 1)
	addr := listen(t, func(c net.Conn) {
		from <- c.RemoteAddr().(*net.TCPAddr).IP.String()
		(&sink{}).serve(c)
	})
	c := newClient(t, nil)
	r := newRequest("hi\r\n")
	r.Hop.Hosts, r.Hop.SourceAddress = []string{addr}, source
	expect(t, c.Deliver(t.Context(), r), taken)
	if got := <-from; got != source.String() {
		t.Errorf("connected from %s, want %s", got, source)
	}
}

// Addresses of the other family than that of the source are passed over, and so
// is a host that has no others.
func TestSourceAddressChoosesTheFamily(t *testing.T) {
	dns := zone{ip: map[string][]string{
		"both.test": {"2001:db8::1", "10.0.0.1"}, "six.test": {"2001:db8::2"},
	}}
	for name, test := range map[string]struct {
		hosts          []string
		source, dialed string
		want           string
	}{
		"IPv4":         {[]string{"six.test", "both.test"}, "192.0.2.1", "1", taken},
		"IPv6":         {[]string{"both.test"}, "2001:db8::9", "2001:db8::1", taken},
		"neither":      {[]string{"six.test"}, "192.0.2.1", "", "temporary dns 0 4.4.4 error"},
		"any":          {[]string{"six.test"}, "", "2001:db8::2", taken},
		"unix sockets": {[]string{"unix:/run/lmtp"}, "192.0.2.1", "", taken},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{serve: (&sink{}).serve}
			dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
				asked := delivery.SourceAddress(ctx)
				if network == "unix" {
					addr = ""
				} else if asked.IsValid() != (test.source != "") ||
					asked.IsValid() && asked.String() != test.source {
					t.Errorf("asked to dial from %v", asked)
				}
				return n.dial(ctx, network, addr)
			}
			c := newClient(t, dial, func(cfg *outbound.Config) { cfg.Resolver = dns })
			r := newRequest("hi\r\n")
			if r.Hop.Hosts = test.hosts; test.source != "" {
				r.Hop.SourceAddress = netip.MustParseAddr(test.source)
			}
			expect(t, c.Deliver(t.Context(), r), test.want)
			if got := strings.TrimSpace(n.took()); got != test.dialed {
				t.Errorf("dialled %q, want %q", got, test.dialed)
			}
		})
	}
}

// An application's Dial that does not heed the source address is found out:
// nothing leaves from another one.
func TestDialFromElsewhereIsNotUsed(t *testing.T) {
	s := &sink{}
	c := newClient(t, dialTo(listen(t, s.serve)))
	r := newRequest("hi\r\n")
	r.Hop.SourceAddress = netip.MustParseAddr("192.0.2.9")
	res := c.Deliver(t.Context(), r)
	expect(t, res, "temporary dial 0 4.4.1 error")
	if !strings.Contains(res[0].Err.Error(), "not from SourceAddress 192.0.2.9") {
		t.Error(res[0].Err)
	}
	if n := s.accepted.Load(); n != 0 {
		t.Errorf("%d messages", n)
	}
}
