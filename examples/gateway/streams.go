package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net/textproto"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

var errFieldName = errors.New("is not the name of a header field, such as X-Stream")

// streams returns the policy that takes a message's stream from its header. A
// stream has its own share of the places, so that only who may relay names one.
func (l *loader) streams(field string) relay.Policy {
	if field == "" {
		return relay.Policy{}
	}
	if strings.ContainsFunc(field, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	}) {
		l.add("stream_header", "%q %w", field, errFieldName)
		return relay.Policy{}
	}
	return relay.Policy{
		Message: func(_ context.Context, s *relay.Session, m *relay.Incoming) error {
			s.Stream = "" // not that of the session's message before
			if s.Rights.Has(connector.AcceptAnyRecipient) {
				s.Stream = valueOf(m.Header, field)
			}
			if len(s.Stream) > 64 || strings.ContainsFunc(s.Stream, isOddInStream) {
				return relay.Reject(
					550, "5.6.0", "The stream is not a word of 64 characters at most",
				)
			}
			return nil
		},
	}
}

func isOddInStream(r rune) bool {
	return !strings.ContainsRune("-_.", r) && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
}

// valueOf returns what a header section says in a field, "" without it.
func valueOf(section []byte, field string) string {
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(section)))
	h, _ := r.ReadMIMEHeader() // what could be read before a fault counts
	return h.Get(field)
}
