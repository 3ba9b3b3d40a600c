package simtest

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/relaytest"
)

// zone is a DNS that may also lose the addresses of a name and nothing else.
type zone struct {
	*relaytest.Zone
	mu   sync.Mutex
	lost map[string]bool
}

func newZone() *zone { return &zone{Zone: relaytest.NewZone(), lost: make(map[string]bool)} }

var errLost = errors.New("simtest: server misbehaving")

// LookupNetIP answers with the addresses of a host.
func (z *zone) LookupNetIP(ctx context.Context, network, host string) (
	delivery.Answer[netip.Addr], error,
) {
	z.mu.Lock()
	lost := z.lost[host]
	z.mu.Unlock()
	if lost {
		return delivery.Answer[netip.Addr]{}, errLost
	}
	return z.Zone.LookupNetIP(ctx, network, host)
}

// lose makes the addresses of a name unknown for now, or known again.
func (z *zone) lose(name string, lost bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.lost[name] = lost
}

func (w *World) breakDNS(ctx context.Context) {
	names := []string{
		"d1.test", "h0.d1.test", "d2.test", "h1.d2.test", "h0.d5.test", "a.smart.test",
		"b.smart.test", goneDomain, bareDomain, bareDomain,
	}
	name, whole := names[w.below(len(names))], w.chance(0.5)
	w.history.count(DNSErrs)
	if whole {
		w.dns.Fail(name, "server misbehaving")
	} else {
		w.dns.lose(name, true)
	}
	go func() {
		pause(ctx, w.between(time.Second, time.Minute))
		w.dns.Fail(name, "")
		w.dns.lose(name, false)
	}()
}
