package sevenbit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/quotedprintable"
	"unicode/utf8"
)

// lineLength is the most characters of an encoded line (RFC 2045 section 6.8).
const lineLength = 76

const globalType = "Content-Type: message/global\r\n"

var errChanged = errors.New("not the content that was read before")

// Reader returns the converted content. r is the content that was scanned, from
// its start. The plan's Err must be nil. With keepHeaders the headers stay as
// they are, for a next hop that takes them (RFC 6531).
func (p *Plan) Reader(r io.Reader, keepHeaders bool) io.Reader {
	if p.asIs {
		return r
	}
	return &reader{plan: p, w: newWalker(r), crlf: []byte("\r\n"), words: p.header && !keepHeaders}
}

type reader struct {
	plan *Plan
	w    *walker
	out  bytes.Buffer   // converted and not read yet
	err  error          // behind it
	enc  io.WriteCloser // of the current body; nil: it stays
	held bool           // a CRLF is held back, that may belong to the delimiter
	crlf []byte
	done bool // the label of the current header is written
	// With words the fields are converted, each when it has ended.
	words   bool
	pending []byte // of the current field
	long    bool   // the current field is too long to be converted
}

// Read converts as it reads.
func (r *reader) Read(p []byte) (int, error) {
	for r.out.Len() == 0 {
		if r.err != nil {
			return 0, r.err
		}
		x, err := r.w.next()
		if err == nil {
			err = r.take(x)
		} else if err == io.EOF {
			r.settle()
			if ferr := r.finish(true); ferr != nil {
				err = ferr
			}
		}
		r.err = err
	}
	return r.out.Read(p)
}

func (r *reader) take(x piece) error {
	if len(r.plan.steps) < r.w.count {
		return errChanged
	}
	st := r.plan.steps[r.w.count-1]
	if x.kind != field || x.start {
		r.settle()
	}
	switch x.kind {
	case field:
		return r.field(x, st)
	case end:
		r.end(x, st)
		return nil
	case text:
		if r.enc != nil {
			return r.encode(x.data)
		}
		if st&raw != 0 {
			r.out.Write(x.data)
			return nil
		}
	case filler:
		if st&raw != 0 && r.w.preamble() {
			r.out.Write(x.data)
			return nil
		}
		r.fill(x.data)
		return nil
	case delimiter:
		r.done = false
		if err := r.finish(false); err != nil {
			return err
		}
	}
	return r.write(x.data)
}

// write writes what stays.
func (r *reader) write(p []byte) error {
	if !ASCII(p) {
		return errChanged
	}
	r.out.Write(p)
	return nil
}

// field writes a line of a header, or what stands for it.
func (r *reader) field(x piece, st step) error {
	switch r.w.entity.current {
	case encoding:
		if st&labelled == 0 {
			break
		}
		if x.start && !r.done {
			r.label(st)
		}
		return nil
	case contentType:
		if st&asGlobal == 0 {
			break
		}
		if x.start && !r.w.entity.hasType {
			r.out.WriteString(globalType)
		}
		return nil
	}
	switch {
	case !r.plan.header:
		return r.write(x.data)
	case !r.words || r.long:
		r.out.Write(x.data)
	case len(r.pending)+len(x.data) > maxConverted:
		r.out.Write(r.pending)
		r.out.Write(x.data)
		r.pending, r.long = r.pending[:0], true
	default:
		r.pending = append(r.pending, x.data...)
	}
	return nil
}

// settle writes the field that has ended.
func (r *reader) settle() {
	if len(r.pending) > 0 {
		r.out.Write(appendField(r.out.AvailableBuffer(), r.pending, r.plan.charset))
		r.pending = r.pending[:0]
	}
	r.long = false
}

// label writes the encoding.
func (r *reader) label(st step) {
	r.done = true
	r.out.WriteString("Content-Transfer-Encoding: ")
	switch {
	case st&quoted != 0:
		r.out.WriteString("quoted-printable\r\n")
	case st&based != 0:
		r.out.WriteString("base64\r\n")
	default:
		r.out.WriteString("7bit\r\n")
	}
}

// end writes what a header lacks, and the blank line.
func (r *reader) end(x piece, st step) {
	e := &r.w.entity
	if st&encode != 0 {
		if e.message && !e.hasVersion {
			r.out.WriteString("MIME-Version: 1.0\r\n")
		}
		switch {
		case st&asUTF8 != 0:
			r.out.WriteString("Content-Type: text/plain; charset=utf-8\r\n")
		case st&asUnknown != 0:
			r.out.WriteString("Content-Type: text/plain; charset=unknown-8bit\r\n")
		case st&asGlobal != 0:
			if !e.hasType {
				r.out.WriteString(globalType)
			}
			r.w.opaque = true
		}
		if !r.done {
			r.label(st)
		}
	}
	// what is added to a message inside is not of this header
	if x.data == nil && (st&encode != 0 || e.nested()) {
		r.out.WriteString("\r\n")
	}
	r.out.Write(x.data)
	r.done = false
	switch {
	case st&quoted != 0:
		r.enc = quotedprintable.NewWriter(&hyphens{w: &r.out})
	case st&escape != 0:
		r.enc = &escaper{w: &r.out}
	case st&based != 0:
		r.enc = base64.NewEncoder(base64.StdEncoding, &wrapper{w: &r.out})
	}
}

// encode encodes a piece of a body.
func (r *reader) encode(p []byte) error {
	if r.held {
		if _, err := r.enc.Write(r.crlf); err != nil {
			return err
		}
	}
	p, r.held = bytes.CutSuffix(p, r.crlf)
	_, err := r.enc.Write(p)
	return err
}

// finish ends an encoded body: before a delimiter, or at the end of the
// content, where the last CRLF belongs to the body.
func (r *reader) finish(last bool) error {
	if r.enc == nil {
		return nil
	}
	lines := true // the encoding has line ends where the text has
	switch r.enc.(type) {
	case *quotedprintable.Writer, *escaper:
	default:
		lines = false
	}
	if last && r.held {
		if _, err := r.enc.Write(r.crlf); err != nil {
			return err
		}
	}
	err := r.enc.Close()
	if !last || !lines {
		r.out.WriteString("\r\n")
	}
	r.enc, r.held = nil, false
	return err
}

// fill writes what nobody reads, with all that may not stand there replaced. A
// line that changes must not become a delimiter.
func (r *reader) fill(p []byte) {
	line, _ := bytes.CutSuffix(p, r.crlf)
	odd := func(c rune) bool { return c >= utf8.RuneSelf || c == 0 || c == '\r' || c == '\n' }
	change := bytes.ContainsFunc(line, odd)
	for i, c := range line {
		if odd(rune(c)) || change && i == 0 && c == '-' {
			c = '?'
		}
		r.out.WriteByte(c)
	}
	r.out.Write(p[len(line):])
}

// hyphens writes quoted-printable so that no line begins with a hyphen: behind
// a soft line break, or by what stands for another octet, text could become a
// delimiter.
type hyphens struct {
	w   *bytes.Buffer
	mid bool // in a line
}

func (h *hyphens) Write(p []byte) (int, error) {
	rest := p
	for !h.mid && len(rest) > 0 && rest[0] == '-' {
		h.w.WriteString("=2D")
		rest = rest[1:]
		if h.mid = len("=2D")+len(bytes.TrimRight(rest, "\r\n")) <= lineLength; !h.mid {
			h.w.WriteString("=\r\n")
		}
	}
	h.w.Write(rest)
	if len(p) > 0 {
		h.mid = p[len(p)-1] != '\n'
	}
	return len(p), nil
}

// escaper encodes the octets of 8 bits in what is quoted-printable already. It
// breaks lines behind them only, and writes no hyphen there.
type escaper struct {
	w    *bytes.Buffer
	col  int
	soft bool // behind a line break of its own
}

func (e *escaper) Write(p []byte) (int, error) {
	for _, c := range p {
		if e.col++; c == '\n' {
			e.col = 0
		}
		if c < utf8.RuneSelf && !(e.soft && c == '-') {
			e.w.WriteByte(c)
			e.soft = false
			continue
		}
		e.w.Write([]byte{'=', hexDigits[c>>4], hexDigits[c&15]})
		if e.col, e.soft = e.col+2, false; e.col > lineLength-len("=XX=") {
			e.w.WriteString("=\r\n")
			e.col, e.soft = 0, true
		}
	}
	return len(p), nil
}

func (e *escaper) Close() error { return nil }

// wrapper breaks base64 into lines.
type wrapper struct {
	w   *bytes.Buffer
	col int
}

func (b *wrapper) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if b.col == lineLength {
			b.w.WriteString("\r\n")
			b.col = 0
		}
		n := min(len(rest), lineLength-b.col)
		b.w.Write(rest[:n])
		b.col += n
		rest = rest[n:]
	}
	return len(p), nil
}
