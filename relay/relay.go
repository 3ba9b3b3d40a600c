package relay

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/internal/attempt"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/nodes"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/internal/throttle"
	"github.com/postern-mail/postern/relay/spool"
)

// Relay is a mail relay inside the application's process. Its methods may be
// called from many goroutines at once. Several relays live side by side in one
// process; each needs a spool of its own, or one that several share.
type Relay struct {
	snap     atomic.Pointer[snapshot]
	store    spool.Store
	client   *outbound.Client
	server   *smtpd.Server
	sched    *sched.Scheduler
	nodes    *nodes.Nodes
	attempts *attempt.Deliverer
	// throttles are what the relay does by itself.
	throttles *throttle.Throttles
	failures  failures
	rates     policy.Rates
	now       func() time.Time
	events    eventQueue
	eventLog  *eventLog // nil if off
	headers   header.Pool
	monitor   *policy.Monitor
	memory    policy.Budget         // for messages being received
	held      atomic.Int32          // refusals held back, of clients that do not speak SMTP
	throttle  func() *auth.Throttle // of every configuration's Verifier
	calls     callbacks

	mu        sync.Mutex
	listeners map[netip.AddrPort]net.Listener // by binding as bound
	ports     map[string]netip.AddrPort       // what a binding with port 0 became
	listening bool
	serving   bool // listeners are given to the server
	failed    chan error

	begin    sync.Once
	end      sync.Once
	killed   context.Context // ends with Close
	kill     context.CancelFunc
	leasing  context.CancelFunc // ends the scheduler
	working  context.CancelFunc // ends the attempts under way
	idle     chan struct{}      // closed when the scheduler has ended
	alive    context.CancelFunc // ends the signs of life
	gone     chan struct{}      // closed when there are none any more
	closed   chan struct{}      // closed by Shutdown and Close
	shutdown chan struct{}      // closed when Shutdown or Close is through
	// leftBehind names what did not end. It may be read after shutdown.
	leftBehind error
}

// Stats returns the totals of the queue.
func (r *Relay) Stats(ctx context.Context) (spool.Stats, error) {
	if ctx == nil {
		return spool.Stats{}, errNoContext
	}
	return r.store.Stats(ctx)
}
