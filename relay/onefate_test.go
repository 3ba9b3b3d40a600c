package relay_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// fickle is a transport whose answers are drawn by lot.
type fickle struct {
	mu    sync.Mutex
	rand  *rand.Rand
	taken map[string]int // by queue id and recipient
}

func (f *fickle) Deliver(_ context.Context, a *delivery.Attempt) []delivery.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.rand.IntN(12) {
	case 0:
		panic(secret)
	case 1:
		return nil
	}
	n := len(a.Recipients)
	if f.rand.IntN(8) == 0 {
		n-- // the last one is left out
	}
	results := make([]delivery.Result, n)
	for i := range results {
		switch f.rand.IntN(10) {
		case 0, 1:
			results[i].Err = relay.Reject(550, "5.1.1", "No such user")
		case 2:
			results[i].Err = &delivery.Error{
				Op: delivery.OpRcpt, Permanent: true,
				Reply: delivery.Reply{Code: 550, Enhanced: "5.7.1", Text: "No"},
			}
		case 3:
			results[i].Err = &delivery.Error{Op: delivery.OpDial, Err: errSecret}
		case 4, 5, 6:
			results[i].Err = errSecret
		case 7:
			results[i].Err = relay.Defer(451, "4.2.1", "Later")
		default:
			results[i].Delivered = true
			f.taken[a.QueueID+" "+a.Recipients[i].Address]++
		}
	}
	return results
}

// TestOneFate follows random messages to random recipients over transports that
// fail at random, while the spool now and then fails to settle: each recipient
// ends in one fate, and the sender is told once of what it wants to know.
func TestOneFate(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { oneFate(t, seed) })
		})
	}
}

func oneFate(t *testing.T, seed uint64) {
	lot := rand.New(rand.NewPCG(seed, 1))
	out := &fickle{rand: rand.New(rand.NewPCG(seed, 2)), taken: map[string]int{}}
	in := &fickle{rand: rand.New(rand.NewPCG(seed, 3)), taken: map[string]int{}}
	events, reports := new(record), new(record)
	queue := memspool.New(nil)
	store := &hooked{Store: queue}
	var mu sync.Mutex
	spoolLot, broken := rand.New(rand.NewPCG(seed, 4)), seed%2 == 1
	failures := map[string]int{}
	unlucky := func(s spool.Settlement) error { // never more than a delivery has patience for
		mu.Lock()
		defer mu.Unlock()
		key := fmt.Sprint(s.ID, s.Token)
		if broken && failures[key] < 4 && spoolLot.IntN(4) == 0 {
			failures[key]++
			return fmt.Errorf("%w: %w", spool.ErrFull, errSecret)
		}
		return nil
	}
	store.settle = unlucky
	store.commit = func(_ context.Context, c spool.Commit) error {
		if len(c.Settle) > 0 {
			return unlucky(c.Settle[0])
		}
		return nil
	}
	cfg := local(delivery.TransportFunc(func(
		ctx context.Context, a *delivery.Attempt,
	) []delivery.Result {
		if a.Recipients[0].Address == "app@example.test" { // the sender, who hears of failures
			reports.add(event.Event{QueueID: a.QueueID, From: a.Message.From})
			return a.All(delivery.Result{Delivered: true})
		}
		return in.Deliver(ctx, a)
	}), out)
	cfg.Spool, cfg.Events = store, events.add
	cfg.Retry = delivery.Retry{
		Schedule: []time.Duration{time.Minute, 10 * time.Minute}, Expires: 2 * time.Hour,
		DelayNotification: 5 * time.Minute,
	}
	r := run(t, cfg)

	want := map[string]spool.Notify{} // by queue id and recipient
	for range 40 {
		pool := []string{
			"alice@example.test", "bob@example.test", "x@elsewhere.test", "y@elsewhere.test",
			"z@else.test",
		}
		lot.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
		to := pool[:1+lot.IntN(len(pool))]
		m := &relay.Message{To: to, Content: strings.NewReader(text), Notify: []spool.Notify{
			0, spool.NotifyNever, spool.NotifySuccess, spool.NotifyDelay,
			spool.NotifySuccess | spool.NotifyFailure,
		}[lot.IntN(5)]}
		asked := spool.NotifyNever
		if lot.IntN(4) > 0 {
			m.From, asked = "app@example.test", m.Notify
		}
		receipt, err := r.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range to {
			want[receipt.QueueID+" "+a] = cmp.Or(asked, spool.NotifyFailure|spool.NotifyDelay)
		}
		time.Sleep(time.Duration(lot.IntN(300)) * time.Second) // on the clock of the bubble
	}
	for range 48 {
		time.Sleep(time.Hour)
		releasePoison(t, queue)
	}
	synctest.Wait()

	stats, err := r.Stats(t.Context())
	if err != nil || stats != (spool.Stats{}) {
		t.Errorf("left in the queue: %+v, %v", stats, err)
	}
	fates, delays, named := map[string][]event.Kind{}, map[string]int{}, map[string]bool{}
	for _, e := range events.all(event.Delivered, event.Bounced, event.Expired, event.Deferred,
		event.Poisoned) {
		if e.From == "" && e.To[0] == "app@example.test" {
			continue // a report
		}
		if e.Report != "" {
			named[e.Report] = true
		}
		key, told := e.QueueID+" "+e.To[0], spool.NotifyFailure
		switch e.Kind {
		case event.Deferred, event.Poisoned:
			if e.Report != "" {
				delays[key]++
			}
			continue
		case event.Delivered:
			told = spool.NotifySuccess
		}
		fates[key] = append(fates[key], e.Kind)
		if (e.Report != "") != (want[key]&told != 0) {
			t.Errorf("%s, which asked for %s, is %s: report %q", key, want[key], e.Kind, e.Report)
		}
	}
	for key, n := range delays {
		if n > 1 || want[key]&spool.NotifyDelay == 0 {
			t.Errorf("%s, which asked for %s: %d reports of delay", key, want[key], n)
		}
	}
	if len(delays) == 0 {
		t.Error("no report of delay")
	}
	for key := range want {
		if len(fates[key]) != 1 {
			t.Errorf("%s has the fates %v", key, fates[key])
			continue
		}
		taken := out.taken[key] + in.taken[key]
		if delivered := fates[key][0] == event.Delivered; delivered != (taken > 0) ||
			!broken && taken > 1 {
			t.Errorf("%s: %v, taken %d times", key, fates[key][0], taken)
		}
	}
	got := map[string]bool{}
	for _, e := range reports.all() {
		if e.From != "" || !named[e.QueueID] || got[e.QueueID] && !broken {
			t.Errorf("report %s from <%s>", e.QueueID, e.From)
		}
		got[e.QueueID] = true
	}
	if len(got) != len(named) {
		t.Errorf("%d reports arrived, %d are named by events", len(got), len(named))
	}
}

// releasePoison lets what was set aside be tried again.
func releasePoison(t *testing.T, s *memspool.Store) {
	t.Helper()
	items, err := s.List(t.Context(), spool.Query{State: spool.StatePoison, Max: 1000})
	for i := range items {
		var l spool.Lease
		if l, err = s.Take(t.Context(), items[i].Delivery.ID, time.Minute); err != nil {
			break
		}
		err = s.Settle(t.Context(), spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token, Due: time.Now(), Attempts: l.Delivery.Attempts,
			Remaining: l.Delivery.Recipients,
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestEventsInOrder commits a message and lets its delivery run before the
// committer goes on.
func TestEventsInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		events := new(record)
		store := &hooked{Store: memspool.New(nil), wake: make(chan struct{}, 1)}
		store.after = func(spool.Commit) {
			store.wake <- struct{}{}
			time.Sleep(time.Millisecond) // on the clock of the bubble: everything else goes first
		}
		cfg := local(newCapture(), newCapture())
		cfg.Spool, cfg.Events = store, events.add
		r := run(t, cfg)
		submit(t, r, "app@example.test", "x@elsewhere.test")
		synctest.Wait()
		got := events.all()
		if len(got) != 3 || got[0].Kind != event.Accepted || got[1].Kind != event.Attempted ||
			got[2].Kind != event.Delivered {
			t.Errorf("events %s", show(got))
		}
	})
}
