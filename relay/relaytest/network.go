package relaytest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// Network is a network in memory: what listens on it can be dialled by
// everybody who has it, and by nobody else. It works inside a bubble of
// testing/synctest, where waiting for it lets time pass. Its methods may be
// called from many goroutines. Make one with [NewNetwork].
type Network struct {
	mu        sync.Mutex
	listeners map[netip.AddrPort]*listener
	faults    map[netip.AddrPort]Fault
	port      uint16 // the last one given to a client or to a listener on port 0
}

// Fault is what goes wrong with connections to an address. The zero value is
// a network that works.
type Fault struct {
	// Refuse answers every attempt to connect with "connection refused".
	Refuse bool
	// Silent answers no attempt to connect: it ends with the dialler's
	// patience.
	Silent bool
	// Latency is how long octets are on their way, in each direction.
	Latency time.Duration
	// CutAfter ends a connection after that many octets from the listening
	// side. Defaults to 0: never.
	CutAfter int64
	// StallAfter lets nothing of the listening side through after that many
	// octets. Defaults to 0: never.
	StallAfter int64
}

// firstPort is where ports that are not chosen begin.
const firstPort = 49152

// NewNetwork returns a network on which nothing listens.
func NewNetwork() *Network {
	return &Network{
		listeners: make(map[netip.AddrPort]*listener),
		faults:    make(map[netip.AddrPort]Fault),
		port:      firstPort,
	}
}

// Break sets what goes wrong with new connections to address, an IP address
// with a port. The zero Fault mends it.
func (n *Network) Break(address string, f Fault) error {
	at, err := parse(address)
	if err != nil {
		return fmt.Errorf("relaytest: Break: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[at] = f
	return nil
}

// Listen listens on address, an IP address with a port; port 0 chooses one.
// Only TCP networks exist. It fits relay.Config.Listen.
func (n *Network) Listen(_ context.Context, network, address string) (net.Listener, error) {
	at, err := parse(address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.Port() == 0 {
		at = netip.AddrPortFrom(at.Addr(), n.nextPort(at.Addr()))
	}
	if n.listeners[at] != nil {
		err := &net.OpError{Op: "listen", Net: network, Addr: net.TCPAddrFromAddrPort(at)}
		err.Err = syscall.EADDRINUSE
		return nil, err
	}
	l := &listener{network: n, at: at, queue: make(chan net.Conn, 128), done: make(chan struct{})}
	n.listeners[at] = l
	return l, nil
}

var errAddress = errors.New("is not an IP address with a port, such as 192.0.2.25:25")

func parse(address string) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return at, fmt.Errorf("%q %w", address, errAddress)
	}
	return at, nil
}

// nextPort finds a port of an address on which nothing listens.
func (n *Network) nextPort(a netip.Addr) uint16 {
	for {
		if n.port++; n.port < firstPort {
			n.port = firstPort
		}
		if n.listeners[netip.AddrPortFrom(a, n.port)] == nil {
			return n.port
		}
	}
}

// Dial connects from 127.0.0.1, or from the SourceAddress of a next hop. It
// fits relay.Config.Dial.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	from := delivery.SourceAddress(ctx)
	if !from.IsValid() {
		from = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return n.DialFrom(ctx, from, network, address)
}

// DialFrom connects from the given address to address, an IP address with a
// port. What listens on all addresses, 0.0.0.0 or [::], is reached at those of
// loopback. It answers "connection refused" where nothing listens, and waits
// until ctx ends where the address is [Fault.Silent].
func (n *Network) DialFrom(
	ctx context.Context, from netip.Addr, network, address string,
) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", address, err)}
	}
	to, err := parse(address)
	if err != nil {
		return fail(err)
	}
	n.mu.Lock()
	l, f := n.listener(to), n.faults[to]
	source := net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, n.nextPort(from)))
	n.mu.Unlock()
	switch {
	case f.Silent:
		<-ctx.Done()
		return fail(ctx.Err())
	case f.Refuse || l == nil:
		return fail(syscall.ECONNREFUSED)
	}
	client, server := pipe(source, net.TCPAddrFromAddrPort(to), f)
	select {
	case l.queue <- server:
		return client, nil
	case <-l.done:
		return fail(syscall.ECONNREFUSED)
	case <-ctx.Done():
		return fail(ctx.Err())
	}
}

// listener returns what listens on an address, or nil.
func (n *Network) listener(at netip.AddrPort) *listener {
	l := n.listeners[at]
	if l != nil || !at.Addr().IsLoopback() {
		return l
	}
	all := netip.IPv4Unspecified()
	if at.Addr().Is6() {
		all = netip.IPv6Unspecified()
	}
	return n.listeners[netip.AddrPortFrom(all, at.Port())]
}

// listener takes the connections to one address.
type listener struct {
	network *Network
	at      netip.AddrPort
	queue   chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// Close ends the listener. Connections that wait to be accepted end too.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, l.at)
		l.network.mu.Unlock()
		close(l.done)
		for {
			select {
			case c := <-l.queue:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}
