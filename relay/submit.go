package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// Submit queues a message of the application. When it returns nil the message
// is durable: it survives the loss of the process and of power, as far as the
// spool does. It is all or nothing: if one recipient is refused, nothing is
// queued. Submit works before [Relay.Run]; the message then waits.
//
// # Limits
//
// The header may have 256 KiB and 30 Received fields, of which 8 by this relay,
// the labels 1 KiB in all. The content may have any size, and so may the list
// of recipients.
//
// # Errors
//
// The error holds every fault that was found, of these classes; errors.Is and
// errors.As tell them:
//
//   - Invalid: a *[postern.FieldError] for each field of the message that is
//     not what it must be, "To[2]" for one of the recipients. The same message
//     will never be taken.
//   - Refused: a *[RecipientError] for each recipient that is refused, or a
//     *[ReplyError] for the message as a whole; its Temporary tells whether
//     another time may do.
//   - Pressure: [ErrPressure], also a *ReplyError. There is no room now.
//   - Store: [ErrStore], which wraps what the spool said, such as
//     [spool.ErrFull]. Nothing is queued, but where the answer of the store was
//     lost.
//   - [ErrKeyReused], [ErrClosed], the context's error, and any other from the
//     content's reader, as it is.
func (r *Relay) Submit(ctx context.Context, m *Message) (*Receipt, error) {
	p := r.snap.Load()
	in, err := r.intakeOf(ctx, p, m)
	if err != nil {
		return nil, err
	}
	content := in.setKey(m.Key, m.Content)
	if err := r.accept(ctx, p, in, &crlfReader{r: content}); err != nil {
		return nil, submitError(err)
	}
	return in.receipt(), nil
}

func (in *intake) receipt() *Receipt {
	return &Receipt{QueueID: in.message.ID.String(), Duplicate: in.duplicate}
}

// SubmitIn is Submit with a commit in a step of somebody else, such as the
// transaction of the application that the queue's store makes a Committer of:
// the message is queued if, and only if, that step happens. The content is held
// in memory. The Accepted event is in the log with the step; [Config].Events
// does not hear of it, since the relay does not learn of the outcome.
func (r *Relay) SubmitIn(ctx context.Context, c spool.Committer, m *Message) (*Receipt, error) {
	if c == nil {
		return nil, errNoCommitter
	}
	p := r.snap.Load()
	in, err := r.intakeOf(ctx, p, m)
	if err != nil {
		return nil, err
	}
	content := in.setKey(m.Key, m.Content)
	err = r.submitIn(ctx, p, c, in, &crlfReader{r: content})
	if err != nil && !in.isRepetition(err) {
		return nil, submitError(err)
	}
	return in.receipt(), nil
}

var errNoCommitter = errors.New("relay: nil Committer")

func (r *Relay) submitIn(
	ctx context.Context, p *snapshot, c spool.Committer, in *intake, content io.Reader,
) error {
	var w memory
	commit, _, err := r.prepare(ctx, p, in, content,
		func(context.Context, spool.ID) (spool.Writer, error) { return &w, nil })
	if err != nil {
		return err
	}
	err = in.claim.commit(func() error {
		return storeError(c.Commit(ctx, &spool.Prepared{Commit: commit, Content: w.Bytes()}))
	})
	if err == nil {
		r.sched.Wake()
	}
	return err
}

// memory is the writer of SubmitIn.
type memory struct{ bytes.Buffer }

func (*memory) Commit(context.Context, spool.Commit) error { return nil }
func (*memory) Abort() error                               { return nil }

// intakeOf checks the envelope of a submitted message, all faults at once.
func (r *Relay) intakeOf(ctx context.Context, p *snapshot, m *Message) (*intake, error) {
	switch {
	case ctx == nil:
		return nil, errNoContext
	case m == nil:
		return nil, errNoMessage
	case r.isClosed():
		return nil, ErrClosed
	}
	in := &intake{
		client: policy.Client{Rights: policy.AllRights},
		message: spool.Message{
			EnvelopeID: m.EnvelopeID, Return: m.Return, Labels: m.Labels, Stream: m.Stream,
		},
		schedule: schedule{m.NotBefore, m.Expires},
		limits:   connector.Limits{}.WithDefaults(connector.Custom),
		trace:    header.Received{By: p.cfg.Hostname, With: "LOCAL"},
	}
	errs := m.check(time.Now())
	if m.Identity != nil {
		in.client.Identity = m.Identity
		in.client.Rights &^= connector.AcceptAnySender
		in.message.Origin.User = m.Identity.User
	}
	if err := in.submitFrom(p, m.From); err != nil {
		errs = append(errs, err)
	}
	if refusal := policy.DecideLoad(r.monitor.Current(ctx), in.client); refusal != nil {
		errs = append(errs, submitError(refusal))
	}
	for i, s := range m.To {
		if err := in.submitTo(ctx, p.rules, i, s, m.Notify); err != nil {
			errs = append(errs, err)
		}
	}
	return in, errors.Join(errs...)
}

// submitFrom takes the sender.
func (in *intake) submitFrom(p *snapshot, s string) error {
	if s == "" {
		return nil
	}
	from, err := domains.Parse(complete(p.rules, s))
	if err != nil {
		return invalid("From", s, err)
	}
	in.from, in.message.From, in.message.UTF8 = from, from.String(), from.UTF8()
	if refusal := p.rules.DecideMail(in.client, from); refusal != nil {
		return replyError(refusal)
	}
	return nil
}

// submitTo takes one recipient.
func (in *intake) submitTo(
	ctx context.Context, p *policy.Rules, i int, s string, notify spool.Notify,
) error {
	to, err := domains.Parse(complete(p, s))
	if err != nil {
		return &postern.FieldError{
			Field: fmt.Sprintf("To[%d]", i), Err: &RecipientError{Recipient: s, Err: err},
		}
	}
	if refusal := policy.DecideLength(in.from, to); refusal != nil {
		return &RecipientError{Recipient: s, Err: replyError(refusal)}
	}
	t, refusal := p.DecideRcpt(ctx, in.client, to)
	if refusal != nil {
		return &RecipientError{Recipient: s, Err: submitError(refusal)}
	}
	in.message.UTF8 = in.message.UTF8 || to.UTF8()
	in.rcpts = append(in.rcpts, routing.Recipient{To: to, Placement: t, Notify: notify})
	return nil
}

// crlfReader ends every line with CRLF: bare LF becomes CRLF. Bare CR stays,
// since it is refused in headers: a field that a name or a subject brings along
// is not what the application meant. Elsewhere [crWriter] makes a line end of
// it.
type crlfReader struct {
	r      io.Reader
	raw    [4096]byte
	out    []byte // converted and not read yet
	buf    []byte // of out, where it is not of raw
	cr     bool   // the last octet was CR
	closed error
}

// Read converts as it reads.
func (c *crlfReader) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if c.closed != nil {
			return 0, c.closed
		}
		n, err := c.r.Read(c.raw[:])
		if bytes.IndexByte(c.raw[:n], 0) >= 0 {
			// RFC 5322 section 4: nowhere in a message, and no next hop takes
			// it.
			c.closed = policy.NUL.Because(errNUL)
			return 0, c.closed
		}
		c.out, c.closed = c.convert(c.raw[:n]), err
		if err == io.EOF && c.cr {
			c.out = append(c.out, '\n')
			c.cr = false
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// convert returns b with CRLF for every bare LF. It copies only if there is
// one.
func (c *crlfReader) convert(b []byte) []byte {
	c.buf = c.buf[:0]
	done := 0
	for i := 0; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			break
		}
		if i += n; i == 0 && c.cr || i > 0 && b[i-1] == '\r' {
			continue
		}
		c.buf = append(append(c.buf, b[done:i]...), '\r')
		done = i
	}
	if len(b) > 0 {
		c.cr = b[len(b)-1] == '\r'
	}
	if done == 0 && len(c.buf) == 0 {
		return b[:len(b):len(b)]
	}
	c.buf = append(c.buf, b[done:]...)
	return c.buf
}

// crWriter makes CRLF of every bare CR. A CR at the end of what it is given
// waits for what follows.
type crWriter struct {
	w   io.Writer
	cr  bool // held back
	buf []byte
}

func (c *crWriter) Write(p []byte) (int, error) {
	if !c.cr && bytes.Count(p, []byte{'\r'}) == bytes.Count(p, []byte("\r\n")) {
		return c.w.Write(p)
	}
	c.buf = c.buf[:0]
	for _, b := range p {
		if c.cr {
			c.buf = append(c.buf, '\r', '\n')
			if c.cr = false; b == '\n' {
				continue
			}
		}
		if c.cr = b == '\r'; !c.cr {
			c.buf = append(c.buf, b)
		}
	}
	if _, err := c.w.Write(c.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}
