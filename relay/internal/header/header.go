package header

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"
)

// ErrTooLarge answers a Read whose header section is longer than the limit.
var ErrTooLarge = errors.New("header: too large")

const (
	// firstSize holds the header and most of the body of a small message, so
	// that one read of the content is enough.
	firstSize = 8 << 10
	// keepSize is the largest buffer that goes back to the pool.
	keepSize = 64 << 10
	// maxEmptyReads ends a reader that gives neither data nor an error, as
	// bufio does.
	maxEmptyReads = 100
)

// Pool keeps the buffers of released headers for later use. The zero Pool is
// ready for use.
type Pool struct {
	pool sync.Pool
}

// Header is the header section of one message, with what has been read of its
// body.
type Header struct {
	pool *Pool
	buf  []byte // as read: the section, then the start of the body
	raw  []byte // the section with its blank line; lies in buf or crlf
	// fields lie one after the other in raw, up to its blank line.
	fields []span
	crlf   [2]byte
	body   body
}

// span is a field in raw.
type span struct {
	start, end int // with the line end
	name       int // length of the name; 0 for a line that is no field
}

// Read reads the header section of the message that r gives, up to and with its
// blank line. The body is what r gives after it, beginning with what was read
// ahead; it implements io.WriterTo. Read reads from r only as long as the
// section lasts.
//
// A section longer than max octets, blank line included, is answered with
// [ErrTooLarge]; a max of 0 or less means no limit. An error of r other than
// io.EOF is returned as it is.
func (p *Pool) Read(r io.Reader, max int64) (h *Header, rest io.Reader, err error) {
	h, _ = p.pool.Get().(*Header)
	if h == nil {
		h = &Header{pool: p, buf: make([]byte, 0, firstSize)}
	}
	if err := h.read(r, max); err != nil {
		h.Release()
		return nil, nil, err
	}
	return h, &h.body, nil
}

// Read is [Pool.Read] without a pool.
func Read(r io.Reader, max int64) (h *Header, rest io.Reader, err error) {
	return new(Pool).Read(r, max)
}

// Release gives the buffers of h back to its pool. Neither h, nor its fields,
// nor its body may be used afterwards.
func (h *Header) Release() {
	if cap(h.buf) > keepSize || cap(h.fields) > keepSize/64 {
		return
	}
	h.buf, h.raw, h.fields, h.body = h.buf[:0], nil, h.fields[:0], body{}
	h.pool.pool.Put(h)
}

func (h *Header) read(r io.Reader, max int64) error {
	s := scanner{h: h}
	empty := 0
	for {
		if len(h.buf) == cap(h.buf) {
			h.buf = append(h.buf, 0)[:len(h.buf)]
		}
		n, err := r.Read(h.buf[len(h.buf):cap(h.buf)])
		h.buf = h.buf[:len(h.buf)+n]
		done := s.scan()
		if err != nil {
			// It belongs behind the data, and need not come a second time.
			r = ended{err}
		}
		if max > 0 && s.past(done) > max {
			if s.headless() {
				s.none() // one long line that cannot be a field
				h.end(&s, r)
				return nil
			}
			return ErrTooLarge
		}
		switch {
		case done:
			h.end(&s, r)
			return nil
		case err == io.EOF:
			s.finish()
			h.end(&s, r)
			return nil
		case err != nil:
			return err
		case n > 0:
			empty = 0
		case empty == maxEmptyReads:
			return io.ErrNoProgress
		default:
			empty++
		}
	}
}

// end settles where the section begins and ends.
func (h *Header) end(s *scanner, r io.Reader) {
	if s.next > s.line {
		h.raw = h.buf[s.first:s.next:s.next]
	} else {
		// No header section: the blank line that divides fields put in front
		// from the body.
		h.crlf = [2]byte{'\r', '\n'}
		h.raw = h.crlf[:]
	}
	if s.first > 0 {
		for i := range h.fields {
			h.fields[i].start -= s.first
			h.fields[i].end -= s.first
		}
	}
	h.body = body{ahead: h.buf[s.next:], r: r}
}

// Bytes returns the header section with its blank line. It stays valid until
// the next Remove or Release and must not be changed.
func (h *Header) Bytes() []byte { return h.raw }

// Clean reports whether the section is lines that end with CRLF, without NUL
// and without a CR or an LF on its own (RFC 5322 section 2.2). What is not is
// read by others in other ways, and must not be passed on.
func (h *Header) Clean() bool {
	for b := h.raw; len(b) > 0; {
		i := bytes.IndexByte(b, '\n')
		if i < 1 || bytes.IndexByte(b[:i], '\r') != i-1 {
			return false
		}
		b = b[i+1:]
	}
	return bytes.IndexByte(h.raw, 0) < 0
}

// Len returns the number of fields, lines that are no field included.
func (h *Header) Len() int { return len(h.fields) }

// Fields gives the fields in order, lines that are no field included. Fields
// stay valid until the next Remove or Release.
func (h *Header) Fields() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for _, s := range h.fields {
			if !yield(h.field(s)) {
				return
			}
		}
	}
}

func (h *Header) field(s span) Field { return Field{raw: h.raw[s.start:s.end], name: s.name} }

// First returns the topmost field of that name, without regard to case.
func (h *Header) First(name string) (f Field, ok bool) {
	for _, s := range h.fields {
		if f := h.field(s); f.Is(name) {
			return f, true
		}
	}
	return Field{}, false
}

// Has reports whether there is a field of that name.
func (h *Header) Has(name string) bool {
	_, ok := h.First(name)
	return ok
}

// Value returns the unfolded value of the topmost field of that name, or ""
// without one.
func (h *Header) Value(name string) string {
	f, ok := h.First(name)
	if !ok {
		return ""
	}
	return f.Value()
}

// Values returns the unfolded values of all fields of that name, in order.
func (h *Header) Values(name string) []string {
	var all []string
	for f := range h.Fields() {
		if f.Is(name) {
			all = append(all, f.Value())
		}
	}
	return all
}

// Count returns the number of fields of that name.
func (h *Header) Count(name string) int {
	n := 0
	for _, s := range h.fields {
		if h.field(s).Is(name) {
			n++
		}
	}
	return n
}

// Remove drops the fields for which drop returns true, with their folded lines,
// and returns how many. All other octets stay as they are.
func (h *Header) Remove(drop func(Field) bool) int {
	if len(h.fields) == 0 {
		return 0
	}
	blank := h.raw[h.fields[len(h.fields)-1].end:]
	kept, to := h.fields[:0], 0
	for _, s := range h.fields {
		if drop(h.field(s)) {
			continue
		}
		if to != s.start {
			copy(h.raw[to:], h.raw[s.start:s.end])
		}
		size := s.end - s.start
		kept = append(kept, span{start: to, end: to + size, name: s.name})
		to += size
	}
	n := len(h.fields) - len(kept)
	if n > 0 {
		h.raw = h.raw[:to+copy(h.raw[to:], blank)]
	}
	h.fields = kept
	return n
}

// Rewrite gives fields another value: change returns what is to follow the
// colon, line end included, or the value it was given to leave the field alone.
// The fields keep their order.
func (h *Header) Rewrite(change func(f Field, value string) string) {
	var raw []byte // made when the first field changes
	fields := make([]span, 0, len(h.fields))
	done := 0
	for _, s := range h.fields {
		f := h.field(s)
		old := string(f.RawValue())
		value := change(f, old)
		if value != old {
			raw = append(raw, h.raw[done:s.end-len(old)]...)
			raw = append(raw, value...)
			done = s.end
		}
		end := len(raw) + s.end - done
		start := end - (s.end - s.start) + len(old) - len(value)
		fields = append(fields, span{start: start, end: end, name: s.name})
	}
	if done > 0 {
		h.raw, h.fields = append(raw, h.raw[done:]...), fields
	}
}

// Add puts a field in front of the others.
func (h *Header) Add(name, value string) {
	f := name + ": " + value + "\r\n"
	h.raw = append([]byte(f), h.raw...)
	for i := range h.fields {
		h.fields[i].start += len(f)
		h.fields[i].end += len(f)
	}
	h.fields = slices.Insert(h.fields, 0, span{end: len(f), name: len(name)})
}
