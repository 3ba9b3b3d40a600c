package dsn

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	// maxHeader is the largest header section that is attached.
	maxHeader = 1 << 20
	// ahead is how much of an original is looked at to tell whether it is
	// 7-bit.
	ahead = 32 << 10
	// date is the date of RFC 5322 section 3.3.
	date = "Mon, 2 Jan 2006 15:04:05 -0700"
)

// Write writes the report as a message, of which original is the content being
// reported. original is read from its start and only as far as needed; nil
// leaves it out, and so does a header section over 1 MiB, or one that is not
// CRLF lines. Any other error of original or w is returned.
//
// body is the value for BODY when the report is sent: 7BIT or 8BITMIME. The
// report needs SMTPUTF8 if r.UTF8 is set; Write clears it where nothing in the
// report is beyond ASCII, so that it can go everywhere and programs that do not
// know RFC 6533 can read it.
func (r *Report) Write(w io.Writer, original io.Reader) (body spool.Body, err error) {
	a, err := r.attach(original)
	if err != nil {
		return "", err
	}
	defer a.release()
	r.UTF8 = a.utf8
	boundary := r.boundary
	if boundary == "" {
		// The sender of the original cannot guess it, so no content can hold
		// it.
		var random [16]byte
		rand.Read(random[:])
		boundary = hex.EncodeToString(random[:])
	}
	body, encoding := spool.Body7Bit, "7bit"
	if r.UTF8 || a.eightBit {
		body, encoding = spool.Body8BitMIME, "8bit"
	}

	t := text{utf8: r.UTF8, b: make([]byte, 0, 4<<10)}
	r.header(&t, a.messageID)
	t.line("MIME-Version: 1.0")
	t.line("Content-Type: multipart/report; report-type=delivery-status;")
	t.line("\tboundary=\"" + boundary + "\"")
	t.line("Content-Transfer-Encoding: " + encoding)
	t.line("")

	charset, status := "us-ascii", "message/delivery-status"
	partEncoding := "7bit"
	if r.UTF8 {
		charset, status, partEncoding = "utf-8", "message/global-delivery-status", "8bit"
	}
	t.part(boundary, "text/plain; charset="+charset, partEncoding)
	r.words(&t)
	t.line("")
	t.part(boundary, status, partEncoding)
	r.status(&t)
	if a.h != nil {
		t.line("")
		t.part(boundary, a.mediaType, a.encoding())
	}
	if _, err := w.Write(t.b); err != nil {
		return "", err
	}
	if err := a.write(w); err != nil {
		return "", err
	}
	_, err = io.WriteString(w, "\r\n--"+boundary+"--\r\n")
	return body, err
}

func (r *Report) header(t *text, messageID string) {
	from := r.From
	if from == "" {
		from = "postmaster@" + r.Hostname
	}
	t.field("From", "Mail Delivery System <", from, ">")
	t.field("To", "<", r.To, ">")
	t.field("Subject", r.subject())
	t.field("Date", r.Date.Format(date))
	t.field("Message-ID", "<", r.ID, "@", r.Hostname, ">")
	if messageID != "" {
		t.field("In-Reply-To", messageID)
		t.field("References", messageID)
	}
	t.field("Auto-Submitted", "auto-replied") // RFC 3834 section 5
}

// status writes the part for programs (RFC 3464 section 2).
func (r *Report) status(t *text) {
	t.field("Reporting-MTA", "dns; ", r.Hostname)
	if r.EnvelopeID != "" {
		t.field("Original-Envelope-Id", r.EnvelopeID)
	}
	if r.OriginalID != "" {
		t.field("X-Postern-Queue-Id", r.OriginalID)
	}
	t.date("Arrival-Date", r.Arrival)
	for i := range r.Recipients {
		rcpt := &r.Recipients[i]
		t.line("")
		// RFC 3461 section 5.2.1: the type and the address are given back as
		// they came.
		if kind, addr, ok := strings.Cut(rcpt.Original, ";"); ok && isAtom(kind) && addr != "" {
			t.field("Original-Recipient", kind, "; ", addr)
		}
		kind := "rfc822; "
		if r.UTF8 && !ascii(rcpt.Address) {
			kind = "utf-8; " // RFC 6533 section 3
		}
		t.field("Final-Recipient", kind, rcpt.Address)
		t.field("Action", string(rcpt.Action))
		t.field("Status", rcpt.status())
		if name := rcpt.remote(); name != "" {
			t.field("Remote-MTA", "dns; ", name)
		}
		switch {
		case rcpt.Reply.Code != 0:
			t.field("Diagnostic-Code", "smtp; ", rcpt.Reply.String())
		case rcpt.Reply.Text != "":
			t.field("Diagnostic-Code", "X-Postern; ", rcpt.Reply.Text)
		}
		t.date("Last-Attempt-Date", rcpt.LastAttempt)
		if rcpt.Action == Delayed {
			t.date("Will-Retry-Until", rcpt.WillRetryUntil)
		}
	}
}

// status returns an enhanced status code that is well formed (RFC 3463 section
// 2).
func (rcpt *Recipient) status() string {
	if p := strings.Split(rcpt.Status, "."); len(p) == 3 && len(p[0]) == 1 &&
		strings.Contains("245", p[0]) && isNumber(p[1]) && isNumber(p[2]) {
		return rcpt.Status
	}
	switch rcpt.Action {
	case Failed:
		return "5.0.0"
	case Delayed:
		return "4.0.0"
	}
	return "2.0.0"
}

// remote returns the name of the remote host.
func (rcpt *Recipient) remote() string {
	name, _, _ := strings.Cut(rcpt.Host, " ")
	return name
}

// attachment is what the report shows of the original.
type attachment struct {
	h         *header.Header // nil: nothing
	rest      io.Reader      // nil: the header section only
	mediaType string
	messageID string
	eightBit  bool
	utf8      bool // the report needs the types of RFC 6533
}

func (r *Report) attach(original io.Reader) (*attachment, error) {
	a := &attachment{utf8: r.UTF8 && r.international()}
	if original == nil {
		return a, nil
	}
	h, rest, err := header.Read(original, maxHeader)
	if errors.Is(err, header.ErrTooLarge) {
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dsn: original: %w", err)
	}
	if !h.Clean() {
		// What an earlier version of the relay has stored: no report could be
		// sent with it.
		h.Release()
		return a, nil
	}
	header.Firewall{Routing: true}.Apply(h)
	a.h = h
	a.utf8 = a.utf8 || r.UTF8 && !ascii(h.Bytes())
	if id := h.Value("Message-ID"); isMessageID(id) {
		a.messageID = id
	}
	a.eightBit = a.utf8 || !ascii(h.Bytes())
	a.mediaType = "text/rfc822-headers"
	if a.utf8 {
		a.mediaType = "message/global-headers" // RFC 6533 section 6
	}
	if r.full() {
		a.mediaType = "message/rfc822"
		if a.utf8 {
			a.mediaType = "message/global" // RFC 6533 section 5
		}
		a.eightBit = a.eightBit || r.Body == "8BITMIME"
		br := bufio.NewReaderSize(io.LimitReader(rest, MaxFull), ahead)
		if !a.eightBit {
			// Many senders use 8-bit octets without a word. An error comes
			// again when the rest is read.
			seen, _ := br.Peek(ahead)
			a.eightBit = !ascii(seen)
		}
		a.rest = br
	}
	return a, nil
}

// international reports whether a value of the report itself is beyond ASCII.
func (r *Report) international() bool {
	for i := range r.Recipients {
		rcpt := &r.Recipients[i]
		if !ascii(rcpt.Address) || !ascii(rcpt.Original) || !ascii(rcpt.Reply.Text) {
			return true
		}
	}
	return !ascii(r.From) || !ascii(r.To) || !ascii(r.EnvelopeID) || !ascii(r.Hostname)
}

// full reports whether the original is attached whole.
func (r *Report) full() bool {
	limit := int64(MaxDefault)
	switch r.Return {
	case "HDRS":
		return false
	case "FULL":
		limit = MaxFull
	}
	if r.Size <= 0 || r.Size > limit || r.Body == "BINARYMIME" {
		return false
	}
	for i := range r.Recipients {
		if r.Recipients[i].Action == Failed {
			return true
		}
	}
	return false
}

func (a *attachment) encoding() string {
	if a.eightBit {
		return "8bit"
	}
	return "7bit"
}

func (a *attachment) write(w io.Writer) error {
	if a.h == nil {
		return nil
	}
	raw := a.h.Bytes()
	if a.rest == nil {
		_, err := w.Write(bytes.TrimSuffix(raw, []byte("\r\n")))
		return err
	}
	if _, err := w.Write(raw); err != nil {
		return err
	}
	m := mender{w: w, sevenBit: !a.eightBit}
	if _, err := io.Copy(&m, a.rest); err != nil {
		return err
	}
	return m.end()
}

func (a *attachment) release() {
	if a.h != nil {
		a.h.Release()
	}
}

// mender makes sure that what is attached can be sent: a part stays 7-bit that
// was announced as such, lines end with CRLF, and there is no NUL.
type mender struct {
	w        io.Writer
	sevenBit bool
	cr       bool // the last octet was CR
}

// Write passes on what is in order, and a mended copy of the rest.
func (m *mender) Write(p []byte) (int, error) {
	if m.fit(p) {
		m.cr = bytes.HasSuffix(p, []byte{'\r'}) || m.cr && len(p) == 0
		return m.w.Write(p)
	}
	q := make([]byte, 0, len(p)+len(p)/8)
	for _, c := range p {
		switch {
		case m.cr && c != '\n':
			q = append(q, '\n')
		case !m.cr && c == '\n':
			q = append(q, '\r')
		}
		if c == 0 || m.sevenBit && c >= utf8.RuneSelf {
			c = '?'
		}
		q = append(q, c)
		m.cr = c == '\r'
	}
	_, err := m.w.Write(q)
	return len(p), err
}

// fit reports whether p can be passed on as it is. A CR at its end is judged
// with what follows.
func (m *mender) fit(p []byte) bool {
	if bytes.IndexByte(p, 0) >= 0 || m.sevenBit && !ascii(p) {
		return false
	}
	if m.cr && len(p) > 0 {
		if p[0] != '\n' {
			return false
		}
		p = p[1:]
	}
	p = bytes.TrimSuffix(p, []byte{'\r'})
	pairs := bytes.Count(p, []byte("\r\n"))
	return pairs == bytes.Count(p, []byte{'\n'}) && pairs == bytes.Count(p, []byte{'\r'})
}

// end completes the last line.
func (m *mender) end() error {
	if !m.cr {
		return nil
	}
	_, err := m.w.Write([]byte{'\n'})
	return err
}
