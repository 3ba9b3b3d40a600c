package relay

import (
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// siteOf is where the deliveries of a key go.
func (r *Relay) siteOf(k spool.Key) sched.Site {
	p := r.snap.Load()
	s := sched.Site{Name: k.Route}
	if k.Domain != "" {
		s.Name = k.Domain
		if name, exchangers := r.client.Site(k.Domain); name != "" {
			s.Name, s.Provider = name, p.shaping.provider(exchangers)
		}
	}
	if source := p.routes.Source(k); source.IsValid() {
		s.Source = source.String()
	}
	return s
}
