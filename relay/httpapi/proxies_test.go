package httpapi_test

import (
	"context"
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

// TestLoopback: with RequireEncryption a client on this host may do without
// TLS.
func TestLoopback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.cfg.RequireEncryption = true
		w.users.AuthMechanisms &^= connector.BasicAuthRequireTLS
	})
	if a := w.do(plain(from(post(simple), "127.0.0.1:5"))); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if a := w.do(plain(post(simple))); a.Status != 403 || a.SMTP.Enhanced != "5.7.0" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
}

func TestProxies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.http.Proxies = []connector.Range{
			connector.MustParseRange("10.0.0.0/8"), connector.MustParseRange("127.0.0.1/32"),
		}
		w.cfg.RequireEncryption = true
		w.cfg.Policy.Message = func(_ context.Context, s *relay.Session, _ *relay.Incoming) error {
			if s.TLS == nil || len(s.TLS.PeerCertificates) > 0 ||
				s.Proxy.Addr() != netip.MustParseAddr("10.0.0.1") && !s.Proxy.Addr().IsLoopback() {
				return relay.Reject(550, "5.7.1", "Not as the proxy says")
			}
			return nil
		}
	})
	for _, c := range []struct {
		name, remote, chain, proto, forwarded string
		status                                int
		client                                string
	}{
		{"https", "10.0.0.1:1", "203.0.113.5", "https", "", 202, "203.0.113.5:0"},
		{"IPv6", "10.0.0.1:1", "2001:db8::7", "https", "", 202, "[2001:db8::7]:0"},
		{
			"what the client claims does not count", "10.0.0.1:1",
			"127.0.0.1, 198.51.100.1, 203.0.113.5, 10.2.2.2", "HTTPS", "", 202, "203.0.113.5:0",
		},
		{"https in the clear", "10.0.0.1:1", "203.0.113.5", "https", "", 403, ""},
		{"for its own host in the clear", "10.0.0.1:1", "127.0.0.1", "https", "", 403, ""},
		{
			"https in the clear on this host", "127.0.0.1:1", "203.0.113.5", "https", "", 202,
			"203.0.113.5:0",
		},
		{"http in the clear on this host", "127.0.0.1:1", "203.0.113.5", "http", "", 403, ""},
		{"http", "10.0.0.1:1", "203.0.113.5", "http", "", 403, ""},
		{"nothing said of TLS", "10.0.0.1:1", "203.0.113.5", "", "", 403, ""},
		{"nothing said of the client", "10.0.0.1:1", "", "https", "", 403, ""},
		{"no address", "10.0.0.1:1", "unknown", "https", "", 403, ""},
		{
			"a client among the proxies", "10.0.0.1:1", "10.0.0.9, 10.0.0.2", "https", "", 202,
			"10.0.0.9:0",
		},
		{
			"with ports", "10.0.0.1:1", "203.0.113.5:1234, [::ffff:10.0.0.2]:80", "https", "", 202,
			"203.0.113.5:0",
		},
		{"RFC 7239 is not read", "127.0.0.1:1", "", "", "for=203.0.113.5", 403, ""},
		{"not a known proxy", "192.0.2.9:1", "203.0.113.5", "https", "", 403, ""},
		{"loopback that is not known", "[::1]:1", "203.0.113.5", "https", "", 403, ""},
	} {
		r := from(post(simple), c.remote)
		if strings.Contains(c.name, "in the clear") {
			r = plain(r)
		}
		for field, v := range map[string]string{
			"X-Forwarded-For": c.chain, "X-Forwarded-Proto": c.proto, "Forwarded": c.forwarded,
		} {
			if v != "" {
				r.Header.Set(field, v)
			}
		}
		a := w.do(r)
		if a.Status != c.status {
			t.Errorf("%s: %d %s", c.name, a.Status, a.Body)
		} else if a.Status == 202 {
			if m := w.one(); m.Origin.Remote != c.client {
				t.Errorf("%s: client is %s, want %s", c.name, m.Origin.Remote, c.client)
			}
		}
	}
}

// A proxy that forgets to tell whom it speaks for lends its address to nobody
// where it must tell.
func TestRequireForwarded(t *testing.T) {
	t.Parallel()
	for _, must := range []bool{false, true} {
		w := newWorld(t, func(w *world) {
			w.http.Proxies = []connector.Range{connector.MustParseRange("10.0.0.1/32")}
			w.http.RequireForwarded = must
		})
		forgotten := map[bool]int{false: 202, true: 403}[must]
		for _, c := range []struct {
			name, remote, chain string
			status              int
		}{
			{"the proxy, for a client", "10.0.0.1:1", "203.0.113.5", 202},
			{"the proxy, for itself", "10.0.0.1:1", "10.0.0.1", 202},
			{"the proxy, for nobody", "10.0.0.1:1", "", forgotten},
			{"a client", "203.0.113.5:1", "", 202},
			{"a client that pretends", "203.0.113.5:1", "203.0.113.6", 403},
		} {
			r := from(post(simple), c.remote)
			if c.chain != "" {
				r.Header.Set("X-Forwarded-For", c.chain)
				r.Header.Set("X-Forwarded-Proto", "https")
			}
			if a := w.do(r); a.Status != c.status {
				t.Errorf("%s, must %v: %d %s", c.name, must, a.Status, a.Body)
			}
		}
	}
}

// TestClientCertificate: the rights of a partner come with the certificate of
// the connection itself.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.users.RequireTLS = true })
	r := post(simple)
	r.TLS = &tls.ConnectionState{}
	if a := w.do(r); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if m := w.one(); strings.Contains(m.content, "using TLS") {
		t.Errorf("the trace field tells what is not known:\n%s", m.content)
	}
}
