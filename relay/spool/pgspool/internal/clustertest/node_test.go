//go:build unix

package clustertest_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

const (
	nodeVariable = "CLUSTERTEST_NODE"
	leaseTime    = 5 * time.Second
	consumer     = "checker"
)

// settings are those of a node.
type settings struct {
	URL      string // of the database
	Host     string // its name in EHLO, different in each of its lives
	Addr     string // where it listens
	Hop      string
	Recorder string
	Broken   string // how its store is broken; empty for not at all
}

// configure makes the configuration of a relay. One without an address does not
// listen.
func configure(store spool.Store, host, addr, hop string) relay.Config {
	c := relay.Config{
		Hostname: host, Spool: store, LeaseTime: leaseTime,
		EventLog: relay.EventLog{Retention: time.Hour},
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{hop}, TLS: connector.TLSNone},
		}},
		Retry: delivery.Retry{Schedule: []time.Duration{time.Second}},
	}
	if addr != "" {
		apps := connector.AnonymousRelay("apps", connector.MustParseRange("127.0.0.1"))
		apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort(addr)}
		apps.Limits = connector.Limits{
			MaxConnectionsPerSource: -1, MaxConnectionsPercentPerSource: -1,
			ConnectionRate: -1, MessageRate: -1, Tarpit: -1,
		}
		c.Connectors = []*connector.Connector{apps}
	}
	return c
}

// patient lets connections to the database fail in good time.
func patient(database string) string {
	u, err := url.Parse(database)
	if err != nil {
		return database
	}
	q := u.Query()
	q.Set("connect_timeout", "2")
	q.Set("pool_max_conns", "12")
	u.RawQuery = q.Encode()
	return u.String()
}

// TestNode is the process of a node, which newCluster starts.
func TestNode(t *testing.T) {
	text := os.Getenv(nodeVariable)
	if text == "" {
		return
	}
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	go func() { // it ends with whoever started it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, patient(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("host", s.Host)
	store, err := pgspool.Open(ctx, pool, &pgspool.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	config := configure(breakStore(store, s.Broken), s.Host, s.Addr, s.Hop)
	config.Logger = log
	r, err := relay.New(config)
	if err != nil {
		t.Fatal(err)
	}
	run(t, ctx, r, s.Recorder)
}

// run runs a relay and its follower until ctx ends.
func run(t *testing.T, ctx context.Context, r *relay.Relay, recorder string) {
	followed := make(chan error, 1)
	go func() { followed <- r.Follow(ctx, consumer, tell(recorder)) }()
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := <-followed; err != nil {
		t.Error(err)
	}
}
