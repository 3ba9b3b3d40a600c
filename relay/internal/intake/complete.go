package intake

import (
	"bytes"
	"context"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

// complete makes a submission what a message must be (RFC 6409 section 8).
func (in *Intake) complete(_ context.Context, m *Message) error {
	if !m.submission() {
		return nil
	}
	removeBlank(m.header)
	if !m.header.Has("From") {
		if m.From.IsNull() {
			return policy.NoFrom.Reply()
		}
		m.header.Add("From", "<"+m.From.String()+">")
	}
	if domain := in.Rules.Complete; domain != "" {
		completeFields(m.header, domain)
	}
	// Before the authors are judged: a fold can change what a field says.
	foldFields(m.header)
	return nil
}

// addMissing adds the fields that a submission must have and lacks.
func (in *Intake) addMissing(_ context.Context, m *Message) error {
	if m.submission() {
		m.extra = completeHeader(m.header, m.Spool.ID, in.Rules.Hostname, m.Spool.Created)
		m.extra = m.completeSender(m.extra)
	}
	return nil
}

// CompleteAddress adds the domain to a mailbox that the application gives
// without one.
func CompleteAddress(p *policy.Rules, s string) string {
	if p.Complete != "" {
		return header.Complete(s, p.Complete)
	}
	return s
}

// completeFields adds the domain to the addresses of a header that have none.
func completeFields(h *header.Header, domain string) {
	h.Rewrite(func(f header.Field, value string) string {
		for _, name := range [...]string{"From", "Sender", "Reply-To", "To", "Cc"} {
			switch {
			case !f.Is(name):
			case (name == "From" || name == "Sender") && quotable(f.Value()):
				return value
			default:
				return header.Complete(value, domain)
			}
		}
		return value
	})
}

// quotable reports whether a value is one address behind a display name that is
// not quoted as it must be: in "Doe, John <app@example.com>" Doe is nobody.
func quotable(value string) bool {
	if _, err := header.Addresses(value); err == nil {
		return false
	}
	_, _, err := header.QuoteName(value)
	return err == nil
}

// removeBlank drops the fields that a message may have only with a value, so
// that they count as missing.
func removeBlank(h *header.Header) {
	h.Remove(func(f header.Field) bool {
		return len(bytes.TrimSpace(f.RawValue())) == 0 &&
			(f.Is("Date") || f.Is("Message-ID") || f.Is("From") || f.Is("Sender"))
	})
}

// completeHeader returns the fields that a message must have and lacks.
func completeHeader(h *header.Header, id spool.ID, hostname string, now time.Time) []byte {
	var b []byte
	if !h.Has("Date") {
		b = append(b, "Date: "...)
		b = now.AppendFormat(b, time.RFC1123Z)
		b = append(b, '\r', '\n')
	}
	if !h.Has("Message-ID") {
		b = append(b, "Message-ID: <"...)
		b = append(b, id.String()...)
		b = append(b, '@')
		b = append(b, hostname...)
		b = append(b, '>', '\r', '\n')
	}
	return b
}

// completeSender adds the Sender that a message by several authors, or by
// somebody else than its author, must have (RFC 5322 section 3.6.2, RFC 6409
// section 8.1): the envelope sender. The application need not be who its author
// is.
func (m *Message) completeSender(b []byte) []byte {
	h := m.header
	if m.From.IsNull() || h.Has("Sender") {
		return b
	}
	list, err := m.authors(h)
	if err != nil {
		return b
	}
	if len(list) == 1 && !header.HasGroup(h.Value("From")) {
		a, err := domains.Parse(list[0])
		if m.Client.Identity == nil || err == nil && a.Key() == m.From.Key() {
			return b
		}
	}
	b = append(b, "Sender: <"...)
	b = append(b, m.From.String()...)
	return append(b, '>', '\r', '\n')
}
