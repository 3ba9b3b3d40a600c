package smtpd_test

import (
	"context"
	"fmt"
	"io"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// blocks counts the writes that content makes.
type blocks struct {
	*recorder
	writes, octets int
}

func (b *blocks) Write(p []byte) (int, error) {
	b.writes++
	b.octets += len(p)
	return len(p), nil
}

func (b *blocks) Message(
	_ context.Context, _ *smtpd.Session, _ *smtpd.Mail, content io.Reader,
) (string, error) {
	_, err := content.(io.WriterTo).WriteTo(b)
	return "id", err
}

// watcher notes what the session shows at MAIL.
type watcher struct {
	*recorder
	seen []string
}

func (w *watcher) Mail(_ context.Context, s *smtpd.Session, m *smtpd.Mail) error {
	user := ""
	if s.Identity != nil {
		user = s.Identity.User
	}
	w.seen = append(w.seen, fmt.Sprintf("mail helo=%s esmtp=%v tls=%v user=%s any=%v", s.Helo, s.ESMTP, s.TLS != nil, user,
		s.Rights.Has(connector.AcceptAnyRecipient)))
	return nil
}

func (w *watcher) Rcpt(_ context.Context, s *smtpd.Session, m *smtpd.Mail, r *smtpd.Rcpt) error {
	r.Value = "kept"
	return nil
}
