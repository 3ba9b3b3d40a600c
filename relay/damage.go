package relay

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// enhancedDamaged is "other or undefined mail system status" (RFC 3463 section
// 3.4): the fault is neither the message's nor the recipient's.
const enhancedDamaged = "5.3.0"

// damaged tells of a message whose content is lost for good. Who holds its
// lease and does not find it has lost it too.
func damaged(err error) bool {
	return errors.Is(err, spool.ErrDamaged) || errors.Is(err, spool.ErrNotFound)
}

// lose ends a delivery of which the store does not know any more whom it is
// for. There is nobody to send a report to: the event and the log tell of it.
func (r *Relay) lose(ctx context.Context, p *snapshot, l *spool.Lease) {
	id := l.Message.ID.String()
	var to []string
	for _, rcpt := range l.Delivery.Recipients {
		to = append(to, rcpt.Address)
	}
	attrs := []any{"queue_id", id, "err", l.Damaged}
	if len(to) > 0 {
		attrs = append(attrs, "from", l.Message.From, "to", to)
	}
	p.log.Error("message lost: its envelope is damaged", attrs...)
	e := aboutMessage(&l.Message, time.Now())
	e.Kind, e.To, e.Attempt = event.Removed, to, l.Delivery.Attempts
	e.Enhanced, e.Text = enhancedDamaged, oneLine(l.Damaged.Error())
	e.Identify()
	s := spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Events: r.eventLog.records(e),
	}
	if err := r.settle(ctx, s); err != nil {
		r.unsettled(p, l, err)
		return
	}
	r.tell(p, e)
}

var errOriginal = errors.New("relay: the original cannot be read")

// original is the content that a report attaches. It remembers why it could not
// be read.
type original struct {
	io.ReadCloser
	err error
}

func (o *original) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		o.err = err
	}
	return n, err
}
