package sevenbit

import (
	"bytes"
	"errors"
	"io"
)

// ErrLines says that the header of a part has a CR, an LF or a NUL on its own.
var ErrLines = errors.New("a header that is not lines that end with CRLF")

// Lines returns a reader of body that fails with [ErrLines] where the header of
// a part, or of a message inside, is not CRLF lines without NUL, and with an
// error that wraps [ErrUnfit] where there are too many parts. types are the
// values of the message's Content-Type fields. A body that has no parts is
// returned as it is.
//
// Where others may see parts that are not seen here, as the type cannot be
// read, is given twice, or claims an encoding that a multipart may not have,
// the body is held to the rules of a header.
func Lines(types []string, body io.Reader) io.Reader {
	var head []byte
	parts := false
	for _, t := range types {
		var e entity
		e.setType(t)
		parts = parts || e.composite()
		head = append(append(append(head, "Content-Type: "...), t...), "\r\n"...)
	}
	if !parts {
		return body
	}
	head = append(head, "\r\n"...)
	w := newWalker(io.MultiReader(bytes.NewReader(head), body))
	return &lineReader{w: w, skip: len(head)}
}

type lineReader struct {
	w     *walker
	skip  int    // octets that are not of the body
	rest  []byte // not read yet; valid until the next piece
	first bool   // a part without a header begins
	twice bool   // a part, now or before, has two types
	err   error
}

// Read fills p, so that who copies does so in blocks and not by the line.
func (r *lineReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(r.rest) > 0 {
			k := copy(p[n:], r.rest)
			n += k
			r.rest = r.rest[k:]
		} else if r.err != nil {
			break
		} else {
			r.next()
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, r.err
	}
	return n, nil
}

// WriteTo spares io.Copy a larger buffer.
func (r *lineReader) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(w, struct{ io.Reader }{r}, make([]byte, pieceSize/2))
}

// next reads the next piece. Its error stays.
func (r *lineReader) next() {
	x, err := r.w.next()
	if err == nil {
		err = r.check(x)
	}
	if r.err = err; err != nil {
		return
	}
	n := min(r.skip, len(x.data))
	r.skip -= n
	r.rest = x.data[n:]
}

// check refuses what a header must not have. A part whose first line is no
// field has no header, unless somebody takes a CR in it for the end of a line.
func (r *lineReader) check(x piece) error {
	e := &r.w.entity
	r.twice = r.twice || x.kind == end && e.twice
	strict := x.kind == field || r.first || r.twice ||
		x.kind == text && e.composite() && !e.multipart() && !e.nested()
	r.first = x.kind == end && x.data == nil
	if strict && (bare(x.data) || bytes.IndexByte(x.data, 0) >= 0) {
		return ErrLines
	}
	return nil
}
