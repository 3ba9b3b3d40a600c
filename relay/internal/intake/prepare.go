package intake

import (
	"context"
	"errors"
	"io"

	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

// steps are what is done to a message between its header and its body, in this
// order.
var steps = [...]func(*Intake, context.Context, *Message) error{
	(*Intake).checkLines,
	(*Intake).takeKey,
	(*Intake).unite,
	(*Intake).checkHops,
	(*Intake).complete,
	(*Intake).judgeAuthors,
	(*Intake).firewall,
	(*Intake).addMissing,
	(*Intake).consult,
	(*Intake).repeated,
	(*Intake).findRecipients,
	(*Intake).spend,
	(*Intake).limitReports,
	(*Intake).label,
}

// Prepare does everything but the commit. What it returns is to be committed to
// the writer; on an error the writer is aborted.
func (in *Intake) Prepare(
	ctx context.Context, m *Message, content io.Reader, begin Create,
) (c spool.Commit, w spool.Writer, err error) {
	m.Spool.Created = in.Now()
	m.Spool.ID = spool.NewID(m.Spool.Created)
	memory := policy.NewShare(in.Memory)
	defer memory.Release()
	if err := in.read(m, content, memory); err != nil {
		return c, nil, err
	}
	defer func() {
		if !errors.Is(err, policy.ErrLeftAlone) { // else a Policy may still be reading it
			m.header.Release()
		}
	}()
	for _, step := range steps {
		if err := step(in, ctx, m); err != nil {
			return c, nil, err
		}
	}
	w, err = begin(ctx, m.Spool.ID)
	if err != nil {
		return c, nil, err
	}
	begun, ready := w, false
	defer func() {
		if !ready { // also when the reader of the content panics
			_ = begun.Abort()
		}
	}()
	signature, size, err := in.write(memory.WriteContent(w), m)
	if err != nil {
		return c, nil, err
	}
	ready = true
	return in.seal(m, signature, size), w, nil
}

// read reads the header.
func (in *Intake) read(m *Message, content io.Reader, memory *policy.Share) (err error) {
	if err := memory.Take(policy.MessageMemory); err != nil {
		return err
	}
	m.header, m.body, err = in.Headers.Read(memory.ReadHeader(content), m.Limits.MaxHeaderBytes)
	memory.HeaderRead()
	if errors.Is(err, header.ErrTooLarge) {
		return policy.HeaderTooLarge.Reply()
	}
	return err
}

// consult asks the application.
func (in *Intake) consult(ctx context.Context, m *Message) error {
	if m.Consult == nil {
		return nil
	}
	fields, err := m.Consult(ctx, m.header.Bytes())
	m.extra = append(m.extra, fields...)
	return err
}

// spend counts the message against the quota of its sender.
func (in *Intake) spend(ctx context.Context, m *Message) error {
	return in.Rules.DecideQuota(ctx, m.Client).Err()
}

// seal puts the trace field and what else was added on top, and says what is to
// be committed.
func (in *Intake) seal(m *Message, signature []byte, size int64) spool.Commit {
	m.Trace.ID = m.Spool.ID.String()
	m.Trace.Time = m.Spool.Created
	if len(m.Recipients) == 1 {
		// In A-labels: the field must not be what makes SMTPUTF8 necessary.
		m.Trace.For, _ = m.Recipients[0].To.ASCII()
	}
	prepend := make([]byte, 0, 384+len(signature)+len(m.extra))
	prepend = m.Trace.AppendTo(prepend)
	prepend = append(prepend, signature...)
	prepend = append(prepend, m.extra...)
	m.Spool.Size = size + int64(len(prepend))
	m.Spool.Signatures = Signatures(signature)
	if m.Schedule.NotBefore.After(m.Spool.Created) {
		m.Spool.NotBefore = m.Schedule.NotBefore
	}
	c := spool.Commit{
		Message:    m.Spool,
		Deliveries: in.Deliveries(m.Recipients, m.Spool.Stream, m.Spool.Size, m.Spool.Created),
		Prepend:    prepend,
		Claim:      m.claim.spool(),
	}
	m.Schedule.apply(c.Deliveries, m.Spool.Created)
	return c
}
