package intake

import (
	"context"
	"unicode/utf8"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// judgeAuthors decides whether the client may use the addresses in From and
// Sender. Where it knows what a display name means that is not quoted as it
// must be, it quotes it.
func (in *Intake) judgeAuthors(_ context.Context, m *Message) error {
	h := m.header
	const every = connector.AcceptAnySender | connector.AcceptAuthoritativeDomainSender
	free := m.Client.Rights.Has(every)
	if free && !m.submission() {
		return nil // whatever others have written
	}
	for _, name := range [...]string{"From", "Sender"} {
		switch h.Count(name) {
		case 0:
			continue
		case 1:
		default:
			return several(name).Reply()
		}
		list, err := m.addresses(h, name)
		f, _ := h.First(name)
		if err != nil || m.submission() && !utf8.Valid(f.RawValue()) {
			if quoted, ok := quoteName(h, name); ok {
				list, err, m.author = quoted, nil, authors{}
			}
		}
		switch {
		case free:
			continue
		case err != nil:
			return unreadable(name).Because(err)
		}
		for _, a := range list {
			from, err := domains.Parse(a)
			if err != nil {
				return unreadable(name).Because(err)
			}
			if r := in.Rules.DecideSender(m.Client, from); r != nil {
				return r
			}
		}
	}
	return nil
}

func several(name string) policy.ReplyID {
	if name == "From" {
		return policy.TwoFrom
	}
	return policy.TwoSender
}

func unreadable(name string) policy.ReplyID {
	if name == "From" {
		return policy.UnreadableFrom
	}
	return policy.UnreadableSender
}

// quoteName quotes the display name of a From or Sender field. It returns all
// that looks like an address in the field. It is not ok if the field stays as
// it is.
func quoteName(h *header.Header, name string) (list []string, ok bool) {
	value, list, err := header.QuoteName(h.Value(name))
	if err != nil {
		return nil, false
	}
	h.Rewrite(func(f header.Field, old string) string {
		if f.Is(name) {
			return " " + value + "\r\n"
		}
		return old
	})
	return list, true
}

// authors reads the addresses of the From field, once.
func (m *Message) authors(h *header.Header) ([]string, error) {
	if !m.author.read {
		list, err := header.Addresses(h.Value("From"))
		m.author = authors{true, list, err}
	}
	return m.author.list, m.author.err
}

// addresses reads the addresses of From or Sender.
func (m *Message) addresses(h *header.Header, name string) ([]string, error) {
	if name == "From" {
		return m.authors(h)
	}
	return header.Addresses(h.Value(name))
}
