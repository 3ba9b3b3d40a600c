package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

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

// recipients counts those of the envelope, repetitions included.
func (m *message) recipients() int { return len(m.To) + len(m.Cc) + len(m.Bcc) }
