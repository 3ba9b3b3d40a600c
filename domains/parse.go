package domains

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits in octets. The 64 that RFC 5321 section 4.5.3.1 gives a local part are
// what every host must take; those that name a recipient and a day (VERP, SRS)
// have more. The quotes and escapes of a quoted local part are counted. A path
// with its source route must fit a line of RFC 5322.
const (
	maxLocal = 256
	maxPath  = 998
)

// Parse reads a bare mailbox: local@domain, without angle brackets. Every
// error matches [ErrAddress].
//
// A local part of at most 256 octets is followed by a domain of at most 255
// octets. Characters beyond ASCII are allowed by RFC 6531; [Address.UTF8] tells
// whether there are any. Some forms in use that the RFCs do not have are taken
// and come out in the one they have: empty atoms (a..b@example.com) in quotes,
// a domain without its trailing dot, capitals beyond ASCII in lower case.
// Labels of a domain may have underscores.
func Parse(s string) (Address, error) {
	n, local, flags, err := scanLocal(s)
	if err != nil {
		return Address{}, err
	}
	if n == len(s) {
		return Address{}, syntaxError("no domain")
	}
	if s[n] != '@' {
		return Address{}, syntaxError("character not allowed in local part")
	}
	d, err := canonical(s[n+1:])
	if err != nil {
		return Address{}, err
	}
	if !d.ascii {
		flags |= domainUTF8
	}
	switch {
	case flags&mustQuote != 0 && s[0] != '"':
		s = quote(local) + "@" + d.written
	case len(d.written) != len(s)-n-1 || !d.ascii && d.written != s[n+1:]:
		s = s[:n+1] + d.written
	}
	return Address{text: s, local: local, domain: d.name, flags: flags}, nil
}

// MustParse is Parse for literals in tests and examples. It panics on error.
func MustParse(s string) Address {
	a, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

// ParsePath reads the path at the start of s, which is what follows FROM: or
// TO: in a command, and returns what follows the path: nothing, or parameters
// with the space before them. Source routes (<@a,@b:x@y>) are accepted and
// dropped, as RFC 5321 appendix C asks. "<>" gives the null Address;
// "<postmaster>" in any case gives an address whose domain is empty. Both are
// for the caller to refuse where they do not belong.
func ParsePath(s string) (a Address, rest string, err error) {
	if !strings.HasPrefix(s, "<") {
		return Address{}, "", syntaxError("path does not begin with <")
	}
	path := s[1:]
	routed := strings.HasPrefix(path, "@")
	if routed {
		if path, err = dropRoute(path); err != nil {
			return Address{}, "", err
		}
	}
	end := pathEnd(path)
	if end < 0 {
		return Address{}, "", syntaxError("path does not end with >")
	}
	mailbox, rest := path[:end], path[end+1:]
	if len(s)-len(rest) > maxPath {
		return Address{}, "", syntaxError("path too long")
	}
	if rest != "" && rest[0] != ' ' {
		return Address{}, "", syntaxError("no space after path")
	}
	switch {
	case mailbox == "" && !routed:
		return Address{}, rest, nil
	case isPostmaster(mailbox) && !routed: // RFC 5321 section 4.1.1.3
		return Address{text: mailbox, local: mailbox}, rest, nil
	}
	if a, err = Parse(mailbox); err != nil {
		return Address{}, "", err
	}
	return a, rest, nil
}

// dropRoute reads the A-d-l of RFC 5321 section 4.1.2 and returns what
// follows its colon.
func dropRoute(s string) (string, error) {
	s = s[:min(len(s), maxPath)] // bounds the search; a cut path has no end and is refused
	for strings.HasPrefix(s, "@") {
		i := strings.IndexAny(s, ",:>")
		if i < 0 || s[i] == '>' {
			break
		}
		if isLiteral(s[1:]) { // At-domain holds a name only
			break
		}
		if _, err := canonical(s[1:i]); err != nil {
			return "", err
		}
		if s[i] == ':' {
			return s[i+1:], nil
		}
		s = s[i+1:]
	}
	return "", syntaxError("malformed source route")
}

// pathEnd returns the index of the ">" that ends the path, or -1. A ">" in a
// quoted local part does not count; a quote elsewhere is no quote.
func pathEnd(s string) int {
	start := 0
	if strings.HasPrefix(s, `"`) {
		for start = 1; start < len(s) && s[start] != '"'; start++ {
			if s[start] == '\\' {
				start++
			}
		}
		if start >= len(s) {
			return -1
		}
	}
	i := strings.IndexByte(s[start:], '>')
	if i < 0 {
		return -1
	}
	return start + i
}

// scanLocal reads the local part at the start of s and returns its length and
// its value without quotes and escapes. One with empty atoms must be quoted; it
// is no Dot-string, but in use.
func scanLocal(s string) (n int, local string, f flags, err error) {
	if strings.HasPrefix(s, `"`) {
		return scanQuoted(s)
	}
	n, f, err = scanDotString(s)
	switch {
	case err != nil:
		return 0, "", 0, err
	case strings.Trim(s[:n], ".") == "":
		return 0, "", 0, syntaxError("empty local part")
	case n > maxLocal, f&mustQuote != 0 && n > maxLocal-len(`""`):
		return 0, "", 0, syntaxError("local part too long")
	}
	return n, s[:n], f, nil
}

// scanDotString reads a Dot-string up to the first octet that cannot belong to
// one. It allows the UTF8-non-ascii of RFC 6531 section 3.3, and empty atoms,
// which must be quoted.
func scanDotString(s string) (n int, f flags, err error) {
	dot := true // a dot makes an empty atom here
	for n < len(s) {
		c := s[n]
		switch {
		case isAtext(c):
			dot = false
			n++
		case c == '.':
			if dot {
				f |= mustQuote
			}
			dot = true
			n++
		case c >= utf8.RuneSelf:
			size := scanRune(s[n:])
			if size == 0 {
				return n, f, syntaxError("character not allowed in local part")
			}
			f |= localUTF8
			dot = false
			n += size
		default:
			return n, f.closed(dot), nil
		}
		if n > maxLocal {
			return n, f, nil
		}
	}
	return n, f.closed(dot), nil
}

// closed returns f for a Dot-string that ends after a dot, or not.
func (f flags) closed(dot bool) flags {
	if dot {
		return f | mustQuote
	}
	return f
}

// scanQuoted reads a Quoted-string.
func scanQuoted(s string) (n int, local string, f flags, err error) {
	escaped := false
	for n = 1; ; n++ {
		if n >= maxLocal && n < len(s) {
			return 0, "", 0, syntaxError("local part too long")
		}
		if n >= len(s) {
			return 0, "", 0, syntaxError("quoted local part does not end")
		}
		c := s[n]
		if c == '"' {
			break
		}
		if c == '\\' { // quoted-pairSMTP: RFC 6531 does not extend it
			escaped = true
			n++
			if n == len(s) || s[n] < ' ' || s[n] > '~' {
				return 0, "", 0, syntaxError("character not allowed after backslash")
			}
			continue
		}
		if c >= utf8.RuneSelf {
			size := scanRune(s[n:])
			if size == 0 {
				return 0, "", 0, syntaxError("character not allowed in quoted local part")
			}
			f |= localUTF8
			n += size - 1
			continue
		}
		if c < ' ' || c > '~' {
			return 0, "", 0, syntaxError("character not allowed in quoted local part")
		}
	}
	local = s[1:n]
	if escaped {
		local = unescape(local)
	}
	if end, bare, err := scanDotString(local); err != nil || end < len(local) {
		f |= mustQuote
	} else {
		f |= bare & mustQuote
	}
	return n + 1, local, f, nil
}

func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// scanRune returns the length of the character beyond ASCII at the start of
// s, or 0 if it is malformed or does not show when it is printed: a control, a
// space, a format character. The joiners are needed to write some languages.
func scanRune(s string) int {
	const nonJoiner, joiner = '\u200C', '\u200D'
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && size <= 1:
		return 0
	case r == nonJoiner, r == joiner:
		return size
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Z):
		return 0
	}
	return size
}

// isAtext reports whether c is atext of RFC 5322 section 3.2.3.
func isAtext(c byte) bool {
	const (
		low = 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' |
			1<<'+' | 1<<'-' | 1<<'/' | 1<<'=' | 1<<'?' | (1<<10-1)<<'0'
		high = 1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) |
			1<<('{'-64) | 1<<('|'-64) | 1<<('}'-64) | 1<<('~'-64) |
			(1<<26-1)<<('A'-64) | (1<<26-1)<<('a'-64)
	)
	if c < 64 {
		return uint64(low)>>c&1 != 0
	}
	return c < 128 && uint64(high)>>(c-64)&1 != 0
}
