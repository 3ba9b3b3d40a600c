package relay

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"strings"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/intake"
)

// maxSigned bounds the header section of a message that is signed when it
// leaves. What was accepted is bounded by its connector's MaxHeaderBytes.
const maxSigned = 16 << 20

// Why a message goes unsigned that this relay has signed before, or has made.
const (
	keyGone     = "it had to be converted to 7-bit, and its key is gone"
	unfitToSign = "it cannot be signed"
)

// signs signs the message that is written to it. Its Write does not fail: what
// goes wrong is told by close.
type signs struct {
	signer  *intake.Signer
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
	h, _, err := header.Read(bytes.NewReader(section), maxSigned)
	if err != nil {
		return nil, err
	}
	defer h.Release()
	s.signing, err = s.signer.Begin(s.id, h.Value("From"), section)
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
			s.signer.Unsigned(s.id, "", unfitToSign, s.err)
			return nil, nil
		}
	}
	return fields, s.err
}

// resigner signs messages again that leave otherwise than they came.
type resigner struct{ *intake.Signer }

// Remove returns content without the n signatures that this relay put on a
// message when it took it: a next hop without 8BITMIME gets other content, so
// they are taken off and made again (RFC 6376 section 5.3). They are the
// topmost ones, because nothing is put on top of a message once it is in the
// queue. Signatures of others stay as they are, broken or not: a verifier takes
// a broken one for none (RFC 6376 section 6.1).
func (d resigner) Remove(content io.Reader, n int) (io.Reader, error) {
	r := bufio.NewReader(content)
	var kept bytes.Buffer
	drop := false
	for left := n; ; {
		line, err := r.Peek(len(signatureName))
		if err != nil && err != io.EOF {
			return nil, err
		}
		fold := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		switch {
		case fold:
		case left == 0 || kept.Len() > maxSigned || len(line) == 0 || line[0] == '\r':
			return io.MultiReader(&kept, r), nil
		default:
			if drop = strings.EqualFold(string(line), signatureName); drop {
				left--
			}
		}
		if err := takeLine(&kept, r, drop); err != nil {
			return nil, err
		}
	}
}

const signatureName = "DKIM-Signature:"

// takeLine reads a line of any length, and keeps it unless it is dropped.
func takeLine(kept *bytes.Buffer, r *bufio.Reader, drop bool) error {
	for {
		piece, err := r.ReadSlice('\n')
		if !drop {
			kept.Write(piece)
		}
		switch {
		case err == bufio.ErrBufferFull && kept.Len() <= maxSigned:
		case err == io.EOF:
			return nil
		default:
			return err
		}
	}
}

// Sign reads content to its end and returns the signatures to put on top, or
// nothing if it can no longer be signed. An error may pass.
func (d resigner) Sign(id string, content io.Reader) ([]byte, error) {
	s := &signs{signer: d.Signer, id: id}
	_, err := io.Copy(s, content)
	fields, cerr := s.close()
	if err = cmp.Or(err, cerr); err == nil && len(fields) == 0 {
		d.Unsigned(id, "", keyGone, nil)
	}
	return fields, err
}
