package auth

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// ThrottleOptions say how failed logons slow down the next ones. Nil stands for
// the defaults.
type ThrottleOptions struct {
	// Free is how many times one source may fail to log on as one user before
	// it is slowed down. Defaults to 5.
	Free int
	// SourceFree is how many times one source may fail for all users together;
	// the sources of an IPv6 /56 four times as often, and those of a /48
	// sixteen times. Defaults to 20.
	SourceFree int
	// Delay is what a source waits after the first failure too many. It doubles
	// with each further one. Defaults to 1 s.
	Delay time.Duration
	// MaxDelay ends the doubling. Defaults to 15 min.
	MaxDelay time.Duration
	// MaxUserDelay is the most that a source waits because others have failed
	// as the same user, more than SourceFree times. Defaults to 1 s.
	MaxUserDelay time.Duration
	// HalfLife is how long it takes until half of the failures are forgotten.
	// Defaults to 1 h.
	HalfLife time.Duration
	// MaxWait is the longest a call waits; one that would have to wait longer
	// is refused at once. Defaults to 5 s.
	MaxWait time.Duration
	// MaxWaiting is how many calls may wait at the same time, of which one
	// source may have an eighth. Others are refused. Defaults to 1024.
	MaxWaiting int
	// Entries is how many sources, users, and pairs of both are remembered,
	// each, and an eighth of that of the networks around sources. Memory for
	// all is taken at once: about 224 octets an entry. Defaults to 32768.
	Entries int
	// Counter makes processes that share it slow down a source together, and
	// keeps what they know through a restart. Only failed logons ask it.
	// Defaults to none: each process counts alone.
	Counter Counter
	// Exempt are sources that are neither slowed down nor counted, such as
	// a webmail server that does this itself. Defaults to none.
	Exempt []netip.Prefix
}

// ThrottledError tells that a logon was refused unseen, since too many before
// it have failed. It is no [ErrBadCredentials]: the client is told 454 4.7.0.
type ThrottledError struct {
	RetryAfter time.Duration // when the next attempt may be seen
}

func (e *ThrottledError) Error() string {
	return fmt.Sprintf(
		"auth: too many failed logons; next in %v", e.RetryAfter.Round(time.Millisecond),
	)
}

// A Throttle slows down whoever guesses passwords, and others as little as can
// be.
//
// Failures are counted for each source (an IPv4 address or an IPv6 /64), for
// the /56 and the /48 around it, of which one customer may have the whole, for
// each user in any capitalisation, and for each pair of source and user. A
// source that has failed too often, as one user or as many, waits before its
// next attempt is seen, each time twice as long. A user's failures from
// everywhere make sources that have not logged on as that user before wait a
// little: an attacker who names a user cannot keep the user out. Whoever logs
// on from the same source and with the same name and secret as before does not
// wait at all, whatever others do behind the same address. Where no secret is
// shown, as with SCRAM, that lasts until the source fails too often as that
// user.
//
// The same wrong password again is not a guess and is not counted: a device
// with an old password does not lock out its neighbours. For ten seconds it is
// refused without a look, so that it costs no hash. Only [ErrBadCredentials] is
// a failure. What is unknown about a user plays no part, so that waiting does
// not tell which users exist.
//
// A context that ends leaves an attempt uncounted: a handler of HTTP requests
// should not pass on one that its client can end.
//
// When an attack from many sources begins, none of them has failed yet: for a
// few seconds those wait with them who come for the first time. What the
// Throttle knows ends with the process, so that everybody does after a restart.
//
// Processes that share a Counter count the failures of sources, of the networks
// around them and of users together, for a HalfLife from the first. A process
// learns of the others' at the first failure that it sees itself: until then it
// looks at no more attempts of a source at a time than are free. Who has logged
// on before, and which secrets are known to be wrong, each process knows alone.
//
// Memory is fixed. When a table is full, what has the fewest failures makes
// room, and a newcomer inherits them up to the free ones: a flood of new names
// and sources does not clear the record of those who have failed most.
type Throttle struct {
	opt    ThrottleOptions
	common *common
	seed   maphash.Seed
	start  time.Time

	mu      sync.Mutex
	waiting int
	sources *failureTable
	wider   [2]wider // around sources
	users   *failureTable
	pairs   *failureTable
	good    *goodTable // who has logged on, from where and with what
}

// NewThrottle returns a Throttle that has seen nothing yet. Share it between
// all verifiers that an attacker could try.
func NewThrottle(o *ThrottleOptions) *Throttle {
	opt := valueOf(o)
	setDefault(&opt.Free, 5)
	setDefault(&opt.SourceFree, 20)
	setDefault(&opt.Delay, time.Second)
	setDefault(&opt.MaxDelay, 15*time.Minute)
	setDefault(&opt.MaxUserDelay, time.Second)
	setDefault(&opt.HalfLife, time.Hour)
	setDefault(&opt.MaxWait, 5*time.Second)
	setDefault(&opt.MaxWaiting, 1024)
	setDefault(&opt.Entries, 32768)
	t := &Throttle{
		opt: opt, common: &common{counter: opt.Counter},
		seed: maphash.MakeSeed(), start: time.Now(),
	}
	t.sources = newFailureTable(opt.Entries, float32(opt.SourceFree), opt.HalfLife)
	for i, w := range [...]wider{{bits: 56, free: 4}, {bits: 48, free: 16}} {
		w.free *= float32(opt.SourceFree)
		w.table = newFailureTable(max(opt.Entries/8, ways), w.free, opt.HalfLife)
		t.wider[i] = w
	}
	t.users = newFailureTable(opt.Entries, float32(opt.SourceFree), opt.HalfLife)
	t.pairs = newFailureTable(opt.Entries, float32(opt.Free), opt.HalfLife)
	t.good = newGoodTable(opt.Entries)
	return t
}

// wider are networks that one holder of many sources may have.
type wider struct {
	bits  int
	free  float32 // failures
	table *failureTable
}

// around returns the key of the network around a source, 0 for one of IPv4.
func (t *Throttle) around(a netip.Addr, bits int) uint64 {
	p, err := a.Prefix(bits)
	if !a.Is6() || err != nil {
		return 0
	}
	return t.hash("source", p.String(), "")
}

// Guard returns a Verifier that asks v when the proof may be looked at.
// Its own error is a [*ThrottledError], or the context's while it waits.
func (t *Throttle) Guard(v Verifier) Verifier {
	v = required(v)
	return VerifierFunc(func(ctx context.Context, c Proof) (*Identity, error) {
		return t.do(ctx, c, func(c Proof) (*Identity, error) { return v.Verify(ctx, c) })
	})
}

// errUndecided stands for an attempt that has not come to an end.
var errUndecided = errors.New("auth: undecided")

// do asks verify when it is time, and remembers the outcome. A nil Throttle
// asks at once.
func (t *Throttle) do(
	ctx context.Context, c Proof, verify func(Proof) (*Identity, error),
) (id *Identity, err error) {
	if t == nil || t.exempt(c.Remote.Addr()) {
		return verify(c)
	}
	from := sourceOf(c.Remote.Addr())
	source := string(from.AsSlice())
	a := &attempt{
		Throttle: t, began: t.now(), from: from, username: c.Username,
		source: t.hash("source", source, ""),
	}
	for i, w := range t.wider {
		a.wider[i] = t.around(from, w.bits)
	}
	if c.Username != "" {
		user := strings.ToLower(c.Username)
		var secret string
		if c.Password+c.Token != "" { // one as a password and as a token are two
			secret = c.Password + "\x00" + c.Token
		}
		a.user, a.pair = t.hash("user", user, ""), t.hash("pair", user, source)
		// What is known as good or wrong is that of the name as typed.
		a.good = t.hash("good", c.Username, source+secret)
		if secret != "" {
			a.secret = t.hash("secret", secret, c.Authzid)
			a.typed = t.hash("typed", c.Username, secret+"\x00"+c.Authzid)
		}
	}
	if err := a.wait(ctx); err != nil {
		return nil, err
	}
	outcome := errUndecided // also if verify panics
	defer func() {
		if a.done(outcome) {
			a.share(ctx)
		}
	}()
	c.standing = a.standing
	id, err = verify(c)
	outcome = err
	return id, err
}

// exempt tells whether a source is not counted.
func (t *Throttle) exempt(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(t.opt.Exempt, func(p netip.Prefix) bool { return p.Contains(a) })
}

// hash returns a key that a client cannot foresee, and never 0.
func (t *Throttle) hash(kind, a, b string) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	h.WriteString(kind)
	h.WriteByte(0)
	h.WriteString(a)
	h.WriteByte(0)
	h.WriteString(b)
	return max(h.Sum64(), 1)
}

func (t *Throttle) now() time.Duration { return time.Since(t.start) }

// delay is how long to wait after so many failures more than free ones.
func (t *Throttle) delay(excess float32, most time.Duration) time.Duration {
	if excess <= 0 {
		return 0
	}
	d := float64(t.opt.Delay) * math.Exp2(float64(excess)-1)
	return time.Duration(min(d, float64(most)))
}

// How many failures of a source, made or on their way, let others go first, and
// how much of one may be left.
const (
	suspicious = 2
	forgotten  = 0.5
)

// strangerDelay is what the failures of others cost.
func (t *Throttle) strangerDelay(user uint64, now time.Duration) time.Duration {
	u := t.users.find(user, now)
	if u == nil {
		return 0
	}
	return t.delay(u.count-float32(t.opt.SourceFree), t.opt.MaxUserDelay)
}
