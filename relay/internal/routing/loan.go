package routing

import (
	"context"
	"errors"
	"sync"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
)

// Loan is the relay's client, lent to one attempt. It remembers of whom a copy
// was taken from it, and whether that is where it should be: a transport that
// is made of others does not tell.
type Loan struct {
	of *sender

	mu    sync.Mutex
	final map[string]bool // by address
}

// Lend lends the client to an attempt.
func (r *Routes) Lend() *Loan { return &Loan{of: r.sender} }

var errNoHosts = errors.New("relay: a next hop without hosts")

// Send implements [delivery.Sender].
func (l *Loan) Send(
	ctx context.Context, hop *connector.NextHop, a *delivery.Attempt,
) []delivery.Result {
	switch {
	case a == nil:
		return nil
	case hop == nil || len(hop.Hosts) == 0:
		return a.All(delivery.Failed(&delivery.Error{Op: delivery.OpRoute, Err: errNoHosts}))
	}
	results := l.of.send(ctx, hop, "", a)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range results {
		if results[i].OK() {
			l.note(a.Recipients[i].Address, hop.LMTP)
		}
	}
	return results
}

// assumeFinal notes that a copy is in its mailbox, unless it was handed over by
// this client: then that is known.
func (l *Loan) assumeFinal(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.final[address]; !ok {
		l.note(address, true)
	}
}

// note is for who holds the lock.
func (l *Loan) note(address string, final bool) {
	if l.final == nil {
		l.final = make(map[string]bool)
	}
	l.final[address] = final
}

// IsFinal reports whether a copy that was taken is in its mailbox, and not on
// its way there over another host.
func (l *Loan) IsFinal(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.final[address]
}
