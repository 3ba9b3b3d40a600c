package admin_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/admin"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestTLS tells when clients of a connector come into TLS.
func TestTLS(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*relay.Config, *connector.Connector)
		want   string
	}{
		{"offered", func(*relay.Config, *connector.Connector) {}, "STARTTLS offered"},
		{"required", func(_ *relay.Config, c *connector.Connector) {
			c.RequireTLS = true
		}, "STARTTLS required"},
		{"implicit", func(_ *relay.Config, c *connector.Connector) {
			c.ImplicitTLS, c.RequireTLS, c.SuppressedKeywords = true, true, []string{"starttls"}
		}, "implicit"},
		{"suppressed", func(_ *relay.Config, c *connector.Connector) {
			c.SuppressedKeywords = []string{"starttls"}
		}, "none"},
		{"not asked for", func(_ *relay.Config, c *connector.Connector) {
			c.AuthMechanisms = 0
		}, "none"},
		{"no certificate", func(cfg *relay.Config, _ *connector.Connector) {
			cfg.TLS = nil
		}, "none"},
	} {
		cfg := config(t)
		cfg.Connectors = cfg.Connectors[1:2]
		test.change(&cfg, cfg.Connectors[0])
		if w := do(
			shown(t, cfg), request(http.MethodGet, "/status", ""),
		); !strings.Contains(w.Body.String(), `"tls": "`+test.want+`"`) {
			t.Errorf("%s: %s", test.name, w.Body)
		}
	}
}

// brokenStore cannot tell its totals.
type brokenStore struct{ spool.Store }

func (brokenStore) Stats(context.Context) (spool.Stats, error) { return spool.Stats{}, errDown }

func TestStoreDown(t *testing.T) {
	cfg := config(t)
	cfg.Spool = brokenStore{memspool.New(nil)}
	var log journal
	h := newHandler(t, admin.Config{Relay: newRelay(t, cfg), Authorize: open, Logger: log.logger()})
	if w := do(h, request(http.MethodGet, "/status", "")); w.Code != 200 ||
		!strings.Contains(w.Body.String(), `"queue": null`) ||
		strings.Contains(w.Body.String(), "detail") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := do(h, request(http.MethodGet, "/", "")); w.Code != 200 ||
		!strings.Contains(w.Body.String(), "not known now") ||
		strings.Contains(w.Body.String(), "detail") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if line := log.take(); strings.Count(
		line, `msg="queue totals not known" err="dial 10.9.8.7: secret detail"`,
	) != 2 {
		t.Errorf("log %q", line)
	}
}

// TestReload looks while the relay is reloaded.
func TestReload(t *testing.T) {
	cfg := config(t)
	r := newRelay(t, cfg)
	h := newHandler(t, admin.Config{Relay: r, Authorize: open})
	second := config(t)
	second.Connectors[0].Name = "renamed"
	second.SendConnectors, second.AcceptedDomains = nil, second.AcceptedDomains[:1]
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				for _, req := range []*http.Request{
					request(http.MethodGet, "/", ""), request(http.MethodGet, "/status", ""),
					postForm("remote=10.1.2.3&connector=apps&to=alice@example.com"),
				} {
					if w := do(h, req); w.Code != 200 {
						t.Errorf("%s: %d %s", req.URL, w.Code, w.Body)
					}
				}
			}
		})
	}
	for range 20 {
		if err := errors.Join(r.Reload(cfg), r.Reload(second)); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if w := do(h, request(http.MethodGet, "/", "")); !strings.Contains(
		w.Body.String(), "renamed",
	) || strings.Contains(w.Body.String(), "people") ||
		!strings.Contains(w.Body.String(), "None: mail for others") {
		t.Errorf("after the reload: %s", w.Body)
	}
}
