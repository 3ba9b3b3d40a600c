package sevenbit

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"
)

// maxLine is the most octets of a line without its CRLF (RFC 5322 section
// 2.1.1).
const maxLine = 998

// step is what becomes of an entity.
type step uint8

const (
	relabel    step = 1 << iota // as 7bit
	quoted                      // encoded as quoted-printable
	based                       // encoded as base64
	asUTF8                      // has no Content-Type, and is UTF-8
	asUnknown                   // has none, and is not
	asGlobal                    // becomes message/global
	raw                         // stays 8-bit: its text, or that of a multipart without parts
	escape                      // is quoted-printable with raw octets, which are encoded too
	keep       step = 0
	encode          = quoted | based
	labelled        = relabel | encode
	addingType      = asUTF8 | asUnknown
)

// Plan tells how a content is converted.
type Plan struct {
	steps   []step // of each entity, in the order in which they begin
	eight   bool
	header  bool // a header has octets of 8 bits
	asIs    bool // its structure is beyond the bounds, and nothing changes
	charset string
	err     error
}

// Eight tells whether the content has octets of 8 bits.
func (p *Plan) Eight() bool { return p.eight }

// EightHeader tells whether the header of the message or of a part has.
func (p *Plan) EightHeader() bool { return p.header }

// Err tells why the content cannot be converted, which wraps [ErrUnfit]. It is
// nil if it can be.
func (p *Plan) Err() error { return p.err }

// Scan reads a content and plans its conversion. Its error is that of r.
func Scan(r io.Reader) (*Plan, error) {
	s := scan{plan: &Plan{}, w: newWalker(r)}
	for s.why == nil {
		x, err := s.w.next()
		eight := !ASCII(x.data)
		s.plan.eight = s.plan.eight || eight
		s.odd = s.odd || odd(x.data)
		if err == nil {
			err = s.take(x, eight)
		}
		switch {
		case err == io.EOF:
			s.w.entity.settle()
			s.begun()
			s.fail(s.finish())
			if s.why == nil {
				s.plan.unlabel()
				return s.plan, nil
			}
		case errors.Is(err, errHeader), errors.Is(err, ErrUnfit):
			s.fail(err)
		case err != nil:
			return nil, err
		}
	}
	header := s.w.state == field
	if err := s.rest(); err != nil {
		return nil, err
	}
	// What follows a field that is too long may be of the header.
	s.plan.header = s.plan.header || header && s.plan.eight
	if s.plan.asIs = true; s.odd {
		s.plan.err = s.why
	}
	return s.plan, nil
}

// unlabel takes no label of 8-bit content away if some of it stays.
func (p *Plan) unlabel() {
	for _, st := range p.steps {
		if st&raw != 0 {
			for i := range p.steps {
				p.steps[i] &^= relabel
			}
			return
		}
	}
}

// scan is a Scan in progress.
type scan struct {
	plan *Plan
	w    *walker
	body body
	lost int   // the depth of a multipart that has not begun, if what stands there cannot stay
	odd  bool  // there is what DATA cannot carry
	why  error // why nothing is converted
	// The outermost message in the message: whether the scan is in it, its
	// entity, and the multiparts around it.
	inside     bool
	at, around int
}

// begun notes what the header of the message says of it.
func (s *scan) begun() {
	if s.w.count == 1 {
		s.plan.charset = s.w.entity.charset
	}
}

// take takes one piece.
func (s *scan) take(x piece, eight bool) error {
	switch x.kind {
	case field:
		if bare(x.data) {
			return unfit("a CR or LF on its own in a header")
		}
		if eight && s.inside {
			return errHeader
		}
		s.plan.header = s.plan.header || eight
	case end:
		s.begun()
		e := &s.w.entity
		if e.nested() && !s.inside {
			s.inside, s.at, s.around = true, s.w.count-1, len(s.w.open)
		}
		if e.nested() || e.multipart() {
			return s.finish()
		}
	case text:
		s.body.add(x.data, eight, !s.w.entity.hasType)
	case filler:
		if s.w.preamble() && (eight || odd(x.data)) {
			s.lost = len(s.w.open)
			s.body.odd = s.body.odd || odd(x.data)
		}
	case delimiter:
		err := s.finish()
		if s.inside && (s.w.turn == part && len(s.w.open) <= s.around || len(s.w.open) < s.around) {
			if err != nil {
				s.plan.steps = append(s.plan.steps[:s.at], based|asGlobal)
				s.w.count, err = len(s.plan.steps), nil
			}
			s.inside = false
		}
		return err
	}
	return nil
}

// finish settles what becomes of the current entity, once.
func (s *scan) finish() error {
	defer func() { s.body = body{} }()
	if s.lost > 0 {
		begins := s.w.turn == part && len(s.w.open) == s.lost
		s.lost = 0
		switch {
		case begins:
		case s.inside || s.body.odd:
			return unfit("text in a multipart without parts")
		default:
			s.plan.steps[len(s.plan.steps)-1] = raw
		}
	}
	if len(s.plan.steps) == s.w.count {
		return nil // the rest of a message that is encoded as a whole
	}
	st, err := s.body.step(&s.w.entity)
	if err != nil && !s.inside && !s.body.odd {
		st, err = s.body.mislabelled(&s.w.entity), nil
	}
	s.plan.steps = append(s.plan.steps, st)
	return err
}

// fail notes why there is no conversion. In a message in the message that is no
// reason: it can be encoded as a whole.
func (s *scan) fail(err error) {
	switch {
	case err == nil:
	case s.inside:
		s.plan.steps = append(s.plan.steps[:s.at], based|asGlobal)
		w := s.w
		w.open, w.state, w.turn, w.count = w.open[:s.around], text, stay, len(s.plan.steps)
		s.inside = false
	default:
		s.why = err
	}
}

// rest looks at what is left.
func (s *scan) rest() error {
	s.plan.eight = s.plan.eight || !ASCII(s.w.held)
	s.odd = s.odd || odd(s.w.held)
	for !s.plan.eight || !s.odd {
		line, _, err := s.w.read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		s.plan.eight = s.plan.eight || !ASCII(line)
		s.odd = s.odd || odd(line)
	}
	return nil
}

// odd tells of what DATA cannot carry: a CR or LF on its own, or NUL.
func odd(p []byte) bool { return bare(p) || bytes.IndexByte(p, 0) >= 0 }

// body is what is known of the body of a part.
type body struct {
	eight   bool
	bare    bool   // a CR or LF on its own
	odd     bool   // that, or NUL
	long    bool   // a line that is too long
	invalid bool   // no UTF-8
	tail    []byte // of a character that is not complete
	col     int
}

func (b *body) add(p []byte, eight, charset bool) {
	b.eight = b.eight || eight
	b.bare = b.bare || bare(p)
	line := bytes.TrimSuffix(p, []byte("\r\n"))
	b.col += len(line)
	b.odd = b.odd || odd(p)
	b.long = b.long || b.col > maxLine
	if len(line) < len(p) {
		b.col = 0
	}
	if !charset || !eight && len(b.tail) == 0 {
		return
	}
	if len(b.tail) > 0 {
		p, b.tail = append(b.tail, p...), nil
	}
	for k := 1; k < utf8.UTFMax && k <= len(p); k++ {
		if c := p[len(p)-k:]; utf8.RuneStart(c[0]) {
			if !utf8.FullRune(c) {
				p, b.tail = p[:len(p)-k], bytes.Clone(c)
			}
			break
		}
	}
	b.invalid = b.invalid || !utf8.Valid(p)
}

// step decides what becomes of an entity with that body.
func (b *body) step(e *entity) (step, error) {
	switch raw := b.eight || b.odd || b.long; {
	case !e.plain():
		if b.eight {
			return keep, unfit("8-bit octets in a part that claims an encoding")
		}
		return keep, nil
	case !raw && e.wide():
		return relabel, nil
	case !raw:
		return keep, nil
	case e.main() == "multipart", e.mediaType == "message/partial",
		e.mediaType == "message/external-body":
		return keep, unfit("8-bit octets in a part that may not be encoded") // RFC 2045 section 6.4
	}
	st := quoted
	if m := e.main(); b.bare || m != "text" && m != "" {
		st = based
	}
	switch {
	case e.hasType || !b.eight:
	case !b.invalid && len(b.tail) == 0:
		st |= asUTF8
	default:
		st |= asUnknown
	}
	return st, nil
}

// mislabelled decides what becomes of an entity with 8-bit octets that cannot
// be encoded as a whole: it claims an encoding, or may have none. It stays as
// it is (as Postfix has it), since only its sender can know what is meant. In
// quoted-printable they stand for themselves to all who read it.
func (b *body) mislabelled(e *entity) step {
	if m := e.main(); e.encoding == "quoted-printable" && m != "multipart" && m != "message" {
		return escape
	}
	return raw
}
