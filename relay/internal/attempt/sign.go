package attempt

import (
	"bytes"
	"cmp"
	"errors"

	"github.com/postern-mail/postern/auth/msgauth"
)

// maxSigned bounds the header section of a message that is signed when it
// leaves. What was accepted is bounded by its connector.
const maxSigned = 16 << 20

// signatures counts the fields that a [msgauth.Signing] made.
func signatures(fields []byte) int { return bytes.Count(fields, []byte("DKIM-Signature:")) }

// signs signs the message that is written to it. Its Write does not fail: what
// goes wrong is told by close.
type signs struct {
	signer  Signer
	id      string
	head    []byte // until the blank line has come
	begun   bool
	signing *msgauth.Signing // nil: the message goes unsigned
	err     error
}

var errHeaderTooLarge = errors.New("relay: header section too large to be signed")

const blankLine = "\r\n\r\n"

func (s *signs) Write(p []byte) (int, error) {
	n := len(p)
	if s.err == nil && !s.begun {
		p, s.err = s.begin(p)
	}
	if s.err == nil && s.signing != nil {
		_, s.err = s.signing.Write(p)
	}
	return n, nil
}

// begin gathers the header section and begins to sign behind it. It returns
// what it has of the body.
func (s *signs) begin(p []byte) ([]byte, error) {
	from := max(len(s.head)-len(blankLine)+1, 0)
	s.head = append(s.head, p...)
	i := bytes.Index(s.head[from:], []byte(blankLine))
	switch {
	case i < 0 && len(s.head) > maxSigned:
		return nil, errHeaderTooLarge
	case i < 0:
		return nil, nil
	}
	end := from + i + len(blankLine)
	section, rest := s.head[:end], s.head[end:]
	s.head, s.begun = nil, true
	var err error
	s.signing, err = s.signer.Begin(s.id, section)
	return rest, err
}

// close ends the message, which must be done also when it is given up, and
// returns the fields to put on top of it. An error may pass; a message that
// cannot be signed goes unsigned.
func (s *signs) close() ([]byte, error) {
	var fields []byte
	if s.signing != nil {
		s.err = cmp.Or(s.err, s.signing.Close())
		fields = s.signing.Fields()
	}
	for _, never := range [...]error{
		msgauth.ErrFrom, msgauth.ErrTooManyFields, msgauth.ErrBlank, errHeaderTooLarge,
	} {
		if errors.Is(s.err, never) {
			s.signer.Unfit(s.id, s.err)
			return nil, nil
		}
	}
	return fields, s.err
}
