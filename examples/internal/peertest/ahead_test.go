package peertest_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/examples/internal/delay"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/examples/internal/postfix"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// aheads counts the transactions that went ahead of the last reply to another
// one, by host.
type aheads struct {
	slog.Handler
	counts *sync.Map
}

func (a aheads) Enabled(context.Context, slog.Level) bool { return true }

func (a aheads) Handle(_ context.Context, r slog.Record) error {
	host, ahead := "", false
	r.Attrs(func(f slog.Attr) bool {
		switch f.Key {
		case "host":
			host = f.Value.String()
		case "ahead":
			ahead = f.Value.Bool()
		}
		return true
	})
	if r.Message == "transaction" && ahead {
		n, _ := a.counts.LoadOrStore(host, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
	return nil
}

func (a aheads) WithAttrs([]slog.Attr) slog.Handler { return a }

// ended is the fate of a recipient's copy.
type ended struct {
	kind event.Kind
	code int
}

// crowd is a relay with few connections to its next hops.
type crowd struct {
	*relay.Relay
	inbox[ended]
	aheads sync.Map
}

func startCrowd(t *testing.T, hops map[string]connector.NextHop) *crowd {
	t.Helper()
	c := new(crowd)
	cfg := relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil),
		Logger: slog.New(aheads{slog.DiscardHandler, &c.aheads}),
		Events: func(e event.Event) {
			switch e.Kind {
			case event.Delivered, event.Deferred, event.Bounced, event.Expired:
				c.at(e.To[0]) <- ended{e.Kind, e.Code}
			}
		},
	}
	for domain, hop := range hops {
		hop.MaxConnections = 2
		cfg.SendConnectors = append(cfg.SendConnectors, &connector.SendConnector{
			Name: domain, NextHop: hop, AddressSpaces: []connector.AddressSpace{{Domain: domain}},
		})
	}
	var err error
	if c.Relay, err = relay.New(cfg); err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, c.Relay)
	return c
}

// crowded is how many messages wait for the two connections of a next hop.
const crowded = 50

// addresses are the recipients of a message: the second one is unknown to the
// next hop if there are two.
func addresses(n int, domain string) []string {
	to := []string{fmt.Sprintf("known.%d@%s", n, domain)}
	if n%6 == 5 {
		to = append(to, fmt.Sprintf("nobody.%d@%s", n, domain))
	}
	return to
}

// send sends the messages, and waits for their fates.
func (c *crowd) send(t *testing.T, domain string) {
	t.Helper()
	for n := range crowded {
		to := addresses(n, domain)
		_, err := c.Submit(t.Context(), &relay.Message{
			From: sender, To: to, Notify: spool.NotifyNever,
			Content: bytes.NewReader(message(sender, to[0], 2000+n)),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range crowded {
		for i, to := range addresses(n, domain) {
			want := []ended{{event.Delivered, 250}, {event.Bounced, 550}}[i]
			if got := c.next(t, to); got != want {
				t.Errorf("%s: %v, want %v", to, got, want)
			}
		}
	}
}

// arrived sees that each message has come once, with its own content.
func (s *sink) arrived(t *testing.T, domain string) {
	t.Helper()
	for n := range crowded {
		to := addresses(n, domain)[0]
		m := s.next(t, to)
		wantContent(t, m.content, append(message(sender, to, 2000+n), "\r\n"...))
		if m.from != sender {
			t.Errorf("%s: from %s", to, m.from)
		}
	}
	for n := range crowded {
		for _, to := range addresses(n, domain) {
			if more := len(s.at(to)); more > 0 {
				t.Errorf("%s: %d copies too many", to, more)
			}
		}
	}
}

// TestAheadToPostfix has messages wait for the last reply on the way to
// Postfix: with BDAT and with DATA, in the clear, over STARTTLS, and through
// stunnel. Each arrives once, and next to those that go ahead some recipients
// are refused. Nothing goes ahead to a host that is near: these are 10 ms away.
func TestAheadToPostfix(t *testing.T) {
	t.Parallel()
	next, dir, port := newSink(t), t.TempDir(), freePort(t)
	mailtest.Certificate(t, dir)
	mailtest.Write(t, dir+"/transport", "")
	ways := map[string][]string{
		"chunks.example.net": nil,
		"data.example.net":   {"smtpd_discard_ehlo_keywords = chunking"},
		"clear.example.net":  {"smtpd_tls_security_level = none"},
	}
	hops, listeners := map[string]connector.NextHop{}, map[string][]string{}
	for domain, addr := range freeAddrs(t, ways) {
		listeners[addr] = ways[domain]
		hops[domain] = connector.NextHop{Hosts: []string{away(t, addr)}}
	}
	_, sinkPort, _ := net.SplitHostPort(next.addr)
	log := new(journal)
	server, err := postfix.Start(t.Context(), postfix.Config{
		Dir: openDir(t), Main: fmt.Sprintf(mainCf, sinkPort, dir), Log: log, Listeners: listeners,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("Postfix's log:\n%s", log.String())
		}
	})
	config := filepath.Join(dir, "stunnel.conf")
	mailtest.Write(t, config, fmt.Sprintf("foreground = yes\npid =\n"+
		"[smtp]\naccept = 127.0.0.1:%s\nconnect = %s\ncert = %s/cert.pem\nkey = %s/key.pem\n",
		port, hops["clear.example.net"].Hosts[0], dir, dir))
	daemon(t, port, "stunnel4", config)
	hops["tunnel.example.net"] = connector.NextHop{
		Hosts: []string{"127.0.0.1:" + port}, ImplicitTLS: true, TLS: connector.TLSEncryptionOnly,
	}
	c := startCrowd(t, hops)
	t.Run("ways", func(t *testing.T) {
		for domain, hop := range hops {
			t.Run(domain, func(t *testing.T) {
				t.Parallel()
				c.send(t, domain)
				next.arrived(t, domain)
				c.wantAhead(t, hop.Hosts[0])
			})
		}
	})
}

// away puts a host 10 ms away, and returns where it is then.
func away(t *testing.T, addr string) string {
	t.Helper()
	p, err := delay.Start(addr, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p.Addr()
}

// wantAhead fails the test if nothing went ahead to a host.
func (c *crowd) wantAhead(t *testing.T, addr string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	n := int64(0)
	c.aheads.Range(func(host, count any) bool {
		if strings.HasSuffix(host.(string), ":"+port) {
			n += count.(*atomic.Int64).Load()
		}
		return true
	})
	t.Logf("%d of %d went ahead", n, crowded)
	if n == 0 {
		t.Error("nothing went ahead")
	}
}
