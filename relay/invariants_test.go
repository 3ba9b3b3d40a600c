package relay_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestDurableBeforeReply holds the 250, and the return of Submit, back until
// the commit is through.
func TestDurableBeforeReply(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	w := start(t, func(c *relay.Config) {
		c.Spool = &hooked{Store: c.Spool, commit: func(context.Context, spool.Commit) error {
			entered <- struct{}{}
			<-release
			return nil
		}}
	})
	c := w.dial(t, "apps")
	c.Play(envelope + message)
	<-entered
	c.Play("silent") // no reply before the commit
	release <- struct{}{}
	c.Expect("250 2.0.0")

	done := make(chan error, 1)
	go func() {
		_, err := w.relay.Submit(
			t.Context(),
			&relay.Message{To: []string{"x@elsewhere.test"}, Content: strings.NewReader(text)},
		)
		done <- err
	}()
	<-entered
	select {
	case err := <-done:
		t.Fatalf("Submit returned %v before the commit", err)
	default:
	}
	release <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestFailedCommitIsNoMessage looks for what must not be there after a commit
// that failed.
func TestFailedCommitIsNoMessage(t *testing.T) {
	for _, cause := range []error{spool.ErrFull, spool.ErrFailed, errSecret} {
		events := new(record)
		cfg := relay.Config{
			Hostname: "relay.example.test",
			Spool: &hooked{Store: memspool.New(nil), commit: func(
				context.Context, spool.Commit,
			) error {
				return cause
			}},
			Events: events.add,
		}
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := r.Submit(
			t.Context(),
			&relay.Message{To: []string{"x@elsewhere.test"}, Content: strings.NewReader(text)},
		)
		if receipt != nil || !errors.Is(err, cause) {
			t.Errorf("Submit = %v, %v; want %v", receipt, err, cause)
		}
		stats, err := r.Stats(t.Context())
		if err != nil || stats != (spool.Stats{}) {
			t.Errorf("%v: stats %+v, %v", cause, stats, err)
		}
		if got := events.all(); len(got) != 0 {
			t.Errorf("%v: events %s", cause, show(got))
		}
		r.Close()
	}
}

// TestRoomIsGivenBack sends messages that break off, are refused or are too
// large.
func TestRoomIsGivenBack(t *testing.T) {
	w := start(t, func(c *relay.Config) { c.Connectors[0].Limits.MaxMessageBytes = 65536 })
	c := w.dial(t, "apps")
	for range 3 {
		c.Play(
			envelope + "C: DATA\nS: 354\nC: Subject: x\nC: \nC> a\\nb\\r\\n\nC: .\nS: 550 5.6.11",
		)
		if got := c.transact(
			"Subject: x\r\n\r\n"+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1000),
			"app@example.test", "x@elsewhere.test",
		); !strings.HasPrefix(got, "552 5.3.4") {
			t.Fatal(got)
		}
	}
	c.Play(envelope + "C: DATA\nS: 354\nC: Subject: x\nC: \nC: half\n")
	c.Close()
	broken := errors.New("broken")
	if _, err := w.relay.Submit(
		t.Context(),
		&relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: &failing{"Subject: x\n\nhalf", broken},
		},
	); !errors.Is(err, broken) {
		t.Errorf("Submit: %v", err)
	}
	c = w.dial(t, "apps") // by now the first session has ended, or ends with the relay
	c.Play(envelope + message + "S: 250")
	w.out.wait(t, 1)
	w.events.wait(t, kind(event.Delivered))
	w.relay.Close()
	if stats, err := w.relay.Stats(t.Context()); err != nil || stats != (spool.Stats{}) {
		t.Errorf("stats %+v, %v", stats, err)
	}
}

// failing is content that ends with an error.
type failing struct {
	text string
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.text == "" {
		return 0, f.err
	}
	n := copy(p, f.text)
	f.text = f.text[n:]
	return n, nil
}

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
	store := &hooked{Store: memspool.New(nil)}
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
	time.Sleep(48 * time.Hour)
	synctest.Wait()

	stats, err := r.Stats(t.Context())
	if err != nil || stats != (spool.Stats{}) {
		t.Errorf("left in the queue: %+v, %v", stats, err)
	}
	fates, delays, named := map[string][]event.Kind{}, map[string]int{}, map[string]bool{}
	for _, e := range events.all(event.Delivered, event.Bounced, event.Expired, event.Deferred) {
		if e.From == "" && e.To[0] == "app@example.test" {
			continue // a report
		}
		if e.Report != "" {
			named[e.Report] = true
		}
		key, told := e.QueueID+" "+e.To[0], spool.NotifyFailure
		switch e.Kind {
		case event.Deferred:
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

// TestClosedByDefault builds what would be open, and what opens nothing.
func TestClosedByDefault(t *testing.T) {
	here := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	everyone := connector.AnonymousRelay("everyone", connector.Everyone()...)
	everyone.Bindings = here
	cfg := relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil),
		Connectors: []*connector.Connector{everyone},
	}
	if _, err := relay.New(cfg); err == nil || !strings.Contains(err.Error(), "Connectors[0]") {
		t.Errorf("an anonymous relay for everyone: %v", err)
	}
	open := *everyone
	open.OpenRelay = true
	cfg.Connectors = []*connector.Connector{&open}
	if _, err := relay.New(cfg); err != nil {
		t.Errorf("an open relay that is wanted: %v", err)
	}
	cfg.Connectors = []*connector.Connector{{}}
	if _, err := relay.New(cfg); err == nil {
		t.Error("a zero connector was taken")
	}
	nobody := bind(
		&connector.Connector{Name: "nobody", RemoteIPRanges: connector.Loopback()}, "127.0.0.1",
	)
	w := start(t, func(c *relay.Config) { c.Connectors = []*connector.Connector{nobody} })
	w.dial(t, "nobody").Play(
		"C: MAIL FROM:<x@elsewhere.test>\nS: 530 5.7.1\nC: AUTH PLAIN AHgAeA==\nS: 50\nC: RCPT " +
			"TO:<alice@example.test>\nS: 503",
	)
}

// TestUnknownRecipients takes recipients that do not exist, in domains of each
// type, as they are accepted and as they are delivered.
func TestUnknownRecipients(t *testing.T) {
	known := true
	var mu sync.Mutex
	some := domains.ResolverFunc(func(context.Context, domains.Address) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return known, nil
	})
	w := start(t, func(c *relay.Config) {
		c.AcceptedDomains = []domains.AcceptedDomain{
			{Domain: "authoritative.test", Recipients: some},
			{Domain: "internal.test", Type: domains.InternalRelay, Recipients: some},
			{Domain: "external.test", Type: domains.ExternalRelay},
		}
	})
	c := w.dial(t, "in")
	c.Play(
		"C: MAIL FROM:<x@elsewhere.test>\nS: 250\nC: RCPT TO:<u@authoritative.test>\nS: 250\n" +
			"C: RCPT TO:<u@internal.test>\nS: 250\n" + message + "S: 250",
	)
	w.mailboxes.wait(t, 2)
	mu.Lock()
	known = false
	mu.Unlock()
	c.Play("C: MAIL FROM:<x@elsewhere.test>\nS: 250\nC: RCPT TO:<u@authoritative.test>\nS: 550 " +
		"5.1.1\nC: RCPT TO:<u@internal.test>\nS: 250\n" +
		"C: RCPT TO:<u@external.test>\nS: 250\n" + message + "S: 250")
	w.out.wait(t, 2)
}

// TestIdentityReplacesAnonymous gives anonymous clients more than users:
// logging on takes it away.
func TestIdentityReplacesAnonymous(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		c := bind(connector.New("both", connector.Custom), "127.0.0.4")
		c.RemoteIPRanges = connector.Loopback()
		c.PermissionGroups = connector.AnonymousUsers | connector.ExchangeUsers
		c.AuthMechanisms = connector.BasicAuth
		cfg.Connectors = append(cfg.Connectors, c)
	})
	c := w.dial(t, "both")
	c.Play("C: MAIL FROM:<ceo@example.test>\nS: 250\nC: RCPT TO:<x@elsewhere.test>\nS: 550 " +
		"5.7.54\nC: RSET\nS: 250\n" + login +
		"C: MAIL FROM:<ceo@example.test>\nS: 550 5.7.60\nC: MAIL FROM:<app@example.test>\nS: " +
		"250\nC: RCPT TO:<x@elsewhere.test>\nS: 250")
}

// TestSecretsStayInside lets everything fail with a text of internals and looks
// at all that leaves the relay.
func TestSecretsStayInside(t *testing.T) {
	for name, failure := range map[string]error{
		"plain":    errSecret,
		"wrapped":  fmt.Errorf("%s: %w", secret, relay.Reject(550, "5.7.1", "Refused by policy")),
		"delivery": &delivery.Error{Op: delivery.OpDial, Err: errSecret, Permanent: true},
		"content":  &delivery.Error{Op: delivery.OpContent, Err: errSecret, Permanent: true},
		"other":    &delivery.Error{Err: errSecret, Permanent: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				box := newCapture()
				cfg := local(
					box,
					delivery.Mailbox(func(
						context.Context, domains.Address, *delivery.Attempt,
					) error {
						return failure
					}),
				)
				cfg.Retry = delivery.Retry{Schedule: []time.Duration{time.Hour}, Expires: time.Hour}
				r := run(t, cfg)
				submit(t, r, "app@example.test", "x@elsewhere.test")
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				got := box.wait(t, 1)[0]
				if !strings.Contains(got.content, "Final-Recipient: rfc822; x@elsewhere.test") {
					t.Errorf("no report: %s", got.content)
				}
				if strings.Contains(got.content, "hunter2") {
					t.Errorf("an internal error in the report:\n%s", got.content)
				}
			})
		})
	}
}

// TestOneReport makes the step that settles an attempt and queues its report
// fail once, before and after it took effect.
func TestOneReport(t *testing.T) {
	for _, tt := range []string{"commit fails", "settle fails", "open fails"} {
		t.Run(tt, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				box, events := newCapture(), new(record)
				once := sync.OnceValue(func() error { return errSecret })
				failed := false
				fail := func() error {
					if failed {
						return nil
					}
					failed = true
					return once()
				}
				store := &hooked{Store: memspool.New(nil)}
				switch tt {
				case "commit fails":
					store.commit = func(_ context.Context, c spool.Commit) error {
						if len(c.Settle) == 0 {
							return nil
						}
						return fail()
					}
				case "settle fails":
					store.settle = func(spool.Settlement) error { return fail() }
				case "open fails":
					store.create = func(spool.ID) error {
						if len(events.all(event.Attempted)) > 0 {
							return fail()
						}
						return nil
					}
				}
				taken := 0
				cfg := local(box, delivery.Mailbox(func(
					_ context.Context, to domains.Address, _ *delivery.Attempt,
				) error {
					if to.Local() == "good" {
						taken++
						return nil
					}
					return relay.Reject(550, "5.1.1", "No such user")
				}))
				cfg.Spool, cfg.Events = store, events.add
				r := run(t, cfg)
				submit(t, r, "app@example.test", "bad@elsewhere.test", "good@elsewhere.test")
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if got := box.wait(t, 1); len(got) != 1 {
					t.Errorf("%d reports", len(got))
				}
				if got := events.all(event.Bounced, event.Delivered); len(got) != 3 {
					t.Errorf("events %s", show(got))
				}
				if taken != 1 {
					t.Errorf("the good recipient got %d copies", taken)
				}
			})
		})
	}
}

// TestReportsAreNotReported lets reports fail in every way.
func TestReportsAreNotReported(t *testing.T) {
	for name, failure := range map[string]error{
		"for good":          relay.Reject(550, "5.1.1", "No"),
		"until they expire": relay.Defer(451, "4.2.1", "Later"),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				events := new(record)
				cfg := local(
					newCapture(),
					delivery.Mailbox(func(
						context.Context, domains.Address, *delivery.Attempt,
					) error {
						return failure
					}),
				)
				cfg.Events = events.add
				r := run(t, cfg)
				submit(t, r, "y@elsewhere.test", "x@elsewhere.test")
				submit(t, r, "", "x@elsewhere.test")
				time.Sleep(10 * 24 * time.Hour)
				synctest.Wait()
				got := events.all(event.Bounced, event.Expired)
				reports := slices.DeleteFunc(slices.Clone(got), func(e event.Event) bool {
					return e.Report == ""
				})
				made := 1
				if name == "until they expire" {
					made = 2 // one of the delay
				}
				if len(got) != 2+made || len(reports) != 1 ||
					len(events.all(event.Accepted)) != len(got) ||
					reports[0].From != "y@elsewhere.test" {
					t.Errorf("events %s", show(got))
				}
			})
		})
	}
}

// TestIdentityLabels expects the labels of a user on the events of what the
// user sends.
func TestIdentityLabels(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		cfg.Verifier = auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			return &auth.Identity{User: c.Username, Labels: map[string]string{"tenant": "7"}}, nil
		})
	})
	w.dial(t, "users").Play(login + envelope + message + "S: 250")
	for _, k := range []event.Kind{event.Accepted, event.Delivered} {
		if e := w.events.wait(t, kind(k)); e.Labels["tenant"] != "7" {
			t.Errorf("labels of %s: %v", k, e.Labels)
		}
	}
	_, err := w.relay.Submit(t.Context(), &relay.Message{
		To: []string{"x@elsewhere.test"}, Content: strings.NewReader(text),
		Labels: map[string]string{"order": "1"},
		Identity: &auth.Identity{
			User: "app@example.test", Labels: map[string]string{"tenant": "8", "order": "none"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	e := w.events.wait(t, func(e event.Event) bool {
		return e.Kind == event.Accepted && e.Labels["order"] != ""
	})
	if e.Labels["tenant"] != "8" || e.Labels["order"] != "1" {
		t.Errorf("labels of Submit: %v", e.Labels)
	}
}
