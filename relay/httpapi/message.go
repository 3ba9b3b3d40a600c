package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/mail"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
)

// message is the body of a JSON request.
type message struct {
	From         string            `json:"from"`
	To           []string          `json:"to"`
	Cc           []string          `json:"cc"`
	Bcc          []string          `json:"bcc"`
	ReplyTo      []string          `json:"reply_to"`
	Subject      string            `json:"subject"`
	Text         string            `json:"text"`
	HTML         string            `json:"html"`
	Headers      map[string]string `json:"headers"`
	Attachments  []attachment      `json:"attachments"`
	EnvelopeFrom *string           `json:"envelope_from"`
	EnvelopeID   string            `json:"envelope_id"`
	Return       string            `json:"return"`
	Notify       []string          `json:"notify"`
	Labels       map[string]string `json:"labels"`
	Stream       string            `json:"stream"`
	NotBefore    string            `json:"not_before"` // RFC 3339
	Expires      string            `json:"expires"`    // RFC 3339

	// seed is what the boundaries are made of: the same for a body that is
	// repeated, and unknown to whoever writes a part of it.
	seed [sha256.Size]byte
}

const (
	maxDepth       = 3    // the message, its attachments, one of them
	maxOther       = 1000 // values beside recipients: more than all other limits allow
	maxAddress     = 1000
	maxReplyTo     = 25
	maxDisplayName = 256
	maxSubject     = 2000
	maxHeaders     = 64
	maxHeaderName  = 76
	maxHeaderValue = 8192
	maxAttachments = 100
	maxFileName    = 255
	maxMediaType   = 255
	maxLabels      = 16
	maxLabelName   = 64
	maxLabelValue  = 256
	maxAllLabels   = 1 << 10 // the relay's own bound
	maxFaults      = 20
	// maxWord keeps lines that cannot be folded under the 998 octets of RFC
	// 5322 section 2.1.1.
	maxWord = 900
)

// faults collects what is wrong with a message.
type faults []fault

func (f *faults) add(pointer, detail string) {
	if len(*f) < maxFaults {
		*f = append(*f, fault{Pointer: pointer, Detail: detail})
	}
}

// decode reads a JSON body with at most that many recipients.
func decode(body []byte, recipients int) (*message, faults) {
	one := func(pointer, detail string) (*message, faults) {
		return nil, faults{{Pointer: pointer, Detail: detail}}
	}
	switch depth, commas := shape(body); {
	case !utf8.Valid(body):
		return one("#", "not UTF-8")
	case depth > maxDepth:
		return one("#", "nested too deeply")
	case commas > recipients+maxOther:
		// A list of empty strings would take many times the memory of the body.
		return one("#", "too many values")
	}
	// RFC 8259 section 8.1: a mark may be ignored
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	m := new(message)
	if err := d.Decode(m); err != nil {
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return one(
				strings.TrimSuffix("#/"+strings.ReplaceAll(t.Field, ".", "/"), "/"),
				"not of the type it must have",
			)
		}
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			if name, err = strconv.Unquote(name); err == nil && len(name) <= 64 {
				return one("#/"+pointerToken(name), "unknown field")
			}
			return one("#", "unknown field")
		}
		return one("#", "not JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return one("#", "more than one JSON value")
	}
	if pointer, detail := ambiguous(body); detail != "" {
		return one(pointer, detail)
	}
	return m, nil
}

// recipients is how many recipients a JSON body may have that decode takes.
func recipients(body []byte, most int) int {
	_, commas := shape(body)
	return min(commas, most+maxOther)
}

// ambiguous finds a member that another reader of the body could take otherwise
// than encoding/json: given twice, or one of ours in other letters. The body is
// one that decode has taken.
func ambiguous(body []byte) (pointer, detail string) {
	var open [maxDepth]map[string]bool // the names so far of the objects around; nil for an array
	depth, isName, top := 0, false, ""
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			if isName = body[i] == '{'; isName {
				open[depth] = make(map[string]bool)
			} else {
				open[depth] = nil
			}
			depth++
		case '}', ']':
			depth--
		case ',':
			isName = open[depth-1] != nil
		case '"':
			start := i
			for i++; body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
			if !isName {
				continue
			}
			isName = false
			var name string
			_ = json.Unmarshal(body[start:i+1], &name) // decode could
			if depth == 1 {
				top = "#/" + pointerToken(name)
			}
			// At depth 2 there are headers and labels, whose names are the
			// client's.
			if depth != 2 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
				return top, "unknown field"
			}
			if open[depth-1][name] {
				return top, "a field is given twice"
			}
			open[depth-1][name] = true
		}
	}
	return "", ""
}

// pointerToken escapes a name for a pointer (RFC 6901 sections 3 and 6).
func pointerToken(s string) string {
	s = strings.NewReplacer("~", "~0", "/", "~1", "%", "%25").Replace(s)
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// shape returns how deeply objects and arrays are nested, and how many commas
// part their members.
func shape(b []byte) (depth, commas int) {
	now, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
			if c == '\\' {
				i++
			}
		case c == '{' || c == '[':
			now++
			depth = max(depth, now)
		case c == '}' || c == ']':
			now--
		case c == ',':
			commas++
		}
	}
	return depth, commas
}

// recipients counts those of the envelope, repetitions included.
func (m *message) recipients() int { return len(m.To) + len(m.Cc) + len(m.Bcc) }

// compose checks the fields and makes the message that goes to the relay.
func (m *message) compose() (*relay.Message, faults) {
	var f faults
	var out relay.Message
	c := composition{message: m}

	c.from = f.mailbox("#/from", m.From, m.EnvelopeFrom != nil)
	out.From = c.from.address
	c.to, c.cc = f.mailboxes("to", m.To, false), f.mailboxes("cc", m.Cc, false)
	bcc := f.mailboxes("bcc", m.Bcc, false)
	if len(m.ReplyTo) > maxReplyTo {
		f.add("#/reply_to", "too many addresses")
	} else {
		c.replyTo = f.mailboxes("reply_to", m.ReplyTo, true)
	}
	for _, list := range [][]mailbox{c.to, c.cc, bcc} {
		for _, a := range list {
			out.To = append(out.To, a.address)
		}
	}
	out.To = unique(out.To)
	if m.EnvelopeFrom != nil {
		out.From = *m.EnvelopeFrom
		if _, err := domains.Parse(out.From); err != nil && out.From != "" {
			f.add("#/envelope_from", "not an address")
		}
	}
	f.subject(m.Subject)
	f.headers(m.Headers)
	c.parts = f.attachments(m.Attachments)
	if len(m.EnvelopeID) > 100 ||
		strings.ContainsFunc(m.EnvelopeID, func(r rune) bool { return r < ' ' || r > '~' }) {
		f.add("#/envelope_id", "not at most 100 printable ASCII characters")
	}
	switch m.Return {
	case "", "FULL", "HDRS":
	default:
		f.add("#/return", "not FULL or HDRS")
	}
	if len(m.Notify) > 4 || out.Notify.UnmarshalText([]byte(strings.Join(m.Notify, ","))) != nil {
		f.add("#/notify", "not NEVER, or some of SUCCESS, FAILURE, DELAY")
	}
	if detail := checkLabels(m.Labels); detail != "" {
		f.add("#/labels", detail)
	}
	out.NotBefore = f.time("#/not_before", m.NotBefore)
	out.Expires = f.time("#/expires", m.Expires)
	f.stream(m.Stream)
	if len(f) > 0 {
		return nil, f
	}
	out.Stream = m.Stream
	out.EnvelopeID, out.Return, out.Labels = m.EnvelopeID, spool.Return(m.Return), m.Labels
	content := c.bytes()
	out.Content, out.Size = bytes.NewReader(content), int64(len(content))
	return &out, nil
}

// mailbox is an address with a name.
type mailbox struct {
	name    string // as it stands in the header; may be empty
	address string // with the domain in A-labels
	ascii   bool
}

// mailboxes reads a list of addresses.
func (f *faults) mailboxes(field string, list []string, ascii bool) []mailbox {
	out := make([]mailbox, len(list))
	for i, s := range list {
		out[i] = f.mailbox("#/"+field+"/"+strconv.Itoa(i), s, ascii)
	}
	return out
}

// mailbox reads an address. It must be all ASCII where it stands in the header
// only: what needs SMTPUTF8 is known by the envelope.
func (f *faults) mailbox(pointer, s string, ascii bool) mailbox {
	a, err := parseMailbox(s)
	switch {
	case err != nil && strings.Contains(s, "<"):
		f.add(
			pointer,
			`not an address; a name with punctuation is quoted: "Name, Inc." <user@example.com>`,
		)
	case err != nil || ascii && !a.ascii:
		f.add(pointer, "not an address")
	}
	return a
}

var errAddress = errors.New("httpapi: not an address")

// parseMailbox reads "user@example.com" and "Name <user@example.com>", where
// the name is one of RFC 5322: quoted, or with encoded words.
func parseMailbox(s string) (mailbox, error) {
	if len(s) > maxAddress || hasControl(s) {
		return mailbox{}, errAddress
	}
	a, err := mail.ParseAddress(s)
	if err != nil || len(a.Name) > maxDisplayName || hasControl(a.Name) {
		return mailbox{}, errAddress
	}
	// String quotes the local part again, which the parser has bared.
	bare := (&mail.Address{Address: a.Address}).String()
	d, err := domains.Parse(bare[len("<") : len(bare)-len(">")])
	if err != nil {
		return mailbox{}, errAddress
	}
	var m mailbox
	m.address, m.ascii = d.ASCII()
	switch {
	case isLiteral(a.Name):
		// RFC 2047 section 5 knows no encoded words in quotes, many readers do
		m.name = literal(a.Name)
	case a.Name != "":
		m.name, _ = strings.CutSuffix(
			(&mail.Address{Name: a.Name, Address: "a@b"}).String(), " <a@b>",
		)
	}
	return m, nil
}
