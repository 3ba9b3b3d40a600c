package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// ErrBusy tells that too many calls wait for a hash to be computed. The
// client is told 454 4.7.0.
var ErrBusy = errors.New("auth: too many passwords to check")

// HasherOptions change a Hasher.
type HasherOptions struct {
	// Workers is how many hashes are computed at the same time. Defaults to the number of
	// processors for Go.
	Workers int
	// MaxQueue is how many calls may wait for a worker. Further ones get [ErrBusy].
	// Defaults to 1024.
	MaxQueue int
	// Other checks a password against a hash of a format that the package does not know: the module
	// auth/shacrypt does so for SHA-512 crypt ($6$). The error must hold nothing of the hash. An [Htpasswd] file with
	// other formats is not checked for them when it is read. Defaults to none.
	Other func(hash, password string) (match bool, err error)
}

// A Hasher checks passwords against stored hashes. It takes turns: sources (an IPv4 address or an
// IPv6 /64) that wait for a worker get one each in a circle, and the calls of one source
// in the order in which they came. Share one between all verifiers of a process.
//
// It knows bcrypt ($2a$, $2b$, $2y$), argon2id ($argon2id$, at most 256 MiB and 32 passes) and the keys
// of [NewSCRAMKeys]. A password longer than 72 octets, the most that bcrypt looks at, matches no bcrypt hash.
type Hasher struct {
	other    func(hash, password string) (bool, error)
	maxQueue int

	mu     sync.Mutex
	idle   int
	queued int
	queues map[netip.Addr][]*ticket
	circle []netip.Addr // sources with a queue
}

// A ticket is a place in a queue.
type ticket struct{ turn chan struct{} }

// NewHasher returns a Hasher. The zero options are a good choice.
func NewHasher(opt HasherOptions) *Hasher {
	setDefault(&opt.Workers, runtime.GOMAXPROCS(0))
	setDefault(&opt.MaxQueue, 1024)
	return &Hasher{
		other: opt.Other, maxQueue: opt.MaxQueue,
		idle: opt.Workers, queues: make(map[netip.Addr][]*ticket),
	}
}

// Match tells whether the password of c has the hash. The error is [ErrBusy], that of ctx, or tells of
// a hash that is malformed or of an unknown format, and holds nothing of it.
func (h *Hasher) Match(ctx context.Context, c Credentials, hash string) (bool, error) {
	match, err := h.parse(hash)
	if err != nil {
		return false, fmt.Errorf("auth: %w", err)
	}
	if err := h.begin(ctx, sourceOf(c.Remote.Addr())); err != nil {
		return false, err
	}
	defer h.end()
	ok, err := match(c.Password)
	// Some formats take "x" and "x\x00x" for the same.
	return ok && strings.IndexByte(c.Password, 0) < 0, err
}

// parse returns what compares a password with the hash.
func (h *Hasher) parse(hash string) (func(password string) (bool, error), error) {
	stored, err := parseHash(hash)
	switch {
	case err == nil:
		return func(password string) (bool, error) { return stored.match(password), nil }, nil
	case h.other != nil && errors.Is(err, errHashFormat):
		return func(password string) (bool, error) { return h.other(hash, password) }, nil
	}
	return nil, err
}

// begin waits for a worker.
func (h *Hasher) begin(ctx context.Context, source netip.Addr) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("auth: waiting for a turn: %w", err)
	}
	h.mu.Lock()
	if h.idle > 0 {
		h.idle--
		h.mu.Unlock()
		return nil
	}
	if h.queued >= h.maxQueue {
		h.mu.Unlock()
		return ErrBusy
	}
	t := &ticket{turn: make(chan struct{})}
	if len(h.queues[source]) == 0 {
		h.circle = append(h.circle, source)
	}
	h.queues[source] = append(h.queues[source], t)
	h.queued++
	h.mu.Unlock()

	select {
	case <-t.turn:
		return nil
	case <-ctx.Done():
	}
	h.mu.Lock()
	i := slices.Index(h.queues[source], t)
	if i >= 0 {
		h.queued--
		h.setQueue(source, slices.Delete(h.queues[source], i, i+1))
	}
	h.mu.Unlock()
	if i < 0 { // the turn came just now
		h.end()
	}
	return fmt.Errorf("auth: waiting for a turn: %w", ctx.Err())
}

// setQueue puts the rest of a source's queue in place.
func (h *Hasher) setQueue(source netip.Addr, rest []*ticket) {
	if len(rest) > 0 {
		h.queues[source] = rest
		return
	}
	delete(h.queues, source)
	if i := slices.Index(h.circle, source); i >= 0 {
		h.circle = slices.Delete(h.circle, i, i+1)
	}
}

// end gives the worker to whose turn it is.
func (h *Hasher) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.circle) == 0 {
		h.idle++
		return
	}
	source := h.circle[0]
	queue := h.queues[source]
	h.queued--
	close(queue[0].turn)
	h.circle = append(h.circle[1:], source)
	h.setQueue(source, queue[1:])
}

// sourceOf returns where a client is, as far as it cannot choose freely.
func sourceOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
