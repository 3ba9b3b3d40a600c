package smtpd

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
)

const (
	// A message may take this long whatever its size, and a second more for
	// every contentRate octets.
	contentGrace = 10 * time.Minute
	contentRate  = 128
	// What is read of a refused message beyond its limit before the connection
	// is closed.
	maxDrain = 1 << 20
	// The same where there is no limit.
	maxDrainUnlimited = 256 << 20
)

var (
	errAborted = errors.New("smtpd: message aborted by the client")
	errClosed  = errors.New("smtpd: read of content after its end")
)

// framing knows where the content of a message ends, and says so in ended.
type framing interface {
	// next returns the next octets of the content, which are good until the
	// next call. It returns io.EOF after the true end, also when called again.
	next() ([]byte, error)
	// finish says that the message fails, so that no more than what is under
	// way need come. It returns how much that is, as far as it is known.
	finish() int64
}

// content is the content of one message as the backend reads it: free of
// framing, io.EOF only after the true end.
type content struct {
	conn    *conn
	framing framing
	ends    lineEnds
	open    bool
	binary  bool
	limit   int64 // -1 for none

	seg   []byte // cleaned, not yet read; aliases the input or the room of ends
	size  int64  // octets of content so far
	start time.Time
	ended bool // the true end was seen, by the framing

	delivered bool          // the reader was told io.EOF
	refusal   *policy.Reply // why the message is refused
	aborted   bool          // by RSET, QUIT or EHLO between chunks
	broken    error         // the connection is of no more use
	endless   bool          // too much to drain
}

// newContent returns the content of a message that begins now. Its
// framing must be set.
func newContent(c *conn) *content {
	c.wire.in.content = true
	return &content{
		conn: c, open: true, limit: policy.SizeLimit(c.sess.Limits, c.sess.Rights),
		start:  time.Now(),
		ends:   lineEnds{repair: c.sess.Connector.RepairLineEndings},
		binary: c.tx.mail != nil && c.tx.mail.Body == "BINARYMIME",
	}
}

// end forgets the content.
func (b *content) end() {
	b.conn.wire.in.content = false
	b.open, b.seg = false, nil
}

func (b *content) input() *input { return &b.conn.wire.in }

// Read is io.Reader.
func (b *content) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(b.seg) == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.seg)
	b.seg = b.seg[n:]
	return n, nil
}

// WriteTo is io.WriterTo. It writes in the blocks that the socket gave.
func (b *content) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if len(b.seg) > 0 {
			m, err := w.Write(b.seg)
			n += int64(m)
			b.seg = b.seg[m:]
			if err != nil {
				return n, err
			}
			continue
		}
		if err := b.next(); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

// next sets seg to the next cleaned part. Its error stays.
func (b *content) next() error {
	switch {
	case !b.open:
		return errClosed
	case b.broken != nil:
		return b.broken
	case b.aborted:
		return errAborted
	case b.refusal != nil:
		return b.refusal
	}
	seg, err := b.advance()
	if err == io.EOF {
		return b.last()
	}
	if err != nil {
		return err
	}
	if b.limit >= 0 && b.size > b.limit {
		return b.refuse(policy.TooLarge.Missing(connector.BypassMessageSizeLimit))
	}
	if !b.binary {
		var ok bool
		if seg, ok = b.ends.clean(seg); !ok {
			return b.refuse(badLine())
		}
	}
	b.seg = seg
	return nil
}

// last sets seg to what was held back until the end of the content, if there is
// anything.
func (b *content) last() error {
	if !b.binary {
		seg, ok := b.ends.last()
		switch {
		case !ok:
			return b.refuse(badLine())
		case len(seg) > 0:
			b.seg = seg
			return nil
		}
	}
	b.delivered = true
	return io.EOF
}

func badLine() *policy.Reply {
	return policy.BareContent.Reply()
}

func (b *content) refuse(r *policy.Reply) error {
	b.refusal = r
	return r
}

// refused returns why the message is refused, if it is.
func (b *content) refused() error {
	if b.refusal == nil {
		return nil
	}
	return b.refusal
}

// announce refuses a message that will be too large with size octets more.
func (b *content) announce(size int64) {
	if b.limit >= 0 && size > b.limit-b.size {
		b.refusal = policy.TooLarge.Missing(connector.BypassMessageSizeLimit)
	}
}

// abort says that the client has given the message up.
func (b *content) abort() error {
	b.aborted = true
	return errAborted
}

// breakOff says that the connection is of no more use.
func (b *content) breakOff(err error) error {
	b.broken = err
	return err
}

// advance takes the next part of the content from its framing.
func (b *content) advance() ([]byte, error) {
	seg, err := b.framing.next()
	b.size += int64(len(seg))
	return seg, err
}

// fill reads more of the content. Its error is never io.EOF.
func (b *content) fill() error {
	c := b.conn
	until := c.wire.deadline(c.sess.Limits.InactivityTimeout)
	slow := b.start.Add(contentGrace + time.Duration(b.size/contentRate)*time.Second)
	if until.IsZero() || slow.Before(until) {
		until = slow
	}
	err := c.wire.fill(until, false)
	if err == nil {
		return nil
	}
	c.lost(err, false)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return b.breakOff(os.ErrDeadlineExceeded)
	}
	return b.breakOff(io.ErrUnexpectedEOF)
}

// drain reads to the true end of the content, so that none of it is taken for a
// command.
func (b *content) drain() {
	b.seg = nil
	most := b.size + maxDrainUnlimited
	if b.limit >= 0 {
		most = max(b.size, 2*b.limit) + maxDrain
	}
	for b.broken == nil && !b.aborted && !b.ended {
		if b.size+b.framing.finish() > most {
			b.endless = true
			return
		}
		if _, err := b.advance(); err == io.EOF {
			return
		}
	}
}
