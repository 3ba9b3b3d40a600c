package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// An attempt is one call. Its keys are 0 where there is nothing to count.
type attempt struct {
	*Throttle
	began              time.Duration
	from               netip.Addr
	username           string
	source, user, pair uint64
	wider              [2]uint64
	secret             uint64
	typed              uint64 // the secret with the name
	good               uint64 // the pair with the secret, if that is shown
	standing           standing

	// Pinned while the attempt goes on, nil for one that is not counted.
	bySource, byPair *failures
	byWider          [2]*failures
}

// standing is what is known of a source that wants to log on as a user.
type standing int

const (
	newcomer standing = iota // nothing
	regular                  // has logged on as this user before
	doubtful                 // has failed lately, or may be about to
	suspect                  // has failed more than once or twice
)

// repeat is how long a wrong password stays wrong without another look. The
// user may make it the right one meanwhile.
const repeat = 10 * time.Second

// poll is how long an attempt waits for the outcome of others.
const poll = 50 * time.Millisecond

// wait returns when the attempt may go on.
func (a *attempt) wait(ctx context.Context) error {
	var timer *time.Timer
	for {
		d, err := a.admit(timer == nil)
		if d == 0 || err != nil {
			return err
		}
		if timer == nil {
			timer = time.NewTimer(d)
			defer timer.Stop()
		} else {
			timer.Reset(d)
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			a.mu.Lock()
			a.leaveRoom()
			a.mu.Unlock()
			return fmt.Errorf("auth: waiting after failed logons: %w", ctx.Err())
		}
	}
}

// admit lets the attempt go on, or tells how long to wait before the next try.
func (a *attempt) admit(first bool) (time.Duration, error) {
	t, now := a.Throttle, a.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !first {
		a.leaveRoom()
	}
	known := t.good.has(a.good)
	if known && a.secret != 0 {
		a.standing = regular
		return 0, nil // it is the right one, unless the user has changed it
	}
	var p *failures
	if a.pair != 0 {
		p = t.pairs.claim(a.pair, now)
	}
	if known {
		a.standing = regular
		if !p.busy(float32(t.opt.SourceFree)) {
			a.byPair = p.enter()
			return 0, nil
		}
		if now+poll > a.began+t.opt.MaxWait {
			return 0, &ThrottledError{RetryAfter: poll}
		}
		return poll, nil
	}
	s := t.sources.claim(a.source, now)
	switch {
	case s == nil || s.count+float32(s.running) > suspicious:
		a.standing = suspect
	case s.count > forgotten || s.running > 0:
		a.standing = doubtful
	default:
		a.standing = newcomer
	}
	d := max(s.wait(now), p.wait(now), t.strangerDelay(a.user, now)-(now-a.began))
	if s.busy(float32(t.opt.SourceFree)) || p.busy(float32(t.opt.Free)) {
		d = max(d, poll)
	}
	around, wait := a.around(now)
	d = max(d, wait)
	if d <= 0 {
		if a.repeated(p, now) {
			return 0, ErrBadCredentials
		}
		a.bySource, a.byPair = s.enter(), p.enter()
		for i, f := range around {
			a.byWider[i] = f.enter()
		}
		return 0, nil
	}
	if now+d > a.began+t.opt.MaxWait || t.waiting >= t.opt.MaxWaiting || s == nil ||
		int(s.waiting) >= max(t.opt.MaxWaiting/8, 1) {
		return 0, &ThrottledError{RetryAfter: d}
	}
	t.waiting++
	s.waiting++
	a.bySource = s
	return d, nil
}

// around returns what is known of the networks around the source, and how long
// the attempt waits for them.
func (a *attempt) around(now time.Duration) (all [2]*failures, d time.Duration) {
	for i, w := range a.Throttle.wider {
		if a.wider[i] == 0 {
			continue
		}
		f := w.table.claim(a.wider[i], now)
		if all[i] = f; f == nil || f.busy(w.free) {
			d = max(d, poll)
		}
		if f != nil && f.count > w.free {
			a.standing = suspect
		}
		d = max(d, f.wait(now))
	}
	return all, d
}

// repeated reports whether the secret has been found wrong a moment ago.
func (a *attempt) repeated(p *failures, now time.Duration) bool {
	return p != nil && a.secret != 0 && p.typed == a.typed && now-p.seen < repeat
}

// leaveRoom ends a time of waiting.
func (a *attempt) leaveRoom() {
	if a.bySource == nil {
		return // of those who are known
	}
	a.Throttle.waiting--
	a.bySource.waiting--
	a.bySource = nil
}

// done notes the outcome, and reports whether it was a failure that counts.
func (a *attempt) done(outcome error) (failed bool) {
	t, now := a.Throttle, a.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	a.bySource.leave()
	a.byPair.leave()
	for _, f := range a.byWider {
		f.leave()
	}
	switch {
	case outcome == nil:
		a.succeed(now)
	case errors.Is(outcome, ErrBadCredentials):
		return a.fail(outcome, now)
	}
	return false
}

// succeed notes what a good secret tells.
func (a *attempt) succeed(now time.Duration) {
	if a.pair == 0 {
		return
	}
	t := a.Throttle
	t.good.add(a.good, now)
	if p := t.pairs.find(a.pair, now); p != nil {
		// Somebody else behind the same address shall not get new tries from
		// this one's success.
		p.count, p.next = min(p.count, float32(t.opt.Free)), 0
		if p.typed == a.typed {
			p.secret, p.typed = 0, 0
		}
	}
}

// fail counts a wrong secret, unless it is the last one again.
func (a *attempt) fail(outcome error, now time.Duration) (counted bool) {
	t := a.Throttle
	if a.pair != 0 {
		if a.secret != 0 {
			t.good.remove(a.good) // it was good
		}
		if p := t.pairs.claim(a.pair, now); p != nil {
			if a.repeats(p, outcome, now) {
				return false
			}
			p.fail(now, t.delay(p.count+1-float32(t.opt.Free), t.opt.MaxDelay))
			if p.count > float32(t.opt.Free) {
				t.good.remove(a.good)
			}
		}
	}
	for _, c := range a.tallies() {
		if c.key == 0 {
			continue
		}
		if f := c.table.claim(c.key, now); f != nil {
			f.fail(now, t.delay(f.count+1-c.free, t.opt.MaxDelay))
		}
	}
	return true
}

// repeats notes a wrong secret, and reports whether it is the last one again.
// What another than the verifier has refused, or a verifier that tells more, is
// asked again.
func (a *attempt) repeats(p *failures, outcome error, now time.Duration) bool {
	again := a.secret != 0 && p.secret == a.secret
	p.secret, p.typed, p.seen = a.secret, a.typed, now
	var more *CredentialError
	if _, ok := outcome.(verdict); ok || errors.As(outcome, &more) {
		p.seen = now - repeat
	}
	return again
}
