package smtpd

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/policy"
)

const (
	maxParams = 16
	maxHelo   = 255
)

var errSyntax = errors.New("smtpd: syntax")

// verb cuts a command line into its verb, in upper case, and its argument. Only
// letters of ASCII make a verb: Unicode has others whose upper case is one.
func verb(line string) (v, arg string) {
	v, arg, _ = strings.Cut(line, " ")
	if !isKeyword(v) {
		return "", ""
	}
	return strings.ToUpper(v), strings.Trim(arg, " \t")
}

// isKeyword reports whether s is an esmtp-keyword (RFC 5321 section 4.1.2).
func isKeyword(s string) bool {
	for i := range len(s) {
		if !alnum(s[i]) && (i == 0 || s[i] != '-') {
			return false
		}
	}
	return s != ""
}

// validHelo accepts what devices are set to, such as "(none)" or "My Printer":
// nothing is decided by the name. [IsHostName] tells those that are one.
func validHelo(s string) bool { return s != "" && len(s) <= maxHelo && !hasControl(s) }

// IsHostName reports whether a name in HELO is a domain name or an address
// literal (RFC 5321 section 4.1.1.1). Underscores and single labels are common
// in the field and harm nobody.
func IsHostName(s string) bool {
	if s == "" || len(s) > maxHelo {
		return false
	}
	if s[0] == '[' {
		if len(s) < 3 || s[len(s)-1] != ']' {
			return false
		}
		s = s[1 : len(s)-1]
		for i := range len(s) {
			if c := s[i]; !alnum(c) && c != '.' && c != ':' && c != '-' && c != '%' {
				return false
			}
		}
		return true
	}
	if s[0] == '.' || s[0] == '-' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alnum(c) && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// path reads what follows MAIL or RCPT up to the parameters.
func path(arg, keyword string) (a domains.Address, params string, err error) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return a, "", errSyntax
	}
	a, rest, err := domains.ParsePath(bracketed(arg[len(keyword):]))
	if err != nil {
		return a, "", err
	}
	if rest != "" && rest[0] != ' ' {
		return a, "", domains.ErrAddress
	}
	return a, rest, nil
}

// bracketed returns the path that s begins with in its angle brackets, and what
// follows it. A blank before it is against RFC 5321 section 3.3, and common; so
// is a mailbox without them, which ends at the first blank then. A source route
// and a quoted local part need them, so that there are no two ways to read it.
func bracketed(s string) string {
	s = strings.TrimLeft(s, " ")
	end := strings.IndexByte(s, ' ')
	if end < 0 {
		end = len(s)
	}
	mailbox := s[:end]
	if mailbox == "" || mailbox[0] == '@' || strings.ContainsAny(mailbox, `<>"\`) {
		return s
	}
	return "<" + mailbox + ">" + s[end:]
}

// params calls f for each esmtp-param of s (RFC 5321 section 4.1.2). A keyword
// that comes twice is an error.
func params(s string, f func(key, value string) *policy.Reply) *policy.Reply {
	var seen [maxParams]string
	n := 0
	for s = strings.TrimLeft(s, " "); s != ""; s = strings.TrimLeft(s, " ") {
		var p string
		p, s, _ = strings.Cut(s, " ")
		key, value, hasValue := strings.Cut(p, "=")
		if n == maxParams || !isKeyword(key) || hasValue && value == "" ||
			!utf8.ValidString(value) || hasControl(value) {
			return badParam()
		}
		key = strings.ToUpper(key)
		for _, k := range seen[:n] {
			if k == key {
				return badParam()
			}
		}
		seen[n] = key
		n++
		if r := f(key, value); r != nil {
			return r
		}
	}
	return nil
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

func badParam() *policy.Reply { return policy.BadArguments.Reply() }

// unknownParam is RFC 5321 section 4.1.1.11.
func unknownParam() *policy.Reply { return policy.UnknownParameter.Reply() }

// completePath adds a domain to the path of an argument that has none (RFC 6409
// section 8.1), but for <> and <postmaster>.
func completePath(arg, domain string) string {
	if keyword, path, ok := strings.Cut(arg, ":"); ok {
		arg = keyword + ":" + bracketed(path)
	}
	start := strings.IndexByte(arg, '<') + 1
	quoted := false
	for i := start; start > 0 && i < len(arg); i++ {
		switch c := arg[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '@':
			return arg
		case c == '>':
			if local := arg[start:i]; local == "" || strings.EqualFold(local, "postmaster") {
				return arg
			}
			return arg[:i] + "@" + domain + arg[i:]
		}
	}
	return arg
}
