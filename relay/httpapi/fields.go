package httpapi

import (
	"maps"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// time reads a time of RFC 3339; empty is none.
func (f *faults) time(pointer, s string) time.Time {
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		f.add(pointer, "not a time of RFC 3339, such as 2026-12-24T18:00:00Z")
	}
	return t
}

func (f *faults) stream(s string) {
	if len(s) > maxStream || strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') &&
			(r|0x20 < 'a' || r|0x20 > 'z')
	}) {
		f.add("#/stream", "not at most 64 letters, digits, hyphens, underscores and dots")
	}
}

func (f *faults) subject(s string) {
	if len(s) > maxSubject || hasControl(s) || hasLongWord(s) {
		f.add("#/subject", "too long, a word too long, or control characters")
	}
}

func (f *faults) headers(h map[string]string) {
	if len(h) > maxHeaders {
		f.add("#/headers", "too many fields")
		return
	}
	seen := make(map[string]bool, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		pointer := "#/headers/" + pointerToken(name[:min(len(name), maxHeaderName)])
		lower := strings.ToLower(name)
		switch value := h[name]; {
		case !isFieldName(name):
			f.add(pointer, "not the name of a header field")
		case isReserved(lower):
			f.add(pointer, "set by another field or by the relay")
		case seen[lower]:
			f.add(pointer, "given twice")
		case strings.TrimSpace(value) == "" || len(value) > maxHeaderValue || hasControl(value) ||
			hasLongWord(value):
			f.add(pointer, "empty, too long, a word too long, or control characters")
		default:
			if detail := structured(lower, value); detail != "" {
				f.add(pointer, detail)
			}
		}
		seen[lower] = true
	}
}

// isStructured reports whether the value of a field, whose name is in lower
// case, is no text but has a syntax of its own.
func isStructured(name string) bool {
	switch name {
	case "date", "message-id", "in-reply-to", "references",
		"disposition-notification-to", "return-receipt-to", "errors-to", "mail-followup-to",
		"mail-reply-to":
		return true
	}
	return strings.HasPrefix(name, "list-")
}

// structured says what is wrong with the value of a structured field, or
// nothing.
func structured(name, value string) string {
	if !isStructured(name) {
		return ""
	}
	if !isASCII(value) {
		return "not ASCII"
	}
	switch {
	case name == "date":
		if _, err := mail.ParseDate(value); err != nil {
			return "not a date of RFC 5322"
		}
	case name == "message-id":
		left, right, _ := strings.Cut(value, "@")
		if !isMessageID(value) || len(left) < len("<x") || len(right) < len("x>") ||
			strings.Contains(right, "@") {
			return "not one message id in angle brackets"
		}
	case name == "in-reply-to", name == "references":
		for id := range strings.FieldsSeq(value) {
			if !isMessageID(id) {
				return "not message ids in angle brackets"
			}
		}
	case !strings.HasPrefix(name, "list-"):
		if _, err := mail.ParseAddressList(value); err != nil {
			return "not addresses"
		}
	}
	return ""
}

// isMessageID is wider than RFC 5322 section 3.6.4: what a message answers may
// have an id of any kind.
func isMessageID(s string) bool {
	return len(s) > len("<>") && s[0] == '<' && strings.IndexByte(s, '>') == len(s)-1 &&
		!strings.ContainsAny(s[1:], "< ")
}

// fieldText is the value of a field as it stands in the header.
func fieldText(name, value string) string {
	if isStructured(strings.ToLower(name)) {
		return value
	}
	return words(value)
}

// isFieldName is narrower than RFC 5322 section 2.2: no field in use needs
// more.
func isFieldName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= maxHeaderName
}

// isReserved reports whether a field, in lower case, is not for the client to
// set.
func isReserved(name string) bool {
	switch name {
	case "from", "sender", "to", "cc", "bcc", "reply-to", "subject", "mime-version",
		"return-path", "received", "received-spf", "dkim-signature", "domainkey-signature",
		"authentication-results":
		return true
	}
	return strings.HasPrefix(name, "content-") || strings.HasPrefix(name, "resent-") ||
		strings.HasPrefix(name, "arc-")
}

// checkLabels says what is wrong with labels, or nothing.
func checkLabels(labels map[string]string) string {
	if len(labels) > maxLabels {
		return "too many labels"
	}
	size := 0
	for k, v := range labels {
		if size += len(k) + len(v); size > maxAllLabels {
			return "the labels have more than 1 KiB in all"
		}
		if k == "" || len(k) > maxLabelName || len(v) > maxLabelValue || hasControl(k) ||
			hasControl(v) ||
			!utf8.ValidString(k) || !utf8.ValidString(v) {
			return "a label is empty, too long, or has control characters"
		}
	}
	return ""
}
