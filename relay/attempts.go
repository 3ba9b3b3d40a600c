package relay

import (
	"bytes"
	"context"
	"time"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/attempt"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// newDeliverer returns what makes attempts.
func (r *Relay) newDeliverer() *attempt.Deliverer {
	return attempt.New(attempt.Config{
		Store: r.store, Leases: leases{r}, Events: told{r}, Now: r.now, Learn: r.learn,
		Settings: func() *attempt.Settings { return r.snap.Load().attempts },
	})
}

// attemptSettings are what a configuration says of attempts.
func (p *snapshot) attemptSettings() *attempt.Settings {
	return &attempt.Settings{
		Hostname: p.cfg.Hostname, Postmaster: p.rules.Postmaster.String(), Routes: p.routes,
		Retry: p.retry, Signer: signing{p.signer}, Log: p.log,
	}
}

// deliver makes one attempt for the scheduler.
func (r *Relay) deliver(ctx context.Context, l *spool.Lease, left func(sched.Lesson)) {
	r.attempts.Deliver(ctx, l, func(lesson attempt.Lesson) {
		health := sched.Reached
		if !lesson.Reached {
			health = sched.Unreachable
		}
		left(sched.Lesson{Health: health, Class: lesson.Refused()})
	})
}

// overdue tells the scheduler what a delivery has coming without an attempt.
func (r *Relay) overdue(l *spool.Lease) (sched.Overdue, time.Time) {
	state, changes := r.attempts.Overdue(l)
	switch state {
	case attempt.Late:
		return sched.Late, changes
	case attempt.Expired:
		return sched.Expired, changes
	case attempt.Untried:
		return sched.Untried, changes
	}
	return sched.OnTime, changes
}

// leases are those that the scheduler holds, which is made later.
type leases struct{ r *Relay }

func (l leases) Unsettled(id spool.DeliveryID, rest time.Duration) { l.r.sched.Unsettled(id, rest) }
func (l leases) Wake()                                             { l.r.sched.Wake() }

// told tells of attempts: the application, and the log of the store. Both give
// events their ids, so that nothing is paid for those that nobody gets.
type told struct{ r *Relay }

func (t told) About(queueID string, m *spool.Message) event.Event {
	return aboutMessage(queueID, m, t.r.now())
}

func (t told) Record(list []spool.Record, e *event.Event) []spool.Record {
	return t.r.eventLog.record(list, e)
}

func (t told) Publish(e event.Event) {
	if to := t.r.snap.Load().cfg.Events; to != nil {
		if e.ID == "" {
			e.Identify()
		}
		t.r.events.publish(to, e)
	}
}

func (t told) Expect(e event.Event) {
	if to := t.r.snap.Load().cfg.Events; to != nil {
		t.r.events.expect(to, e)
	}
}

func (t told) Announce(queueID string) { t.r.events.announce(queueID) }
func (t told) Forget(queueID string)   { t.r.events.forget(queueID) }

// signing signs what the relay itself writes.
type signing struct{ *intake.Signer }

// Begin reads the author from the header section.
func (s signing) Begin(id string, section []byte) (*msgauth.Signing, error) {
	h, _, err := header.Read(bytes.NewReader(section), int64(len(section)))
	if err != nil {
		return nil, err
	}
	defer h.Release()
	return s.Signer.Begin(id, h.Value("From"), section)
}

func (s signing) Unfit(id string, err error) {
	s.Unsigned(id, "", "it cannot be signed", err)
}

func (s signing) KeyGone(id string) {
	s.Unsigned(id, "", "it had to be converted to 7-bit, and its key is gone", nil)
}
