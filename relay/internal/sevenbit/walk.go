package sevenbit

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
)

// Bounds of what is converted.
const (
	maxNesting  = 100      // multiparts in one another
	maxEntities = 10_000   // parts and messages
	maxField    = 8 << 10  // octets of a field whose value matters
	maxBoundary = 200      // octets; RFC 2046 section 5.1.1 has 70
	pieceSize   = 16 << 10 // octets of a line that are seen at once
)

var (
	// errHeader says that the header of an attached message has 8-bit octets.
	errHeader = errors.New("8-bit octets in a header")
	// ErrUnfit says that content has what only a hop with BINARYMIME takes,
	// where it cannot be encoded.
	ErrUnfit = errors.New("content that cannot be converted to 7-bit")
)

func unfit(why string) error { return fmt.Errorf("%w: %s", ErrUnfit, why) }

// kind is what a piece belongs to.
type kind uint8

const (
	field     kind = iota // a header
	end                   // the blank line behind a header; empty where the body begins without one
	text                  // the body of a part that is no multipart
	filler                // what stands before the first part of a multipart, or after its last
	delimiter             // the line between two parts
)

// piece is a line, or a part of one that is longer than pieceSize. A CRLF is
// never parted.
type piece struct {
	kind  kind
	data  []byte // valid until the next piece
	start bool   // of a line; for a field: of its first
}

// name is a header field that matters here.
type name uint8

const (
	other name = iota
	contentType
	encoding
	version
)

// entity is a message or a part of a multipart.
type entity struct {
	message                     bool // has fields of its own and no multipart around it
	lines                       int  // of its header
	hasType, hasEnc, hasVersion bool
	twice                       bool   // there are two types, and one is composite
	mediaType                   string // lower case; empty if it cannot be read
	boundary                    string
	encoding                    string // lower case
	charset                     string
	current                     name
	value                       []byte // of the current field, so far
}

// main is the type without its subtype; a type that has none is none.
func (e *entity) main() string {
	m, _, ok := strings.Cut(e.mediaType, "/")
	if !ok {
		return ""
	}
	return m
}

// plain tells that no encoding is claimed (RFC 2045 section 6.2).
func (e *entity) plain() bool {
	return e.encoding == "" || e.encoding == "7bit" || e.wide()
}

func (e *entity) wide() bool { return e.encoding == "8bit" || e.encoding == "binary" }

// multipart tells that the body is parts.
func (e *entity) multipart() bool { return e.boundary != "" && e.plain() }

// composite tells that the type is one of parts or messages (RFC 2046 section
// 5), whether they can be followed or not.
func (e *entity) composite() bool { return e.main() == "multipart" || e.main() == "message" }

// nested tells that the body is a message. Other types of message may be
// encoded (RFC 6532 section 3.5).
func (e *entity) nested() bool { return e.mediaType == "message/rfc822" && e.plain() }

// turn is a change of state that waits, so that what has ended can be looked
// at.
type turn uint8

const (
	stay  turn = iota
	enter      // into the body of the entity
	part       // to the next part
)

// walker reads a content piece by piece and follows its structure.
type walker struct {
	r      *bufio.Reader
	open   []multipart // outermost first
	state  kind        // field, text or filler
	bol    bool        // a line begins
	turn   turn        // what comes before the next piece
	opaque bool        // set after end: the message inside is not looked into
	digest bool        // the part that begins is one of a digest
	held   []byte      // read and not given yet
	count  int         // entities begun
	entity entity
}

type multipart struct {
	boundary string
	digest   bool
	begun    bool // there was a delimiter
}

func newWalker(r io.Reader) *walker {
	w := &walker{r: bufio.NewReaderSize(r, pieceSize), bol: true}
	w.begin(true)
	return w
}

// begin begins the header of an entity.
func (w *walker) begin(message bool) {
	w.state, w.count = field, w.count+1
	w.entity = entity{message: message, mediaType: "text/plain", value: w.entity.value[:0]}
	if w.digest && !message {
		w.entity.mediaType = "message/rfc822" // RFC 2046 section 5.1.5
	}
}

// next returns the next piece; at the end io.EOF.
func (w *walker) next() (piece, error) {
	switch t := w.turn; t {
	case enter:
		w.turn = stay
		if err := w.enter(); err != nil {
			return piece{}, err
		}
	case part:
		w.turn = stay
		w.begin(false)
	}
	if w.count > maxEntities {
		return piece{}, unfit("too many parts")
	}
	line, whole := w.held, true
	if w.held = nil; line == nil {
		var err error
		if line, whole, err = w.read(); err != nil {
			return piece{}, err
		}
	}
	start := w.bol
	w.bol = bytes.HasSuffix(line, []byte("\r\n"))
	if start && whole && w.delimits(line) {
		return piece{kind: delimiter, data: line}, nil
	}
	if w.state == field {
		return w.header(line, start)
	}
	return piece{kind: w.state, data: line}, nil
}

// read returns a line, or a part of a line that is too long to be whole.
func (w *walker) read() (line []byte, whole bool, err error) {
	line, err = w.r.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		if n := len(line) - 1; line[n] == '\r' {
			line = line[:n]
			return line, false, w.r.UnreadByte()
		}
		return line, false, nil
	case err == io.EOF && len(line) > 0:
		err = nil
	}
	return line, true, err
}

// enter goes from the header of an entity to its body.
func (w *walker) enter() error {
	e := &w.entity
	w.state = text
	opaque := w.opaque
	w.opaque = false
	switch {
	case e.multipart():
		if len(w.open) == maxNesting {
			return unfit("too many multiparts in one another")
		}
		w.open = append(
			w.open, multipart{boundary: e.boundary, digest: e.mediaType == "multipart/digest"},
		)
		w.state = filler
	case e.nested() && !opaque:
		w.begin(true)
	}
	return nil
}

// preamble tells that no part of the innermost multipart has begun.
func (w *walker) preamble() bool {
	n := len(w.open)
	return n > 0 && !w.open[n-1].begun
}

// delimits takes a line that ends a part (RFC 2046 section 5.1.1). What is
// around a multipart ends what is in it. A line that ends in a bare LF is text:
// it could not go out as it is.
func (w *walker) delimits(line []byte) bool {
	line = bytes.TrimSuffix(line, []byte("\r\n"))
	if len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return false
	}
	for i, m := range w.open {
		rest, ok := bytes.CutPrefix(line[2:], []byte(m.boundary))
		if !ok {
			continue
		}
		switch string(bytes.TrimRight(rest, " \t")) {
		case "":
			w.open, w.digest, w.turn = w.open[:i+1], m.digest, part
			w.open[i].begun = true
			w.entity.settle()
			return true
		case "--":
			if !m.begun {
				return false // there is nothing to end
			}
			w.open, w.state = w.open[:i], filler
			w.entity.settle()
			return true
		}
	}
	return false
}

// header takes a line of a header.
func (w *walker) header(line []byte, start bool) (piece, error) {
	e := &w.entity
	if start {
		blank := string(line) == "\r\n"
		folded := line[0] == ' ' || line[0] == '\t'
		name, ok := fieldName(line)
		switch {
		case blank || e.lines == 0 && !ok:
			w.turn = enter
			e.settle()
			if !blank { // no header at all
				w.held, w.bol, line = line, true, nil
			}
			return piece{kind: end, data: line}, nil
		case folded:
			start = false
		default:
			e.settle()
			e.lines++
			e.current = name
		}
	}
	if e.current == contentType || e.current == encoding {
		if len(e.value)+len(line) > maxField {
			return piece{kind: field, data: line}, unfit("a field is too long")
		}
		e.value = append(e.value, bytes.TrimRight(line, "\r\n")...)
	}
	return piece{kind: field, data: line, start: start}, nil
}

// settle takes the value of the field that has ended. Of several, the first
// counts.
func (e *entity) settle() {
	_, v, _ := strings.Cut(string(e.value), ":")
	e.value = e.value[:0]
	switch e.current {
	case contentType:
		if !e.hasType {
			e.hasType = true
			e.setType(v)
			break
		}
		var again entity
		again.setType(v)
		e.twice = e.twice || e.composite() || again.composite()
	case encoding:
		if !e.hasEnc {
			e.hasEnc = true
			v, _, _ = strings.Cut(v, "(")
			e.encoding = strings.ToLower(strings.Trim(v, "; \t"))
		}
	case version:
		e.hasVersion = true
	}
	e.current = other
}

func (e *entity) setType(value string) {
	t, _, _ := strings.Cut(value, ";")
	t, _, _ = strings.Cut(t, "(")
	e.mediaType = strings.ToLower(strings.TrimSpace(t))
	_, params, err := mime.ParseMediaType(value)
	if err != nil {
		return
	}
	e.charset = params["charset"]
	// RFC 2046 section 5.1.1: it does not end with white space.
	boundary := strings.TrimRight(params["boundary"], " ")
	if e.main() == "multipart" && fitBoundary(boundary) {
		e.boundary = boundary
	}
}

func fitBoundary(s string) bool {
	return len(s) <= maxBoundary &&
		strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// fieldName tells whether a line begins a field, and which.
func fieldName(line []byte) (name, bool) {
	n, _, ok := bytes.Cut(line, []byte(":"))
	n = bytes.TrimRight(n, " \t")
	if !ok || len(n) == 0 ||
		bytes.IndexFunc(n, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return other, false
	}
	switch {
	case bytes.EqualFold(n, []byte("Content-Type")):
		return contentType, true
	case bytes.EqualFold(n, []byte("Content-Transfer-Encoding")):
		return encoding, true
	case bytes.EqualFold(n, []byte("MIME-Version")):
		return version, true
	}
	return other, true
}

// ASCII tells whether no octet has its eighth bit set. It looks at eight octets
// at a time.
func ASCII(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if binary.NativeEndian.Uint64(p)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range p {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// bare tells whether there is a CR or an LF on its own.
func bare(p []byte) bool {
	p = bytes.TrimSuffix(p, []byte("\r\n"))
	return bytes.IndexByte(p, '\n') >= 0 || bytes.IndexByte(p, '\r') >= 0
}
