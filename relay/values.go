package relay

import (
	"net/netip"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/domains"
)

// wireName returns a host name as it goes on the wire: U-labels become A-labels
// (RFC 5890 section 2.3.2.1). What is not the name of a host stays as it is,
// for a check to refuse.
func wireName(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return s
	}
	if name, err := domains.ParseDomain(strings.ToLower(s)); err == nil {
		return name
	}
	return s
}

// literal is an address literal (RFC 5321 section 4.1.3), which stands for the
// name in EHLO.
func literal(a netip.Addr) string {
	if a.Is6() {
		return "[IPv6:" + a.String() + "]"
	}
	return "[" + a.String() + "]"
}

// isNil reports whether an interface holds something that is nil.
func isNil(x any) bool {
	switch v := reflect.ValueOf(x); v.Kind() {
	case reflect.Pointer, reflect.Func:
		return v.IsNil()
	}
	return false
}

// maxEventText bounds each text of a stored event: an event must fit into a
// record.
const maxEventText = 2 << 10

// cut shortens a text to maxEventText bytes.
func cut(s string) string {
	if len(s) <= maxEventText {
		return s
	}
	n := maxEventText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
