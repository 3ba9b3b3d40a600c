package attempt

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"strings"
)

// Resigner replaces the signatures that this relay put on a message when it
// took it: a next hop without 8BITMIME gets other content, so they are taken
// off and made again (RFC 6376 section 5.3). They are the topmost ones, because
// nothing is put on top of a message once it is in the queue. Signatures of
// others stay as they are, broken or not: a verifier takes a broken one for
// none (RFC 6376 section 6.1).
type Resigner struct{ Signer }

// Remove returns content without the n topmost signatures.
func (r Resigner) Remove(content io.Reader, n int) (io.Reader, error) {
	lines := bufio.NewReader(content)
	var kept bytes.Buffer
	drop := false
	for left := n; ; {
		line, err := lines.Peek(len(signatureName))
		if err != nil && err != io.EOF {
			return nil, err
		}
		fold := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		switch {
		case fold:
		case left == 0 || kept.Len() > maxSigned || len(line) == 0 || line[0] == '\r':
			return io.MultiReader(&kept, lines), nil
		default:
			if drop = strings.EqualFold(string(line), signatureName); drop {
				left--
			}
		}
		if err := takeLine(&kept, lines, drop); err != nil {
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
func (r Resigner) Sign(id string, content io.Reader) ([]byte, error) {
	s := &signs{signer: r.Signer, id: id}
	_, err := io.Copy(s, content)
	fields, cerr := s.close()
	if err = cmp.Or(err, cerr); err == nil && len(fields) == 0 {
		r.KeyGone(id)
	}
	return fields, err
}
