package relay

import (
	"cmp"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/internal/nodes"
	"github.com/postern-mail/postern/relay/spool"
)

// newNodes returns what knows of the other relays that share the store.
func (r *Relay) newNodes(cfg *Config) *nodes.Nodes {
	store, _ := cfg.Spool.(spool.Nodes)
	return nodes.New(nodes.Config{
		Store: store, LeaseTime: cmp.Or(cfg.LeaseTime, defaultLease),
		Routes:  func() []string { return r.snap.Load().routes.Served() },
		Changed: func() { r.sched.Limit() },
		Logger:  logger(*cfg),
	})
}

// elsewhere tells the scheduler that a delivery is for another relay that
// shares the store, since its key leads nowhere here.
func (r *Relay) elsewhere(k spool.Key) bool {
	return !r.snap.Load().routes.Serves(k) && r.nodes.Elsewhere(k.Route)
}

// Nodes returns how many relays share the spool, this one included, and its
// rank among them: 0 for the one that has run for longest. They divide the
// limits of destinations. A relay that does not run, or has a spool of its own,
// is rank 0 of 1.
func (r *Relay) Nodes() (rank, live int) { return r.nodes.Rank() }

// throttleOptions are those of a Verifier's Throttle, which counts together
// with other relays that share the store.
func throttleOptions(store spool.Store) *auth.ThrottleOptions {
	if shared := sharedOf(store); shared != nil {
		return &auth.ThrottleOptions{Counter: shared}
	}
	return nil
}

// sharedOf returns what counts for several processes; nil where a store is one
// process's alone.
func sharedOf(store spool.Store) spool.Shared {
	if _, ok := store.(spool.Nodes); !ok {
		return nil
	}
	shared, _ := store.(spool.Shared)
	return shared
}
