package sched

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const leaseTime = 2 * time.Minute

// Config configures a Scheduler. Every field is required but those that have a
// default.
type Config struct {
	Store spool.Store
	// LeaseTime is how long the store keeps a delivery for this process after
	// it has last renewed its leases. Defaults to 2 minutes.
	LeaseTime time.Duration
	// Elsewhere tells that a delivery is for another process that shares the
	// store: it is left alone. Defaults to none.
	Elsewhere func(k spool.Key) bool
	// Concurrency bounds the deliveries under way at once.
	Concurrency int
	// RouteLimit bounds those of the site of a key.
	// [Scheduler.Limit] tells that it has changed.
	RouteLimit func(k spool.Key) int
	// Site tells where the deliveries of a key go. It is asked often, must not
	// wait, and may answer otherwise later. Defaults to a site for each key,
	// whatever its stream.
	Site func(k spool.Key) Site
	// Limits bounds what goes to a site. [Scheduler.Limit] tells that it has
	// changed. Defaults to none.
	Limits func(s Site) Limits
	// Stream tells the weight of a stream at each site, beside others, and what
	// bounds it there. Defaults to 1, and no bound.
	Stream func(name string) (weight int, limit Limit)
	// Throttles keep deliveries back. Defaults to none.
	Throttles Throttles
	// Local are the routes that end in this process.
	Local []string
	// Owner tells for whom a delivery holds its place.
	Owner func(l *spool.Lease) Owner
	// Deliver makes one attempt and settles the lease. It calls left once
	// nothing of the attempt goes to the site any more, before it settles if it
	// can: others may take its place there. Only the first call counts. When
	// the lease is lost, ctx ends with the cause spool.ErrLeaseLost.
	Deliver func(ctx context.Context, l *spool.Lease, left func(Lesson))
	// Overdue tells what a delivery has coming without an attempt, and when
	// that changes; zero if it does not.
	Overdue func(l *spool.Lease) (Overdue, time.Time)
	// Conclude settles a delivery that is Expired or Late without an attempt,
	// and one that is Untried after one.
	Conclude func(ctx context.Context, l *spool.Lease)
	Logger   *slog.Logger
}

// fillIn sets what has a default.
func (cfg *Config) fillIn() {
	cfg.LeaseTime = cmp.Or(cfg.LeaseTime, leaseTime)
	if cfg.Elsewhere == nil {
		cfg.Elsewhere = func(spool.Key) bool { return false }
	}
	if cfg.Throttles == nil {
		cfg.Throttles = unthrottled{}
	}
	if cfg.Site == nil {
		cfg.Site = func(k spool.Key) Site { return Site{Name: k.Route + " " + k.Domain} }
	}
	if cfg.Limits == nil {
		cfg.Limits = func(Site) Limits { return Limits{} }
	}
	if cfg.Stream == nil {
		cfg.Stream = func(string) (int, Limit) { return 1, Limit{} }
	}
}

// Owner tells for whom a delivery holds a place, beside its site.
type Owner struct {
	// Connector is the send connector; empty if there is none.
	Connector string
	// Origin is who sent the message, or caused the report.
	Origin string
	// Report tells that the relay itself made the message.
	Report bool
}

// Overdue is what a delivery has coming without an attempt.
type Overdue uint8

const (
	// OnTime: nothing.
	OnTime Overdue = iota
	// Late: its sender is to be told that it waits, if it goes on to wait.
	Late
	// Untried: it is to end after an attempt, which need not wait until its
	// route has rested.
	Untried
	// Expired: it is to end.
	Expired
)
