package relay

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/spool"
)

// Message is a message that the application submits itself.
type Message struct {
	// From is the reverse-path: a mailbox, or empty for the null sender.
	From string
	// To are the recipients, at least one. Who is named twice gets one copy.
	To []string
	// Content is header and body. Lines may end in LF; they are stored with
	// CRLF. Date and Message-ID are added when they are missing, and so is a
	// From field, of the mailbox From; without either the message is refused,
	// and so it is with two From fields. Bcc is removed. A bare CR in the
	// header, or in that of a part, and NUL anywhere, are refused with 550
	// 5.6.11.
	Content io.Reader
	// Identity limits the sender, and the From and Sender fields, to what it
	// owns, as if it had logged on. Defaults to nil: the application may send
	// as anyone.
	Identity *auth.Identity
	// Notify asks for reports (RFC 3461). Defaults to reports of failure and
	// delay.
	Notify spool.Notify
	// EnvelopeID comes back in reports. At most 100 printable ASCII characters.
	EnvelopeID string
	// Return is FULL or HDRS: what of the message a report holds. Defaults to
	// the relay's choice.
	Return string
	// Labels appear on the events of the message.
	Labels map[string]string
	// Size is the length of the content, 0 if unknown. [Client.Submit] refuses
	// one over the limit before it reads the content.
	Size int64
}

// Receipt tells of a message taken over.
type Receipt struct {
	// QueueID is the message's id in events, logs and trace fields.
	QueueID string
}

var (
	errNoRecipients = errors.New("relay: a message needs at least one recipient")
	errNoContent    = errors.New("relay: a message needs content")
	errNUL          = errors.New("relay: the content holds a NUL octet")
	errReturn       = errors.New("relay: Return is FULL, HDRS or empty")
	errEnvelopeID   = errors.New("relay: EnvelopeID is not 1 to 100 printable ASCII characters")
)

// Submit queues a message of the application. When it returns nil the message
// is durable: it survives the loss of the process and of power, as far as the
// spool does. It is all or nothing: if one recipient is refused, nothing is
// queued, and the error holds a [*RecipientError] for each refused one. Submit
// works before [Relay.Run]; the message then waits.
func (r *Relay) Submit(ctx context.Context, m *Message) (*Receipt, error) {
	p := r.snap.Load()
	in, err := r.intakeOf(ctx, p, m)
	if err != nil {
		return nil, err
	}
	if err := r.accept(ctx, p, in, &crlfReader{r: m.Content}); err != nil {
		return nil, publicError(err)
	}
	return &Receipt{QueueID: in.message.ID.String()}, nil
}

// Prepare makes a message ready without queueing it, for a store that commits
// it inside a transaction of the application. The checks are Submit's. The
// content is held in memory. No Accepted event is published, since the relay
// does not learn of the commit.
func (r *Relay) Prepare(ctx context.Context, m *Message) (*spool.Prepared, error) {
	p := r.snap.Load()
	in, err := r.intakeOf(ctx, p, m)
	if err != nil {
		return nil, err
	}
	var w memory
	c, _, err := r.prepare(ctx, p, in, &crlfReader{r: m.Content},
		func(context.Context, spool.ID) (spool.Writer, error) { return &w, nil })
	if err != nil {
		return nil, publicError(err)
	}
	return &spool.Prepared{Commit: c, Content: w.Bytes()}, nil
}

// publicError gives callers of Submit the exported error types. Errors of the
// content's reader and of the store stay what they are.
func publicError(err error) error {
	if r, ok := errors.AsType[*smtpd.Reply](err); ok {
		return replyError(r)
	}
	return err
}

// memory is the writer of Prepare.
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
		client: client{rights: allRights},
		message: spool.Message{
			EnvelopeID: m.EnvelopeID, Return: m.Return, Labels: m.Labels,
		},
		limits: connector.Limits{}.WithDefaults(connector.Custom),
		trace:  header.Received{By: p.cfg.Hostname, With: "LOCAL"},
	}
	var errs []error
	if m.Identity != nil {
		in.client.identity = m.Identity
		in.client.rights &^= connector.AcceptAnySender
		in.message.Origin.User = m.Identity.User
	}
	if m.From != "" {
		from, err := domains.Parse(p.rules.completeAddress(m.From))
		if err != nil {
			errs = append(errs, err)
		} else if refusal := p.rules.decideMail(in.client, from); refusal != nil {
			errs = append(errs, replyError(refusal))
		}
		in.from = from
	}
	if refusal := decideLoad(r.monitor.current(ctx), in.client); refusal != nil {
		errs = append(errs, replyError(refusal))
	}
	in.message.From = in.from.String()
	in.message.UTF8 = in.from.UTF8()
	if len(m.To) == 0 {
		errs = append(errs, errNoRecipients)
	}
	if m.Content == nil {
		errs = append(errs, errNoContent)
	}
	if m.Return != "" && m.Return != "FULL" && m.Return != "HDRS" {
		errs = append(errs, errReturn)
	}
	if !validEnvelopeID(m.EnvelopeID) {
		errs = append(errs, errEnvelopeID)
	}
	for _, s := range m.To {
		rcpt, err := p.rules.submitTo(ctx, in, s)
		if err != nil {
			errs = append(errs, &RecipientError{Recipient: s, Err: err})
			continue
		}
		rcpt.notify = m.Notify
		in.message.UTF8 = in.message.UTF8 || rcpt.to.UTF8()
		in.rcpts = append(in.rcpts, rcpt)
	}
	return in, errors.Join(errs...)
}

func (p *rules) submitTo(ctx context.Context, in *intake, s string) (recipient, error) {
	to, err := domains.Parse(p.completeAddress(s))
	if err != nil {
		return recipient{}, err
	}
	if refusal := smtpd.DecideLength(in.from, to); refusal != nil {
		return recipient{}, replyError(refusal)
	}
	t, refusal := p.decideRcpt(ctx, in.client, to)
	if refusal != nil {
		return recipient{}, replyError(refusal)
	}
	return recipient{to: to, target: t}, nil
}

func validEnvelopeID(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= 100
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
			c.closed = replyNUL()
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
