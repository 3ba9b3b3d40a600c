package relay

import (
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// siteOf is where the deliveries of a key go.
func (r *Relay) siteOf(k spool.Key) sched.Site {
	routes := r.snap.Load().routes
	s := sched.Site{Name: k.Domain}
	if s.Name == "" {
		s.Name = k.Route
	}
	if source := routes.Source(k); source.IsValid() {
		s.Source = source.String()
	}
	return s
}
