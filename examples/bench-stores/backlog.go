package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/relaytest"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	deadDomain = "dead.example.org"
	deadHost   = "192.0.2.1"
	liveHost   = "198.51.100.1"

	atOnce    = 64 // keys that a lease names
	batch     = 50 // deliveries of a message, to fill the queue fast
	deadBatch = 10
)

// backlog measures a start with a long queue.
func (b *bench) backlog() scenario {
	return scenario{
		title: fmt.Sprintf("Backlog: %d deliveries for %d domains, a dead one has the oldest tenth",
			b.messages(1_000_000), b.messages(10_000)),
		columns: []column{
			{"first attempt elsewhere, s", 2}, {"lease of 64 keys: median, ms", 1}, {"90 %, ms", 1},
		},
		subjects: []subject{{"pgspool", b.backlogOnce}},
		rounds:   1, // to fill it takes long
		targets: []target{
			atMost("first attempt after the start, s, at most 1", "pgspool", 0, 1),
			atMost("a lease of 64 keys, ms, at most 20", "pgspool", 1, 20),
		},
	}
}

func (b *bench) backlogOnce(ctx context.Context) (f figures, err error) {
	pool, drop, err := b.server.pool(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	domains, total := b.messages(10_000), b.messages(1_000_000)
	if err := b.fillBacklog(ctx, pool, domains, total); err != nil {
		return nil, err
	}
	first, err := b.firstAttempt(ctx, pool, domains)
	if err != nil {
		return nil, err
	}
	leases, err := b.leaseKeys(ctx, pool, domains)
	if err != nil {
		return nil, err
	}
	return figures{
		first.Seconds(), milliseconds(quantile(leases, 0.5)), milliseconds(quantile(leases, 0.9)),
	}, nil
}

// fillBacklog puts a tenth for the dead domain in front, then as many for each
// other.
func (b *bench) fillBacklog(
	ctx context.Context, pool *pgxpool.Pool, domains, total int,
) error {
	s, err := openPool(ctx, pool)
	if err != nil {
		return err
	}
	begin := time.Now()
	dead := total / 10
	err = inParallel(ctx, sessions, dead/deadBatch, func(ctx context.Context) error {
		return commitMany(ctx, s, begin.Add(-time.Hour), deadBatch, func(int) string {
			return deadDomain
		})
	})
	if err != nil {
		return errors.Join(err, s.Close())
	}
	err = inParallel(ctx, sessions, (total-dead)/batch, func(ctx context.Context) error {
		from := rand.IntN(domains)
		return commitMany(ctx, s, begin.Add(-time.Minute), batch, func(i int) string {
			return domainOf((from + i) % domains)
		})
	})
	return errors.Join(err, s.Close())
}

func domainOf(i int) string { return fmt.Sprintf("d%d.example.org", i) }

// commitMany commits a message with n deliveries.
func commitMany(
	ctx context.Context, s spool.Store, due time.Time, n int, domain func(i int) string,
) error {
	c := spool.Commit{Message: spool.Message{
		ID: spool.NewID(time.Now()), From: "shop@example.com", Created: due,
	}}
	for i := range n {
		to := domain(i)
		c.Deliveries = append(c.Deliveries, spool.Delivery{
			Key:        spool.Key{Route: "mx/out", Domain: to},
			Recipients: []spool.Recipient{{Address: "anna@" + to}},
			Due:        due, Expires: due.Add(48 * time.Hour),
		})
	}
	w, err := s.Create(ctx, c.Message.ID)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write([]byte("Subject: news\r\n\r\nnews\r\n")); err != nil {
		return err
	}
	return w.Commit(ctx, c)
}

// firstAttempt starts a relay and tells how long it takes until it dials a host
// that is not dead.
func (b *bench) firstAttempt(
	ctx context.Context, pool *pgxpool.Pool, domains int,
) (time.Duration, error) {
	zone := relaytest.NewZone().Host("mx.dead.test", deadHost).Host("mx.live.test", liveHost)
	zone.MX(deadDomain, 10, "mx.dead.test")
	for i := range domains {
		zone.MX(domainOf(i), 10, "mx.live.test")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var once sync.Once
	var took time.Duration
	begin := time.Now()
	s, err := openPool(ctx, pool)
	if err != nil {
		return 0, err
	}
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: s, Resolver: zone, DrainTimeout: time.Second,
		SendConnectors: []*connector.SendConnector{
			{Name: "out", AddressSpaces: connector.AllDomains()},
		},
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(address); host == liveHost {
				once.Do(func() { took = time.Since(begin); cancel() })
			}
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	if err != nil {
		return 0, errors.Join(err, s.Close())
	}
	err = errors.Join(r.Run(ctx), s.Close())
	if took == 0 {
		return 0, errors.Join(errors.New("no attempt elsewhere within a minute"), err)
	}
	return took, err
}

// leaseKeys leases of some keys at a time and returns how long each took.
func (b *bench) leaseKeys(
	ctx context.Context, pool *pgxpool.Pool, domains int,
) ([]time.Duration, error) {
	s, err := openPool(ctx, pool)
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	for range 50 {
		keys := make([]spool.Key, atOnce)
		for i, n := range rand.Perm(domains)[:atOnce] {
			keys[i] = spool.Key{Route: "mx/out", Domain: domainOf(n)}
		}
		begin := time.Now()
		got, err := s.Lease(ctx, spool.LeaseRequest{
			Max: 4 * atOnce, MaxPerKey: 4, Only: keys, TTL: time.Minute,
		})
		if err != nil || len(got.Leases) == 0 {
			return nil, errors.Join(
				fmt.Errorf("%d deliveries of %d keys", len(got.Leases), atOnce), err, s.Close(),
			)
		}
		took = append(took, time.Since(begin))
	}
	return took, s.Close()
}
