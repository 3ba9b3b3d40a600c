package httpapi

import (
	"bytes"
	"slices"
	"strings"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
)

// compose checks the fields and makes the message that goes to the relay.
func (m *message) compose() (*relay.Message, faults) {
	var f faults
	var out relay.Message
	c := composition{message: m}

	c.from = f.mailbox("#/from", m.From, m.EnvelopeFrom != nil)
	out.From = c.from.address
	c.to, c.cc = f.mailboxes("to", m.To, false), f.mailboxes("cc", m.Cc, false)
	bcc := f.mailboxes("bcc", m.Bcc, false)
	if len(m.ReplyTo) > maxReplyTo {
		f.add("#/reply_to", "too many addresses")
	} else {
		c.replyTo = f.mailboxes("reply_to", m.ReplyTo, true)
	}
	for _, list := range [][]mailbox{c.to, c.cc, bcc} {
		for _, a := range list {
			out.To = append(out.To, a.address)
		}
	}
	out.To = unique(out.To)
	if m.EnvelopeFrom != nil {
		out.From = *m.EnvelopeFrom
		if _, err := domains.Parse(out.From); err != nil && out.From != "" {
			f.add("#/envelope_from", "not an address")
		}
	}
	f.subject(m.Subject)
	f.headers(m.Headers)
	c.parts = f.attachments(m.Attachments)
	if len(m.EnvelopeID) > 100 ||
		strings.ContainsFunc(m.EnvelopeID, func(r rune) bool { return r < ' ' || r > '~' }) {
		f.add("#/envelope_id", "not at most 100 printable ASCII characters")
	}
	switch m.Return {
	case "", "FULL", "HDRS":
	default:
		f.add("#/return", "not FULL or HDRS")
	}
	if len(m.Notify) > 4 || out.Notify.UnmarshalText([]byte(strings.Join(m.Notify, ","))) != nil {
		f.add("#/notify", "not NEVER, or some of SUCCESS, FAILURE, DELAY")
	}
	if detail := checkLabels(m.Labels); detail != "" {
		f.add("#/labels", detail)
	}
	out.NotBefore = f.time("#/not_before", m.NotBefore)
	out.Expires = f.time("#/expires", m.Expires)
	f.stream(m.Stream)
	if len(f) > 0 {
		return nil, f
	}
	out.Stream = m.Stream
	out.EnvelopeID, out.Return, out.Labels = m.EnvelopeID, spool.Return(m.Return), m.Labels
	content := c.bytes()
	out.Content, out.Size = bytes.NewReader(content), int64(len(content))
	return &out, nil
}

// unique drops repetitions and keeps the order.
func unique(list []string) []string {
	seen := make(map[string]bool, len(list))
	return slices.DeleteFunc(list, func(s string) bool {
		was := seen[s]
		seen[s] = true
		return was
	})
}
