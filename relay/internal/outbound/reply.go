package outbound

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/delivery"
)

// The limits of a reply. RFC 5321 section 4.5.3.1.5 allows 512 octets a line;
// real servers exceed that.
const (
	maxReplyLine  = 4096
	maxReplyLines = 128
	maxReplyBytes = 64 << 10
	maxReplyText  = 2048 // what is kept of it
)

var (
	errReplyTooLong = errors.New("reply exceeds the limits")
	errReplySyntax  = errors.New("malformed reply")
)

// reply is one reply, the memory of which is the reader's until the next one.
type reply struct {
	code     int
	text     []byte // the lines' texts joined by a space, without the enhanced code
	enhanced []byte // RFC 3463, empty when the reply has none
}

func (r *reply) class() int { return r.code / 100 }

// copied copies the reply out of the reader's memory, its text in one piece.
func (r *reply) copied() delivery.Reply {
	n := len(r.enhanced)
	b := make([]byte, 0, 64)
	b = append(append(b, r.enhanced...), r.text...)
	printable(b[n:])
	s := string(b)
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	return delivery.Reply{Code: r.code, Enhanced: s[:n], Text: s[n:]}
}

// printable takes the control characters out of text that ends up in logs and
// reports.
func printable(b []byte) {
	for i, c := range b {
		switch {
		case c == '\t':
			b[i] = ' '
		case c < ' ' || c == 0x7f:
			b[i] = '?'
		}
	}
}

// replyReader reads replies from a peer that is not trusted to end them.
type replyReader struct {
	src  io.Reader
	r, w int
	buf  [maxReplyLine]byte
	text []byte
	enh  []byte
}

// buffered tells whether octets have arrived that no reply has used.
func (d *replyReader) buffered() bool { return d.r < d.w }

// read reads a whole reply into rep. each, when not nil, sees the text of every
// line.
//
// The code of the last line counts, should they differ. An error is final: the
// place in the stream is lost.
func (d *replyReader) read(rep *reply, each func(text []byte)) error {
	d.text, d.enh = d.text[:0], d.enh[:0]
	total := 0
	for n := 1; ; n++ {
		line, err := d.line()
		if err != nil {
			return err
		}
		total += len(line)
		if n > maxReplyLines || total > maxReplyBytes {
			return errReplyTooLong
		}
		code, more, text, err := splitReply(line)
		if err != nil {
			return err
		}
		if each != nil {
			each(text)
		}
		if enh := enhancedCode(text, line[0]); enh != nil {
			if n == 1 {
				d.enh = append(d.enh, enh...)
			}
			if bytes.Equal(enh, d.enh) {
				text = bytes.TrimPrefix(text[len(enh):], []byte(" "))
			}
		}
		if room := maxReplyText - len(d.text); room > 0 {
			if n > 1 && len(text) > 0 {
				d.text = append(d.text, ' ')
				room--
			}
			d.text = append(d.text, text[:min(len(text), room)]...)
		}
		if !more {
			if len(d.enh) > 0 && d.enh[0] != line[0] {
				d.enh = d.enh[:0] // of an earlier line with another code
			}
			rep.code, rep.text, rep.enhanced = code, d.text, d.enh
			return nil
		}
	}
}

// splitReply takes a line of a reply apart. A bare code without a text is
// tolerated (RFC 5321 section 4.2).
func splitReply(line []byte) (code int, more bool, text []byte, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, false, nil, errReplySyntax
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, nil, nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, nil, errReplySyntax
	}
	return code, line[3] == '-', line[4:], nil
}

// enhancedCode returns the enhanced status code at the start of text, if it is
// of the reply's class (RFC 2034 section 4).
func enhancedCode(text []byte, class byte) []byte {
	if len(text) < 5 || text[0] != class || text[1] != '.' {
		return nil
	}
	i := 2
	for part := 0; part < 2; part++ {
		start := i
		for i < len(text) && isDigit(text[i]) {
			i++
		}
		if i == start || i-start > 3 {
			return nil
		}
		if part == 0 {
			if i == len(text) || text[i] != '.' {
				return nil
			}
			i++
		}
	}
	if i < len(text) && text[i] != ' ' {
		return nil
	}
	return text[:i]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// line returns the next line without its end. It is valid until the next call.
func (d *replyReader) line() ([]byte, error) {
	seen := d.r
	for {
		if i := bytes.IndexByte(d.buf[seen:d.w], '\n'); i >= 0 {
			line := d.buf[d.r : seen+i]
			d.r = seen + i + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		if d.r > 0 {
			d.w = copy(d.buf[:], d.buf[d.r:d.w])
			d.r = 0
		}
		if d.w == len(d.buf) {
			return nil, errReplyTooLong
		}
		seen = d.w
		n, err := d.src.Read(d.buf[d.w:])
		d.w += n
		if n == 0 && err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}
