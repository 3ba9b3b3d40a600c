package simtest

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/relaytest"
	"github.com/postern-mail/postern/relay/spool"
)

// Machine is what a relay's store runs on. It outlives the processes.
type Machine interface {
	// Open opens the store, as a process that begins does.
	Open() (spool.Store, error)
	// Stop ends the process that has the store. With power lost, the disk holds
	// what was synced and some of the rest.
	Stop(powerLost bool)
	// Fail makes a part of what is asked of the disk fail, until Mend.
	Fail()
	// Lack makes a part of what is asked of the disk fail for want of
	// descriptors, until Mend.
	Lack()
	// Fill leaves no room on the disk, until Mend.
	Fill()
	Mend()
}

// Plan says how much happens in a [World].
type Plan struct {
	Seed     uint64
	Messages int
	// Lasts is how long messages are sent and faults come.
	Lasts time.Duration
	// Durable tells that the Machine keeps its store when a process ends.
	Durable bool
	// Nodes is how many relays share the Machine's store, which must have every
	// part but a Waker and a Gauge. Defaults to one, which has its own.
	Nodes int
	// Lease is how long the store keeps a delivery for a node after its last
	// sign of life. Defaults to that of the relay.
	Lease time.Duration
	// Without leaves out kinds of faults.
	Without []Fault
}

const (
	goodDomain   = "good.test"   // its host is always well
	senderDomain = "sender.test" // the relay's own
	goneDomain   = "gone.test"   // does not exist
	bareDomain   = "bare.test"   // has an address and no MX
	sickDomains  = 8
	patience     = 2 * time.Hour // until the queue is empty, when all is mended
)

// World is a relay, or several, and all that is around them.
type World struct {
	t       testing.TB
	plan    Plan
	machine Machine
	net     *relaytest.Network
	dns     *zone
	history *history
	cert    tls.Certificate
	hops    []string // addresses of those that may be out of order
	names   []string // of the same
	clients netip.Addr
	leasing *Leasing // the store that nodes share

	mu     sync.Mutex
	random *rand.Rand
	calm   bool
	lives  []*life         // by node
	kind   Fault           // the calamity at hand
	steps  []time.Duration // of the wall clocks, by node
	next   int             // number of the next recipient
	kept   map[transaction][]string
	// unheard are connections on which a host has said what is no reply.
	unheard map[transaction]bool
	moods   map[string]mood // by host
	grey    map[[2]string]time.Time

	poison map[string]bool // recipients whose mail crashes the mailboxes

	aimed   map[int]func() // by node: what happens when it has handed over a message
	bursts  sync.WaitGroup
	regrets sync.WaitGroup // of messages that are to be cancelled
	mending sync.WaitGroup // of nodes that are out of order
}

type transaction struct {
	host            string
	session, number int
}

// New makes a world inside a bubble of testing/synctest.
func New(t testing.TB, m Machine, p Plan) *World {
	w := &World{
		t: t, plan: p, machine: m, net: relaytest.NewNetwork(), dns: newZone(),
		history: newHistory(), cert: certificate(t), clients: netip.MustParseAddr("10.9.0.1"),
		random: rand.New(rand.NewPCG(p.Seed, 2)), kept: make(map[transaction][]string),
		unheard: make(map[transaction]bool), moods: make(map[string]mood),
		grey:   make(map[[2]string]time.Time),
		poison: make(map[string]bool),
		aimed:  make(map[int]func()),
		lives:  make([]*life, max(p.Nodes, 1)), steps: make([]time.Duration, max(p.Nodes, 1)),
	}
	w.host("mx."+goodDomain, "10.1.0.1:25", nil)
	w.dns.MX(goodDomain, 10, "mx."+goodDomain)
	for i := range sickDomains {
		domain := fmt.Sprintf("d%d.test", i)
		for h := range 1 + i%3 {
			name := fmt.Sprintf("h%d.%s", h, domain)
			w.sickHost(name, fmt.Sprintf("10.2.%d.%d:25", i, h+1))
			w.dns.MX(domain, uint16(10*h), name)
		}
	}
	w.sickHost(bareDomain, "10.4.0.1:25")
	w.sickHost("a.smart.test", "10.3.0.1:25")
	w.sickHost("b.smart.test", "10.3.0.2:25")
	return w
}

func (w *World) sickHost(name, address string) {
	w.hops = append(w.hops, address)
	w.names = append(w.names, name)
	if script := w.script(name); w.chance(0.25) {
		w.host(name, address, script)
	} else {
		w.peer(name, address, script)
	}
}

// peer is a host with ways of its own.
func (w *World) peer(name, address string, script func(relaytest.Step) answer) {
	p := &peer{world: w, name: name, address: address, script: script, ways: w.drawWays()}
	if w.chance(0.3) {
		p.tls = w.hopTLS()
	}
	p.start()
	w.dns.Host(name, netip.MustParseAddrPort(address).Addr().String())
}

func (w *World) host(name, address string, script func(relaytest.Step) answer) {
	h := &relaytest.Hop{Name: name, Address: address, DSN: w.chance(0.5)}
	if script != nil {
		h.Script = func(s relaytest.Step) relaytest.Answer { return script(s).hop() }
	}
	if script != nil && w.chance(0.6) {
		h.TLS = w.hopTLS()
	}
	h.OnTaken = func(m relaytest.Taken) {
		node := nodeAt(m.Remote)
		w.strike(node)
		for _, to := range m.To {
			w.history.take(to, string(m.Content), taken{
				at: m.At, from: m.From, host: address, node: node,
				told: m.Told && !w.isUnheard(name, m.Session),
			})
		}
	}
	h.Start(w.t, w.net)
	w.dns.Host(name, netip.MustParseAddrPort(address).Addr().String())
}

// chance is true with a probability.
func (w *World) chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.Float64() < p
}

// below is a number from 0 to n-1.
func (w *World) below(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

// between is a time between two others.
func (w *World) between(least, most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return least + time.Duration(w.random.Int64N(int64(most-least)))
}

// clockOf is the wall clock of a node, which steps.
func (w *World) clockOf(node int) func() time.Time {
	return func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Now().Add(w.steps[node])
	}
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
