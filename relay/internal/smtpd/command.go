package smtpd

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	maxParams     = 16
	maxEnvelopeID = 100 // RFC 3461 section 4.4
	maxHelo       = 255
	maxOriginal   = 500 // RFC 3461 section 4.2
)

var errSyntax = errors.New("smtpd: syntax")

// extensions are the ESMTP keywords that a session may use.
type extensions uint16

const (
	extSize extensions = 1 << iota
	extPipelining
	extDSN
	extEnhanced
	extStartTLS
	extAuth
	ext8Bit
	extBinary
	extChunking
	extUTF8
	extLimits
	extXClient
)

// keywords are in the order in which EHLO shows them.
func keywords() [12]string {
	return [...]string{"SIZE", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "STARTTLS", "AUTH", "8BITMIME",
		"BINARYMIME", "CHUNKING", "SMTPUTF8", "LIMITS", "XCLIENT"}
}

// supported returns every extension but those suppressed.
func supported(suppressed []string) extensions {
	e := extensions(1<<12 - 1)
	for _, s := range suppressed {
		for i, k := range keywords() {
			if strings.EqualFold(s, k) {
				e &^= 1 << i
			}
		}
	}
	return e
}

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
func params(s string, f func(key, value string) *Reply) *Reply {
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

func badParam() *Reply { return refusal(501, "5.5.4", "Invalid arguments") }

// unknownParam is RFC 5321 section 4.1.1.11.
func unknownParam() *Reply { return refusal(555, "5.5.4", "Unsupported parameter") }

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

// parseMail reads the argument of MAIL.
func parseMail(arg string, e extensions) (*Mail, *Reply) {
	from, rest, err := path(arg, "FROM:")
	if err != nil || from.Domain() == "" && !from.IsNull() {
		if errors.Is(err, errSyntax) {
			return nil, refusal(501, "5.5.4", "Invalid arguments, expected FROM:<address>")
		}
		return nil, refusal(501, "5.1.7", "Invalid address")
	}
	m := &Mail{From: from, Size: -1}
	if r := params(rest, func(key, value string) *Reply { return m.set(key, value, e) }); r != nil {
		return nil, r
	}
	// RFC 6531 section 3.5.
	if !m.UTF8 && from.UTF8() {
		return nil, refusal(550, "5.6.7", "Non-ASCII addresses need SMTPUTF8")
	}
	return m, nil
}

func (m *Mail) set(key, value string, e extensions) *Reply {
	switch {
	case key == "SIZE" && e&extSize != 0:
		// RFC 1870 section 5: up to 20 digits.
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || len(value) > 20 {
			return badParam()
		}
		m.Size = int64(n)
	case key == "BODY" && e&(ext8Bit|extBinary) != 0:
		switch v := strings.ToUpper(value); {
		case v == "7BIT", v == "8BITMIME" && e&ext8Bit != 0, v == "BINARYMIME" && e&extBinary != 0:
			m.Body = v
		default:
			return badParam()
		}
	case key == "SMTPUTF8" && e&extUTF8 != 0:
		if value != "" {
			return badParam()
		}
		m.UTF8 = true
	case key == "RET" && e&extDSN != 0:
		v := strings.ToUpper(value)
		if v != "FULL" && v != "HDRS" {
			return badParam()
		}
		m.Return = v
	case key == "ENVID" && e&extDSN != 0:
		v, err := xtext(value)
		if err != nil || len(value) > maxEnvelopeID || !printable(v) {
			return badParam()
		}
		m.EnvelopeID = v
	case key == "AUTH" && e&extAuth != 0:
		// RFC 4954 section 5.
		v, err := xtext(value)
		if err != nil || !printable(v) {
			return badParam()
		}
		if v == "<>" {
			v = ""
		} else if a, err := domains.Parse(v); err != nil {
			return badParam()
		} else {
			v = a.String()
		}
		m.Auth = &v
	default:
		return unknownParam()
	}
	return nil
}

// parseRcpt reads the argument of RCPT in the transaction m.
func parseRcpt(arg string, e extensions, m *Mail) (Rcpt, *Reply) {
	to, rest, err := path(arg, "TO:")
	if err != nil || to.IsNull() {
		if errors.Is(err, errSyntax) {
			return Rcpt{}, refusal(501, "5.5.4", "Invalid arguments, expected TO:<address>")
		}
		return Rcpt{}, refusal(501, "5.1.3", "Invalid address")
	}
	if r := DecideLength(m.From, to); r != nil {
		return Rcpt{}, r
	}
	rc := Rcpt{To: to}
	if r := params(rest, func(key, value string) *Reply {
		return rc.set(key, value, e, m.UTF8)
	}); r != nil {
		return Rcpt{}, r
	}
	// RFC 6531 section 3.5.
	if !m.UTF8 && to.UTF8() {
		return Rcpt{}, refusal(553, "5.6.7", "Non-ASCII addresses need SMTPUTF8")
	}
	return rc, nil
}

func (rc *Rcpt) set(key, value string, e extensions, utf8 bool) *Reply {
	switch {
	case key == "NOTIFY" && e&extDSN != 0:
		n, err := spool.ParseNotify(value)
		if err != nil || n == 0 {
			return badParam()
		}
		rc.Notify = n
	case key == "ORCPT" && e&extDSN != 0:
		o, err := original(value, utf8)
		if err != nil {
			return badParam()
		}
		rc.Original = o
	default:
		return unknownParam()
	}
	return nil
}

// original decodes an ORCPT value (RFC 3461 section 4.2, RFC 6533 section 3).
func original(s string, raw bool) (string, error) {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || !isKeyword(kind) || addr == "" || len(s) > maxOriginal {
		return "", errSyntax
	}
	if strings.EqualFold(kind, "utf-8") {
		addr, err := utf8Address(addr, raw)
		return kind + ";" + addr, err
	}
	addr, err := xtext(addr)
	if err != nil {
		return "", errSyntax
	}
	// Postfix writes addresses beyond ASCII as if they were of this type too.
	if raw && strings.EqualFold(kind, "rfc822") && internationalized(addr) {
		return "utf-8;" + addr, nil
	}
	if !printable(addr) {
		return "", errSyntax
	}
	return kind + ";" + addr, nil
}

// internationalized reports whether s is UTF-8 beyond ASCII without control
// characters.
func internationalized(s string) bool {
	ascii := true
	for _, r := range s {
		if r == utf8.RuneError || r < ' ' || r >= 0x7f && r < 0xa0 {
			return false
		}
		ascii = ascii && r < utf8.RuneSelf
	}
	return !ascii
}

// xtext decodes RFC 3461 section 4.
func xtext(s string) (string, error) {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '=' {
			return "", errSyntax
		} else if c == '+' {
			plain = false
		}
	}
	if plain {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errSyntax
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", errSyntax
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), nil
}

// utf8Address decodes utf-8-addr-xtext and, when raw UTF-8 is allowed,
// utf-8-addr-unitext (RFC 6533 section 3).
func utf8Address(s string, raw bool) (string, error) {
	var b strings.Builder
	for s != "" {
		if code, ok := strings.CutPrefix(s, `\x{`); ok {
			hex, rest, ok := strings.Cut(code, "}")
			n, err := strconv.ParseUint(hex, 16, 21)
			if !ok || err != nil || !utf8.ValidRune(rune(n)) || n < 0x20 || n >= 0x7f && n < 0xa0 {
				return "", errSyntax
			}
			b.WriteRune(rune(n))
			s = rest
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError || r < '!' || r == 0x7f || r == '\\' || r == '+' || r == '=' ||
			r > 0x7f && !raw {
			return "", errSyntax
		}
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String(), nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// parseBdat reads the argument of BDAT (RFC 3030 section 2).
func parseBdat(arg string) (size int64, last, ok bool) {
	num, rest, found := strings.Cut(arg, " ")
	if found {
		// Four octets: a long s folds to an s.
		if rest = strings.TrimLeft(rest, " "); len(rest) != 4 || !strings.EqualFold(rest, "LAST") {
			return 0, false, false
		}
		last = true
	}
	if num == "" || len(num) > 18 {
		return 0, false, false
	}
	for i := range len(num) {
		if num[i] < '0' || num[i] > '9' {
			return 0, false, false
		}
		size = size*10 + int64(num[i]-'0')
	}
	return size, last, true
}
