package simtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
)

// attend is what operators do until ctx ends: see after what was set aside.
func (w *World) attend(ctx context.Context) {
	for pause(ctx, w.between(time.Minute, 4*time.Minute)) {
		w.release()
		for i := range w.lives {
			for _, t := range w.node(i).relay.Throttles() {
				w.history.throttled(t.ID, t.Site, t.Class)
			}
		}
	}
}

// release tries again what was set aside since attempts crashed, or cancels it.
func (w *World) release() {
	l := w.any()
	m, ok := l.store.(spool.Manager)
	if !ok {
		return
	}
	ctx := context.Background()
	items, err := m.List(ctx, spool.Query{State: spool.StatePoison, Max: 1000})
	if err != nil && w.isCalm() {
		w.t.Error(err)
	}
	for i := range items {
		item := &items[i]
		if n := item.Delivery.Crashes; n != spool.PoisonCrashes {
			w.t.Errorf("%v was set aside after %d crashes", item.Delivery.ID, n)
		}
		w.mendPoison(item)
		err := w.decide(l, item)
		if w.isCalm() && err != nil && !errors.Is(err, relay.ErrNotFound) &&
			!errors.Is(err, relay.ErrUnderWay) {
			w.t.Error(err)
		}
	}
}

// mendPoison mends what crashed, for some.
func (w *World) mendPoison(item *spool.Item) {
	w.history.count(Poison)
	mends := w.chance(0.7) || w.isCalm()
	for _, r := range item.Delivery.Recipients {
		w.history.setAside(r.Address)
		w.mu.Lock()
		if mends {
			w.poison[r.Address] = false
		}
		w.mu.Unlock()
	}
}

// decide tries a message again, or cancels it.
func (w *World) decide(l *life, item *spool.Item) error {
	ctx, id := context.Background(), item.Message.ID.String()
	if item.Message.From == "" || w.chance(0.7) {
		return l.relay.Reschedule(ctx, id, time.Time{})
	}
	_, all, err := l.store.(spool.Manager).Find(ctx, item.Message.ID)
	if err != nil {
		return err
	}
	var to []string
	for i := range all {
		for _, r := range all[i].Delivery.Recipients {
			to = append(to, r.Address)
		}
	}
	w.history.cancel(to, time.Time{})
	if _, err = l.relay.Cancel(ctx, id); err == nil {
		w.history.cancel(to, time.Now())
	}
	return err
}

// crashes tells whether one of the recipients has mail that crashes the
// mailboxes, until an operator has seen to it.
func (w *World) crashes(a *delivery.Attempt) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range a.Recipients {
		to := a.Recipients[i].Address
		if _, known := w.poison[to]; !known && !w.calm {
			w.poison[to] = w.random.IntN(12) == 0
		}
		if w.poison[to] {
			return true
		}
	}
	return false
}

// unthrottle waits until no relay does anything by itself any more, or has
// operators lift it. Mail goes to all hosts, since a rest ends with a copy that
// is taken.
func (w *World) unthrottle() {
	begun, more, waits := time.Now(), time.Minute, make(map[string]bool)
	for time.Since(begun) < throttleEnds {
		next := w.liftSome(waits)
		if next.IsZero() {
			return
		}
		time.Sleep(max(time.Until(next), 0) + more)
		more = min(2*more, 4*time.Hour)
		w.greetAll()
	}
	for i := range w.lives {
		for _, t := range w.node(i).relay.Throttles() {
			w.t.Errorf("a throttle does not end: %+v", t)
		}
	}
}

// throttleEnds is after the longest rest, and the time after which one that
// nobody tried is forgotten.
const throttleEnds = 40 * time.Hour

// liftSome lifts some throttles, and returns when the first of the others ends,
// for which somebody waits.
func (w *World) liftSome(waits map[string]bool) (next time.Time) {
	for i := range w.lives {
		l := w.node(i)
		for _, t := range l.relay.Throttles() {
			w.history.throttled(t.ID, t.Site, t.Class)
			if !waits[t.ID] && w.chance(0.6) {
				if err := l.relay.LiftThrottle(t.ID); err != nil {
					w.t.Errorf("lifting %s: %v", t.ID, err)
				}
				continue
			}
			waits[t.ID] = true
			if until := t.Until; next.IsZero() || until.Before(next) {
				next = until
			}
		}
	}
	return next
}

// greetAll sends to all hosts, from each sender in every stream.
func (w *World) greetAll() {
	for n := range 2 * (streams + 1) {
		var to []string
		for _, name := range w.names {
			to = append(to, w.newAddress(domainBehind(name)))
		}
		v := wish{}
		if s := n / 2; s < streams {
			v.stream = fmt.Sprintf("stream%d", s)
		}
		if err := w.submitNew(w.from(n), to, v); err != nil {
			w.t.Errorf("I12: nothing is taken: %v", err)
		}
	}
	time.Sleep(2 * time.Minute)
}

// domainBehind is a domain whose mail goes to a host.
func domainBehind(host string) string {
	_, domain, _ := strings.Cut(host, ".")
	switch {
	case host == bareDomain:
		return host
	case domain == "smart.test":
		return "x." + domain
	}
	return domain
}

// submitNew sends what nobody has sent before, as the application does.
func (w *World) submitNew(from string, to []string, v wish) error {
	body := w.body()
	w.history.send(to, sent{from: from, sum: digest(body), at: time.Now(), wish: v})
	id, err := w.submit(from, to, message(from, to, body), v)
	if err == nil {
		w.history.acknowledge(to, id)
	}
	return err
}

// burst sends many messages at once to few places: then connections are scarce,
// and deliveries go ahead.
func (w *World) burst(client int) {
	var domains [2]string
	for i := range domains {
		domains[i] = domainBehind(w.names[w.below(len(w.names))])
	}
	from := w.from(client)
	for range 8 + w.below(17) {
		to := make([]string, 1+w.below(3))
		for i := range to {
			to[i] = w.newAddress(domains[w.below(len(domains))])
		}
		v := wish{}
		if n := w.below(streams + 1); n < streams {
			v.stream = fmt.Sprintf("stream%d", n)
		}
		w.bursts.Go(func() { _ = w.submitNew(from, to, v) })
	}
}
