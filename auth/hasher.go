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

// HasherOptions change a Hasher. Nil stands for the defaults.
type HasherOptions struct {
	// Workers is how many hashes are computed at the same time. Defaults to the
	// number of processors for Go.
	Workers int
	// MaxQueue is how many calls of each rank may wait for a worker. When there
	// are more, the source with the most calls gives one up, which gets
	// [ErrBusy]. Defaults to 1024.
	MaxQueue int
	// Other checks a password against a hash of a format that the package does
	// not know: the module auth/shacrypt does so for SHA-512 crypt ($6$). The
	// error must hold nothing of the hash. An [Htpasswd] file with other
	// formats is not checked for them when it is read. Defaults to none.
	Other func(hash, password string) (match bool, err error)
}

// A Hasher checks passwords against stored hashes. It takes turns: sources (an
// IPv4 address or an IPv6 /64) that wait for a worker get one each in a circle,
// and the calls of one source in the order in which they came. Behind a
// [Throttle] there are four ranks: those who have logged on from the same
// source before come first, then sources that have not failed lately, those
// that have once or twice, and the others last; one worker, if there are
// several, never serves these. Share a Hasher between all verifiers of a
// process, or each takes all processors.
//
// It knows bcrypt ($2a$, $2b$, $2y$), argon2id ($argon2id$, at most 256 MiB and
// 32 passes) and the keys of [NewSCRAMKeys]. A password longer than 72 octets,
// the most that bcrypt looks at, matches no bcrypt hash.
type Hasher struct {
	other    func(hash, password string) (bool, error)
	maxQueue int

	mu          sync.Mutex
	idle        int // workers
	suspects    int // workers that serve suspects
	maxSuspects int
	lanes       [suspect + 1]lane
}

// NewHasher returns a Hasher.
func NewHasher(o *HasherOptions) *Hasher {
	opt := valueOf(o)
	setDefault(&opt.Workers, runtime.GOMAXPROCS(0))
	setDefault(&opt.MaxQueue, 1024)
	h := &Hasher{
		other: opt.Other, maxQueue: opt.MaxQueue, idle: opt.Workers,
		maxSuspects: max(opt.Workers-1, 1),
	}
	for i := range h.lanes {
		h.lanes[i].queues = make(map[netip.Addr][]ticket)
	}
	return h
}

// Match tells whether the password of c has the hash. The error is [ErrBusy],
// that of ctx, or tells of a hash that is malformed or of an unknown format,
// and holds nothing of it.
func (h *Hasher) Match(ctx context.Context, c Proof, hash string) (bool, error) {
	match, err := h.parse(hash)
	if err != nil {
		return false, fmt.Errorf("auth: %w", err)
	}
	if err := h.begin(ctx, sourceOf(c.Remote.Addr()), c.standing); err != nil {
		return false, err
	}
	defer h.end(c.standing)
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
func (h *Hasher) begin(ctx context.Context, source netip.Addr, who standing) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("auth: waiting for a turn: %w", err)
	}
	l := &h.lanes[who]
	h.mu.Lock()
	if l.waiting >= h.maxQueue && !l.makeRoom(source) {
		h.mu.Unlock()
		return ErrBusy
	}
	t := l.enter(source)
	h.dispatch()
	h.mu.Unlock()
	select {
	case turn := <-t:
		if !turn {
			return ErrBusy
		}
		return nil
	case <-ctx.Done():
	}
	h.mu.Lock()
	waiting := l.leave(source, t)
	h.mu.Unlock()
	if !waiting && <-t { // the turn came just now
		h.end(who)
	}
	return fmt.Errorf("auth: waiting for a turn: %w", ctx.Err())
}

// end gives the worker back.
func (h *Hasher) end(who standing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle++
	if who == suspect {
		h.suspects--
	}
	h.dispatch()
}

// dispatch gives idle workers to whose turn it is.
func (h *Hasher) dispatch() {
	for h.idle > 0 {
		switch {
		case h.lanes[regular].waiting > 0:
			h.lanes[regular].next()
		case h.lanes[newcomer].waiting > 0:
			h.lanes[newcomer].next()
		case h.lanes[doubtful].waiting > 0:
			h.lanes[doubtful].next()
		case h.lanes[suspect].waiting > 0 && h.suspects < h.maxSuspects:
			h.lanes[suspect].next()
			h.suspects++
		default:
			return
		}
		h.idle--
	}
}

// A lane holds the calls that wait, by source.
type lane struct {
	queues  map[netip.Addr][]ticket
	circle  []netip.Addr // sources with a queue
	waiting int
}

// A ticket is a place in a queue. It is told true when its turn has come, and
// false when it has lost its place.
type ticket chan bool

func (l *lane) enter(source netip.Addr) ticket {
	t := make(ticket, 1)
	if len(l.queues[source]) == 0 {
		l.circle = append(l.circle, source)
	}
	l.queues[source] = append(l.queues[source], t)
	l.waiting++
	return t
}

// next lets in the first call of the first source, which then is the last
// source.
func (l *lane) next() {
	source := l.circle[0]
	queue := l.queues[source]
	queue[0] <- true
	l.circle = append(l.circle[1:], source)
	l.set(source, queue[1:])
}

// makeRoom takes the last place of the source with the most calls, if that
// leaves it as many as source will then have.
func (l *lane) makeRoom(source netip.Addr) bool {
	var longest netip.Addr
	most := len(l.queues[source]) + 1
	for a, queue := range l.queues {
		if len(queue) > most {
			longest, most = a, len(queue)
		}
	}
	queue := l.queues[longest]
	if len(queue) < most {
		return false
	}
	queue[most-1] <- false
	l.set(longest, queue[:most-1])
	return true
}

// leave takes back a ticket whose turn has not come.
func (l *lane) leave(source netip.Addr, t ticket) bool {
	queue := l.queues[source]
	i := slices.Index(queue, t)
	if i < 0 {
		return false
	}
	l.set(source, slices.Delete(queue, i, i+1))
	return true
}

// set puts a source's queue in place that has become shorter by one.
func (l *lane) set(source netip.Addr, queue []ticket) {
	l.waiting--
	if len(queue) > 0 {
		l.queues[source] = queue
		return
	}
	delete(l.queues, source)
	if i := slices.Index(l.circle, source); i >= 0 {
		l.circle = slices.Delete(l.circle, i, i+1)
	}
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
