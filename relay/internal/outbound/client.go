package outbound

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/connector"
)

// How long failures are remembered.
const (
	deadFor     = 30 * time.Second
	noChunksFor = time.Hour
	maxRcptFor  = time.Hour
	aliasFor    = time.Hour
	noAheadFor  = 10 * time.Minute
)

// Client delivers requests. It is safe for concurrent use.
type Client struct {
	cfg      Config
	pool     pool
	dead     memo // hosts and addresses that could not be used
	aliases  memo // exchangers that turned out to be this host
	slow     slowHosts
	sessions sessions
	sites    sites
	noChunks memo // addresses that offer CHUNKING and do not know BDAT
	noPipes  memo // addresses that offer PIPELINING and answer out of order
	noAhead  memo // addresses that do not take transactions ahead
	noSkips  memo // addresses that run the octets of refused chunks
	maxRcpt  memo // addresses that take so many recipients in a transaction
	logons   logons
	tokens   tokens
	memory   sync.Pool
}

// New makes a client. It starts nothing.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg.withDefaults()}
	c.dead.keep, c.noChunks.keep, c.noPipes.keep = deadFor, noChunksFor, noChunksFor
	c.aliases.keep = aliasFor
	c.noAhead.keep, c.noSkips.keep = noAheadFor, noChunksFor
	c.maxRcpt.keep = maxRcptFor
	c.pool.patience = c.cfg.ReadyTimeout
	c.pool.hops = make(map[hopKey]*places)
	c.memory.New = func() any { return new(transaction) }
	return c
}

// Close closes the idle connections. Deliveries on their way go on to their
// end; later ones are temporary failures.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

// Limit is the number of deliveries that are worth beginning at once for a next
// hop: as many as have connections now, and some to wait, without which there
// would never be more of those, each as often as deliveries go ahead on one.
// Its connections are at most MaxConnections, or this process's part of them.
// domain is the one whose exchangers are meant if it has no hosts.
func (c *Client) Limit(to *connector.NextHop, domain string) int {
	h := c.shared(to, domain)
	return c.pool.limit(h.key, c.cfg.Part(h.MaxConnections))
}

// Connections counts those open to a next hop, idle ones included. If it has no
// hosts, the exchangers of these domains are meant.
func (c *Client) Connections(to *connector.NextHop, domains []string) (open int) {
	keys := make(map[hopKey]bool)
	for _, domain := range domains {
		keys[c.shared(to, domain).key] = true
	}
	return c.pool.opened(keys)
}

// shared is a next hop as deliveries to a domain share it, by what is known of
// its exchangers.
func (c *Client) shared(to *connector.NextHop, domain string) hop {
	h := ready(to, domain)
	if of, _ := c.sites.get(domain); of != nil && !h.smart() {
		h.share(of)
	}
	return h
}

// Part is this process's part of a limit that several share.
func (c *Client) Part(limit int) int { return c.cfg.Part(limit) }

// deadLast moves the names that failed of late, or are slow, behind the others.
func (c *Client) deadLast(names []string) {
	if len(names) > 1 {
		slices.SortStableFunc(names, func(a, b string) int { return c.rank(a) - c.rank(b) })
	}
}

func (c *Client) rank(name string) int {
	if c.dead.has(name) || c.slow.has(name) {
		return 1
	}
	return 0
}

func (c *Client) debug(ctx context.Context, msg string, args ...any) {
	if c.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
		c.cfg.Logger.DebugContext(ctx, msg, args...)
	}
}
