package simtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
)

// wish is what the application asks for a message beside its delivery.
type wish struct {
	key                string
	stream             string
	notBefore, expires time.Time
	cancelled          bool      // Cancel was called
	gone               time.Time // when Cancel had returned
}

const streams = 3

// wish draws what is asked for.
func (w *World) wish(to string) (v wish) {
	if w.chance(0.5) {
		v.key = "key of " + to
	}
	if w.chance(0.5) {
		v.stream = fmt.Sprintf("stream%d", w.below(streams))
	}
	start := time.Now()
	if w.chance(0.15) {
		start = start.Add(w.between(time.Minute, 15*time.Minute))
		v.notBefore = start
	}
	if w.chance(0.15) {
		v.expires = start.Add(w.between(25*time.Minute, 35*time.Minute))
	}
	return v
}

// apply submits a message as the application does: with a key a second time,
// after whatever became of the first.
func (w *World) apply(from string, to []string, content string, v wish) (string, error) {
	first, err := w.submit(from, to, content, v)
	if v.key == "" || err == nil && w.chance(0.5) {
		return first, err
	}
	pause(context.Background(), w.between(time.Millisecond, time.Minute))
	again, errAgain := w.submit(from, to, content, v)
	if errors.Is(errAgain, relay.ErrKeyReused) ||
		err == nil && errAgain == nil && first != again {
		w.t.Errorf("the message with %q is %s, then %s (%v)", v.key, first, again, errAgain)
	}
	if err == nil {
		return first, nil
	}
	return again, errAgain
}

func (w *World) submit(from string, to []string, content string, v wish) (string, error) {
	l := w.any()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := l.relay.Submit(ctx, &relay.Message{
		From: from, To: to, Content: strings.NewReader(content),
		Key: v.key, Stream: v.stream, NotBefore: v.notBefore, Expires: v.expires,
	})
	if err != nil {
		return "", err
	}
	if l.dead.Load() {
		return "", errDead // the process was gone before it could tell anybody
	}
	return r.QueueID, nil
}

// regret cancels a message after a while.
func (w *World) regret(to []string, id string) {
	pause(context.Background(), w.between(time.Millisecond, 2*time.Minute))
	w.history.cancel(to, time.Time{})
	if _, err := w.any().relay.Cancel(context.Background(), id); err == nil {
		w.history.cancel(to, time.Now())
	}
}

// cancel writes down that Cancel is called, or when it has returned.
func (h *history) cancel(to []string, returned time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range to {
		if s := h.sent[a]; s != nil {
			s.cancelled, s.gone = true, returned
		}
	}
}

// checkWish sees that a message went out no sooner than asked, and not any more
// when it was cancelled.
func (w *World) checkWish(to string, s *sent, r *record, copies []*taken) {
	if r.accepted.Stream != s.stream {
		w.t.Errorf("%s was sent in stream %q, not %q", to, r.accepted.Stream, s.stream)
	}
	removed := r.fates[0].Kind == event.Removed
	for _, c := range copies {
		if c.at.Before(s.notBefore.Add(-maxStep)) {
			w.t.Errorf("%s got a copy at %s, not before %s was asked",
				to, clock(c.at), clock(s.notBefore))
		}
		if removed && !s.gone.IsZero() && c.at.After(s.gone) {
			w.t.Errorf("%s got a copy at %s, cancelled at %s", to, clock(c.at), clock(s.gone))
		}
	}
}

// end is when the message is given up.
func (s *sent) end() time.Time {
	switch {
	case !s.expires.IsZero():
		return s.expires
	case !s.notBefore.IsZero():
		return s.notBefore.Add(expires)
	}
	return s.at.Add(expires)
}
