package event

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Append appends the event's stored form to b. Times are in UTC, the delay is
// in whole milliseconds as "delay_ms", and what is no UTF-8 becomes U+FFFD.
func Append(b []byte, e *Event) []byte {
	o := object(append(slices.Grow(b, sizeOf(e)), '{'))
	o.text("id", e.ID)
	o.time("time", e.Time)
	o.key("kind").quote(string(e.Kind))
	o.text("queue_id", e.QueueID)
	o.text("report_of", e.ReportOf)
	o.text("stream", e.Stream)
	o.text("connector", e.Connector)
	if e.Remote.IsValid() {
		o.text("remote", e.Remote.String())
	}
	o.text("tls", e.TLS)
	o.text("certificate", e.Certificate)
	o.text("user", e.User)
	o.text("credential", e.Credential)
	o.key("from").quote(e.From)
	o.list("to", e.To)
	o.number("size", e.Size)
	o.number("code", int64(e.Code))
	o.text("enhanced", e.Enhanced)
	o.text("text", e.Text)
	o.text("host", e.Host)
	o.text("class", string(e.Class))
	o.number("attempt", int64(e.Attempt))
	o.number("delay_ms", e.Delay.Milliseconds())
	o.time("next", e.Next)
	o.text("report", e.Report)
	o.text("site", e.Site)
	o.text("throttle", e.Throttle)
	o.text("stage", string(e.Stage))
	o.text("command", e.Command)
	o.text("reason", e.Reason)
	o.labels("labels", e.Labels)
	return append(o, '}')
}

// sizeOf is about how long the stored form becomes.
func sizeOf(e *Event) int {
	n := 320 + len(e.From) + len(e.Text) + len(e.Host) + len(e.Command) + len(e.Reason)
	for _, to := range e.To {
		n += 3 + len(to)
	}
	for k, v := range e.Labels {
		n += 6 + len(k) + len(v)
	}
	return n
}

// object is a JSON object that is being written, as encoding/json would write
// it: that is several times slower. Each method adds a member, but for an empty
// value.
type object []byte

func (o *object) key(name string) *object {
	if b := *o; b[len(b)-1] != '{' {
		*o = append(b, ',')
	}
	*o = append(append(append(*o, '"'), name...), '"', ':')
	return o
}

func (o *object) text(name, s string) {
	if s != "" {
		o.key(name).quote(s)
	}
}

func (o *object) number(name string, n int64) {
	if n != 0 {
		o.key(name)
		*o = strconv.AppendInt(*o, n, 10)
	}
}

// time leaves out what RFC 3339 cannot say.
func (o *object) time(name string, t time.Time) {
	t = t.UTC()
	if y := t.Year(); t.IsZero() || y < 0 || y > 9999 {
		return
	}
	o.key(name)
	*o = append(t.AppendFormat(append(*o, '"'), time.RFC3339Nano), '"')
}

func (o *object) list(name string, list []string) {
	if len(list) == 0 {
		return
	}
	o.key(name)
	*o = append(*o, '[')
	for i, s := range list {
		if i > 0 {
			*o = append(*o, ',')
		}
		o.quote(s)
	}
	*o = append(*o, ']')
}

func (o *object) labels(name string, labels map[string]string) {
	if len(labels) == 0 {
		return
	}
	inner := object(append(*o.key(name), '{'))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if inner[len(inner)-1] != '{' {
			inner = append(inner, ',')
		}
		inner.quote(k)
		inner = append(inner, ':')
		inner.quote(labels[k])
	}
	*o = append(inner, '}')
}

// quote appends a text. Like encoding/json it escapes what means something in
// HTML and JavaScript.
func (o *object) quote(s string) {
	b := append(*o, '"')
	done := 0 // what is appended of s
	for i := 0; i < len(s); {
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		if !isPlain(r, n) {
			b = appendEscape(append(b, s[done:i]...), r)
			done = i + n
		}
		i += n
	}
	*o = append(append(b, s[done:]...), '"')
}

// isPlain reports whether a character of n bytes stands for itself.
func isPlain(r rune, n int) bool {
	switch r {
	case '"', '\\', '<', '>', '&', '\u2028', '\u2029':
		return false
	case utf8.RuneError:
		return n > 1 // else it is no UTF-8
	}
	return r >= ' '
}

func appendEscape(b []byte, r rune) []byte {
	if i := strings.IndexRune("\"\\\b\f\n\r\t", r); i >= 0 {
		return append(b, '\\', `"\bfnrt`[i])
	}
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
