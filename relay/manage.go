package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/attempt"
	"github.com/postern-mail/postern/relay/spool"
)

// ErrNotFound answers Status, Cancel and Reschedule for a message that is not
// in the queue: it is unknown, or nothing of it waits any more. It answers
// LiftThrottle for a throttle that is unknown or has ended.
var ErrNotFound = errors.New("relay: not found")

const (
	// takeTTL is how long an operation may hold a delivery.
	takeTTL = time.Minute
	// settleLimit bounds the settling of an operation, whatever its context.
	settleLimit = 30 * time.Second
)

// Status is what the queue says of a message.
type Status struct {
	QueueID  string
	ReportOf string // as in event.Event
	Stream   string
	From     string
	Accepted time.Time
	Size     int64
	Labels   map[string]string
	// Recipients are those that wait. What became of the others is in the
	// events: the queue forgets who has met a fate.
	Recipients []RecipientStatus
}

// RecipientStatus is how one recipient stands.
type RecipientStatus struct {
	Address string
	// State is waiting, leased (an attempt is under way), held, or poison (set
	// aside, since attempts crash: see Poison in the overview).
	State spool.State
	// Attempts counts those made, Crashes the last ones in a row that crashed.
	Attempts, Crashes int
	// Next is when another attempt is due; zero for a copy that is held or set
	// aside. Expires is when the copy is given up.
	Next, Expires time.Time
	// Enhanced, Text and Host are what the last attempt met: the reply, or the
	// local cause in words that a sender may read. Empty before it.
	Enhanced, Text, Host string
	// Class is that of Text and Enhanced. It may differ from that of the last
	// event, which also knew the step that failed. Empty before an attempt.
	Class bounce.Class
}

// Status returns what the queue says of a message, by its queue id. The store
// needs a [spool.Manager]: without one the error is [errors.ErrUnsupported]. A
// message of which nothing waits any more is [ErrNotFound].
func (r *Relay) Status(ctx context.Context, queueID string) (*Status, error) {
	_, m, items, err := r.find(ctx, queueID)
	if err != nil {
		return nil, err
	}
	s := statusOf(&m)
	for i := range items {
		s.add(&items[i])
	}
	return s, nil
}

func statusOf(m *spool.Message) *Status {
	return &Status{
		QueueID: m.ID.String(), Stream: m.Stream, From: m.From, Accepted: m.Created, Size: m.Size,
		Labels: m.Labels, ReportOf: idText(m.ReportOf),
	}
}

// add adds the recipients of a delivery.
func (s *Status) add(item *spool.Item) {
	d := &item.Delivery
	for _, rcpt := range d.Recipients {
		status := RecipientStatus{
			Address: rcpt.Address, State: item.State, Attempts: d.Attempts,
			Crashes: d.Crashes, Expires: d.Expires,
			Enhanced: rcpt.Status, Text: rcpt.Diagnostic, Host: rcpt.Host,
			Class: attempt.Class(&rcpt),
		}
		if !d.Held {
			status.Next = d.Due
		}
		s.Recipients = append(s.Recipients, status)
	}
}

// Cancel takes a message from the queue and returns how many recipients will
// not get it. Each has the fate [event.Removed]; nobody is sent a report.
// Copies that an attempt is under way for are left: then the error is
// [ErrUnderWay], and Cancel may be called again. Errors are otherwise those of
// [Relay.Status].
func (r *Relay) Cancel(ctx context.Context, queueID string) (recipients int, err error) {
	return r.change(ctx, queueID, func(l *spool.Lease, s *spool.Settlement) []event.Event {
		s.Remaining = nil
		return r.removed(l, "Removed by the application")
	})
}

// Reschedule makes the next attempt at a message due at a time, which may have
// passed, and releases what is held or set aside: its crashes count from 0. The
// time when copies are given up stays; one later than that is an error, but for
// what is held or set aside: that gets one attempt, however old it has become.
// Copies that an attempt is under way for are left: then the error is
// [ErrUnderWay]. Errors are otherwise those of [Relay.Status].
func (r *Relay) Reschedule(ctx context.Context, queueID string, next time.Time) error {
	_, _, items, err := r.find(ctx, queueID)
	if err != nil {
		return err
	}
	for i := range items {
		if d := &items[i].Delivery; !d.Held && !next.Before(d.Expires) {
			return invalid("next", next.Format(time.RFC3339), errExpired)
		}
	}
	_, err = r.change(ctx, queueID, func(l *spool.Lease, s *spool.Settlement) []event.Event {
		s.Due = next
		if l.Delivery.Held {
			r.release(l, s)
		}
		return nil
	})
	r.sched.Wake()
	return err
}

// release has what was held or set aside get an attempt, however old it is: it
// counts as untried here, and elsewhere if it is due well behind its end.
func (r *Relay) release(l *spool.Lease, s *spool.Settlement) {
	r.attempts.Forget(l.Delivery.ID)
	if now := r.now(); s.Due.Before(now) {
		s.Due = now
	}
}

var errExpired = errors.New("is not before the message expires")

// manager is that of the store.
func (r *Relay) manager(ctx context.Context) (spool.Manager, error) {
	if ctx == nil {
		return nil, errNoContext
	}
	m, ok := r.store.(spool.Manager)
	if !ok {
		return nil, fmt.Errorf("relay: %T has no spool.Manager: %w", r.store,
			errors.ErrUnsupported)
	}
	return m, nil
}

// find looks a message up by its queue id.
func (r *Relay) find(
	ctx context.Context, queueID string,
) (spool.Manager, spool.Message, []spool.Item, error) {
	m, err := r.manager(ctx)
	if err != nil {
		return nil, spool.Message{}, nil, err
	}
	id, err := spool.ParseID(queueID)
	if err != nil {
		return nil, spool.Message{}, nil, fmt.Errorf("%w: message %q", ErrNotFound, cut(queueID))
	}
	message, items, err := m.Find(ctx, id)
	if errors.Is(err, spool.ErrNotFound) || err == nil && len(items) == 0 {
		err = fmt.Errorf("%w: message %q", ErrNotFound, queueID)
	}
	return m, message, items, err
}

// change takes each delivery of a message and settles it as f says, with its
// events. It returns how many recipients that was done for.
func (r *Relay) change(
	ctx context.Context, queueID string,
	f func(*spool.Lease, *spool.Settlement) []event.Event,
) (recipients int, err error) {
	m, _, items, err := r.find(ctx, queueID)
	if err != nil {
		return 0, err
	}
	changed := false
	var errs []error
	for i := range items {
		l, err := m.Take(ctx, items[i].Delivery.ID, takeTTL)
		switch {
		case errors.Is(err, spool.ErrNotFound): // it has just met its fate
			continue
		case errors.Is(err, spool.ErrLeased):
			err = fmt.Errorf("relay: an attempt at %s is %w", queueID, ErrUnderWay)
		case err == nil && l.Damaged != nil:
			err = r.giveUp(ctx, &l, l.Damaged)
		case err == nil:
			err = r.settleChange(ctx, &l, f)
		}
		if err == nil {
			changed, recipients = true, recipients+len(l.Delivery.Recipients)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil || changed {
		return recipients, err
	}
	return 0, fmt.Errorf("%w: message %q", ErrNotFound, queueID)
}

// giveUp hands a delivery back that was not changed. Of a damaged one an
// attempt makes the loss known.
func (r *Relay) giveUp(ctx context.Context, l *spool.Lease, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	held := spool.Held{ID: l.Delivery.ID, Token: l.Token}
	return errors.Join(cause, r.store.Return(ctx, 0, []spool.Held{held}))
}

func (r *Relay) settleChange(
	ctx context.Context, l *spool.Lease, f func(*spool.Lease, *spool.Settlement) []event.Event,
) error {
	d := &l.Delivery
	s := spool.Settlement{
		ID: d.ID, Token: l.Token, Remaining: d.Recipients, Due: d.Due, Attempts: d.Attempts,
	}
	events := f(l, &s)
	for i := range events {
		s.Events = r.eventLog.record(s.Events, &events[i])
	}
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	if err := r.store.Settle(settle, s); err != nil {
		return r.giveUp(ctx, l, err)
	}
	if len(s.Remaining) == 0 {
		r.attempts.Forget(d.ID)
	}
	if to := r.snap.Load().cfg.Events; to != nil {
		for _, e := range events {
			r.events.publish(to, e)
		}
	}
	return nil
}

// removed are the events of recipients that are taken from the queue.
func (r *Relay) removed(l *spool.Lease, text string) []event.Event {
	events := make([]event.Event, 0, len(l.Delivery.Recipients))
	id := l.Message.ID.String()
	for _, rcpt := range l.Delivery.Recipients {
		e := aboutMessage(id, &l.Message, r.now())
		e.Kind, e.To, e.Attempt = event.Removed, []string{rcpt.Address}, l.Delivery.Attempts
		e.Text = text
		e.Identify()
		events = append(events, e)
	}
	return events
}
