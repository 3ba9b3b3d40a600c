package intake

import (
	"errors"
	"io"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

// sign begins to sign a message, if this relay signs for its author's domain.
// It returns nil if not.
//
// Only what an authenticated user, a relaying host or the application sends is
// signed: a stranger who writes to one of our recipients must not get our
// signature on his From field.
func (in *Intake) sign(m *Message) (*msgauth.Signing, error) {
	h, extra, d := m.header, m.extra, in.Signer
	known := m.Client.Identity != nil || m.Client.Rights.Has(connector.AcceptAnyRecipient)
	if d.keys == nil || !known {
		return nil, nil
	}
	section := make([]byte, 0, len(extra)+len(h.Bytes()))
	section = append(append(section, extra...), h.Bytes()...)
	s, err := d.Begin(m.Spool.ID.String(), h.Value("From"), section)
	switch {
	case errors.Is(err, msgauth.ErrFrom):
		return nil, policy.TwoFrom.Reply()
	case errors.Is(err, msgauth.ErrTooManyFields):
		return nil, policy.TooManyFields.Reply()
	}
	return s, err
}

// write writes header and body, and returns the signatures that belong in
// front of them and the octets written. The signatures cover extra as well.
func (in *Intake) write(w io.Writer, m *Message) (signature []byte, size int64, err error) {
	s, err := in.sign(m)
	if err != nil {
		return nil, 0, err
	}
	body := m.body
	if m.Spool.Body == "BINARYMIME" || !m.SMTP {
		body = sevenbit.Lines(m.header.Values("Content-Type"), m.body)
	}
	out := &eightBitScanner{w: w, eight: !sevenbit.ASCII(m.extra)}
	to := io.Writer(out)
	if s != nil {
		to = io.MultiWriter(out, s)
	}
	if m.submission() && m.Spool.Body != "BINARYMIME" {
		to = &lineBreaker{w: to}
	}
	if !m.SMTP {
		to = &crWriter{w: to}
	}
	if _, err = out.Write(m.header.Bytes()); err == nil {
		_, err = io.Copy(to, body)
	}
	switch {
	case errors.Is(err, sevenbit.ErrLines):
		err = policy.BareLine.Reply()
	case errors.Is(err, sevenbit.ErrUnfit):
		err = policy.UnclearParts.Because(err)
	}
	if s != nil {
		err = errors.Join(err, s.Close())
		signature = s.Fields()
	}
	if out.eight && m.Spool.Body != "BINARYMIME" {
		m.Spool.Body = "8BITMIME" // whatever was declared: the next hop must know (RFC 6152)
	}
	return signature, out.n, err
}

// eightBitScanner counts what passes, and notes whether any of it has the
// eighth bit set.
type eightBitScanner struct {
	w     io.Writer
	n     int64
	eight bool
}

func (o *eightBitScanner) Write(p []byte) (int, error) {
	o.eight = o.eight || !sevenbit.ASCII(p)
	n, err := o.w.Write(p)
	o.n += int64(n)
	return n, err
}
