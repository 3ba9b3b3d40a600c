package smtpd_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// v2 returns a header of version 2 with this command, family and block.
func v2(command, family byte, block string) string {
	return signature + string([]byte{command, family}) + string(
		binary.BigEndian.AppendUint16(nil, uint16(len(block))),
	) + block
}

const (
	block4 = "\xc6\x33\x64\x09\xc0\x00\x02\x01\x12\x67\x00\x19" // 198.51.100.9:4711 to 192.0.2.1:25
	block6 = " \x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09 " +
		"\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x12\x67\x00\x19"
)

func TestParseHeader(t *testing.T) {
	t.Parallel()
	const from, to = "198.51.100.9:4711", "192.0.2.1:25"
	for _, test := range []struct {
		name, in string
		want     string // "" where it is an error
	}{
		{"version 1", "PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\r\n", from + " " + to},
		{
			"IPv6", "PROXY TCP6 2001:db8::9 2001:db8::1 4711 25\r\n",
			"[2001:db8::9]:4711 [2001:db8::1]:25",
		},
		{"mapped", "PROXY TCP6 ::ffff:198.51.100.9 ::ffff:192.0.2.1 4711 25\r\n", from + " " + to},
		{"unknown", "PROXY UNKNOWN\r\n", "own"},
		{"unknown with addresses", "PROXY UNKNOWN ffff::ffff ffff::fffe 65535 65535\r\n", "own"},
		{"version 2", v2(0x21, 0x11, block4), from + " " + to},
		{"version 2, IPv6", v2(0x21, 0x21, block6), "[2001:db8::9]:4711 [2001:db8::1]:25"},
		{"version 2, local", v2(0x20, 0x00, ""), "own"},
		{"version 2, local with a block", v2(0x20, 0x11, block4), "own"},
		{"version 2 with more", v2(0x21, 0x11, block4+"\x04\x00\x03abc"), from + " " + to},
		{
			"version 2 of the most octets", v2(0x21, 0x11, block4+strings.Repeat("x", 4096-16-12)),
			from + " " + to,
		},

		{"lower case", "proxy TCP4 198.51.100.9 192.0.2.1 4711 25\r\n", ""},
		{"a bare LF", "PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\n", ""},
		{"wrong family", "PROXY TCP4 2001:db8::9 192.0.2.1 4711 25\r\n", ""},
		{"UDP", "PROXY UDP4 198.51.100.9 192.0.2.1 4711 25\r\n", ""},
		{"too few fields", "PROXY TCP4 198.51.100.9 192.0.2.1 4711\r\n", ""},
		{"too many fields", "PROXY TCP4 198.51.100.9 192.0.2.1 4711 25 x\r\n", ""},
		{"no port", "PROXY TCP4 198.51.100.9 192.0.2.1 65536 25\r\n", ""},
		{"a zone", "PROXY TCP6 fe80::1%eth0 2001:db8::1 4711 25\r\n", ""},
		{"from nowhere", "PROXY TCP4 0.0.0.0 192.0.2.1 4711 25\r\n", ""},
		{"from many", "PROXY TCP4 224.0.0.1 192.0.2.1 4711 25\r\n", ""},
		{"to nowhere", "PROXY TCP4 198.51.100.9 0.0.0.0 4711 25\r\n", ""},
		{"too long", "PROXY TCP4 " + strings.Repeat("1", 100), ""},
		{"version 2, UDP", v2(0x21, 0x12, block4), ""},
		{"version 2, a socket of the file system", v2(0x21, 0x31, strings.Repeat("x", 216)), ""},
		{"version 2, unspecified", v2(0x21, 0x00, ""), ""},
		{"version 2, unknown command", v2(0x22, 0x11, block4), ""},
		{"version 3", v2(0x31, 0x11, block4), ""},
		{"version 2, short block", v2(0x21, 0x11, block4[:11]), ""},
		{"version 2, too long", v2(0x21, 0x11, strings.Repeat("x", 4096-15)), ""},
		{"TLS", "\x16\x03\x01\x02\x00\x01", ""},
		{"a command", "EHLO a\r\n", ""},
	} {
		n, from, to, own, err := smtpd.ParseHeader([]byte(test.in))
		got := fmt.Sprint(from, " ", to)
		switch {
		case err != nil:
			got = ""
		case own:
			got = "own"
		case n != len(test.in):
			got = fmt.Sprintf("%d octets", n)
		}
		if got != test.want {
			t.Errorf("%s: got %q (%v), want %q", test.name, got, err, test.want)
		}
		if test.want == "" {
			continue
		}
		for i := range test.in { // every part of it needs more
			if n, _, _, _, err := smtpd.ParseHeader([]byte(test.in[:i])); n != 0 || err != nil {
				t.Errorf("%s, %d octets of it: %d, %v", test.name, i, n, err)
			}
		}
	}
}

func proxies(list ...string) func(*smtpd.Config) {
	return func(cfg *smtpd.Config) {
		for _, s := range list {
			cfg.Settings.Proxies = append(cfg.Settings.Proxies, connector.MustParseRange(s))
		}
	}
}

// A proxy that says nothing does not keep others from being served, and such
// connections are bounded.
func TestProxySilence(t *testing.T) {
	bubbleWith(t, proxies("192.0.2.7"), func(t *testing.T, r *rig) {
		for range smtpd.MaxHeaders {
			r.client()
		}
		r.dial("192.0.2.8:1").Expect("220 *")
		synctest.Wait()
		r.client().ExpectClose()
		time.Sleep(6 * time.Second)
		p := r.client()
		p.Send("PROXY TCP4 192.0.2.9 192.0.2.1 4711 25\r\n")
		p.Expect("220 *")
		if r.backend.connected != 2 {
			t.Errorf("%d sessions", r.backend.connected)
		}
	}, open())
}

// The connector and the limits are those of the client, not of the proxy.
func TestProxyLimits(t *testing.T) {
	c, other := open(), relaying("198.51.100.0/24")
	c.Limits.MaxConnectionsPerSource, other.Limits.MaxConnectionsPerSource = 1, 1
	other.Bindings = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:587")}
	bubbleWith(t, proxies("192.0.2.7"), func(t *testing.T, r *rig) {
		dial := func(from, to string) *client {
			f, o := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
			p := r.client()
			p.Send(
				fmt.Sprintf("PROXY TCP4 %s %s %d %d\r\n", f.Addr(), o.Addr(), f.Port(), o.Port()),
			)
			return p
		}
		first := dial("192.0.2.20:1", "192.0.2.1:25")
		first.Expect("220 mx.example.test *")
		second := dial("192.0.2.20:2", "192.0.2.1:25")
		second.Expect("421 4.3.2 *per-source limit*")
		second.ExpectClose()
		dial("192.0.2.21:1", "192.0.2.1:25").Expect("220 mx.example.test *")
		// Which binding counts is the header's to tell.
		relay := dial("198.51.100.9:1", "203.0.113.1:587")
		relay.Expect("220 relay.example.test *")
		dial("198.51.100.9:1", "192.0.2.1:25").ExpectClose()
		dial("192.0.2.20:1", "203.0.113.1:587").ExpectClose()
		first.Close()
		synctest.Wait()
		dial("192.0.2.20:3", "192.0.2.1:25").Expect("220 *")
	}, c, other)
}

// The header comes before TLS, and what arrives with it belongs to TLS.
func TestProxyImplicitTLS(t *testing.T) {
	c := open()
	c.ImplicitTLS = true
	c.Limits.MaxConnectionsPerSource = 1
	bubbleWith(t, proxies("192.0.2.7"), func(t *testing.T, r *rig) {
		for _, from := range []string{"192.0.2.9", "192.0.2.10"} {
			p := r.client()
			p.Wrap(func(c net.Conn) net.Conn {
				return &headed{c, "PROXY TCP4 " + from + " 192.0.2.1 4711 25\r\n"}
			})
			p.Handshake(nil)
			p.Expect("220 *")
			p.Say("HELO a")
			p.Expect("250 mx.example.test Hello [" + from + "]")
		}
		// Over a limit there is nobody to tell before TLS.
		p := r.client()
		p.Send("PROXY TCP4 192.0.2.9 192.0.2.1 4711 25\r\n")
		p.ExpectClose()
	}, c)
}

// headed puts something in front of the first write.
type headed struct {
	net.Conn
	head string
}

func (c *headed) Write(p []byte) (int, error) {
	if c.head == "" {
		return c.Conn.Write(p)
	}
	b := append([]byte(c.head), p...)
	c.head = ""
	_, err := c.Conn.Write(b)
	return len(p), err
}

func TestProxyShutdown(t *testing.T) {
	log := &logged{}
	bubbleWith(t, func(cfg *smtpd.Config) {
		proxies("192.0.2.7")(cfg)
		cfg.Logger = slog.New(
			slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}),
		)
	}, func(t *testing.T, r *rig) {
		p := r.client()
		p.Send("PROXY ")
		synctest.Wait()
		if err := r.server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		p.ExpectClose()
	}, open())
}

// connected notes where sessions come from.
type connected struct {
	discard
	mu   sync.Mutex
	from []netip.AddrPort
}

func (b *connected) Connect(_ context.Context, s *smtpd.Session) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.from = append(b.from, s.Remote)
	return nil
}

// FuzzProxy sends arbitrary octets at the start of a connection, from a listed
// host and from another. Only the listed one is ever believed, and only what
// its one header says.
func FuzzProxy(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\r\nEHLO a\r\n",
		"PROXY TCP6 2001:db8::9 2001:db8::1 4711 25\r\n", "PROXY UNKNOWN\r\n",
		v2(0x21, 0x11, block4) + "EHLO a\r\nQUIT\r\n", v2(0x21, 0x21, block6), v2(0x20, 0, ""),
		v2(0x21, 0x11, block4) + v2(0x21, 0x11, block4),
		"EHLO a\r\nPROXY TCP4 198.51.100.9 192.0.2.1 4711 25\r\n",
		"EHLO a\r\nXCLIENT ADDR=198.51.100.9\r\n",
	} {
		f.Add([]byte(s))
	}
	c := open()
	c.RemoteIPRanges = connector.Everyone()
	l := newMemory()
	s := smtpd.New(
		smtpd.Config{
			Hostname: "mx.example.test", Logger: slog.New(slog.DiscardHandler),
			Settings: settingsFor(f, discard{}, c),
		},
	)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	f.Cleanup(func() {
		s.Close()
		<-served
	})
	f.Fuzz(func(t *testing.T, in []byte) {
		n, from, _, own, err := smtpd.ParseHeader(in)
		if n > len(in) || err == nil && n > 0 && !own && !from.IsValid() {
			t.Fatalf("%d of %d octets, from %v", n, len(in), from)
		}
		socket := netip.MustParseAddrPort("192.0.2.7:25")
		for _, listed := range []bool{true, false} {
			b := &connected{}
			p := settingsFor(t, b, c)
			p.Proxies = []connector.Range{connector.MustParseRange("192.0.2.8")}
			if listed {
				p.Proxies = []connector.Range{connector.MustParseRange("192.0.2.7")}
			}
			s.Apply(p)
			conn := &scripted{in: strings.NewReader(string(in)), closed: make(chan struct{})}
			l.conns <- conn
			<-conn.closed
			b.mu.Lock()
			sessions := b.from
			b.mu.Unlock()
			switch {
			case !listed:
				if len(sessions) != 1 || sessions[0] != socket {
					t.Fatalf("not listed: sessions from %v", sessions)
				}
			case err != nil || n == 0:
				if len(sessions) != 0 || conn.out.Len() != 0 {
					t.Fatalf("no header: sessions from %v, %q", sessions, conn.out.String())
				}
			case len(sessions) > 1, len(sessions) == 1 && own &&
				sessions[0] != socket, len(sessions) == 1 && !own && sessions[0] != from:
				t.Fatalf("sessions from %v, header says %v (own: %v)", sessions, from, own)
			}
		}
	})
}

// A proxy that only looks whether somebody listens, or asks as itself, is not
// worth a warning every second; half a header is.
func TestProxyChecksAreQuiet(t *testing.T) {
	for sent, want := range map[string]bool{
		"": false, "PROXY UNKNOWN\r\n": false, "PROXY TCP4 192": true, "EHLO a\r\n": true,
	} {
		log := &logged{}
		bubbleWith(t, func(cfg *smtpd.Config) {
			proxies("203.0.113.7")(cfg)
			cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		}, func(t *testing.T, r *rig) {
			p := r.dial("203.0.113.7:40000")
			p.Send(sent)
			synctest.Wait()
			p.Close()
			synctest.Wait()
		}, open())
		if text := log.b.String(); (text != "") != want {
			t.Errorf("%q: logged %q", sent, text)
		}
	}
}
