package header

import (
	"errors"
	"io"
	"mime"
	"strings"
)

const maxQuoted = 900 // octets, so that no line comes near 998

var errName = errors.New("header: no display name before one address in angle brackets")

// QuoteName reads a From or Sender value that [Addresses] cannot read because
// its display name has what must be quoted: commas, colons, brackets, an
// address, octets of no character set, an encoded word that is empty. It
// returns the value with the name in quotes, and all that a reader could take
// for an address, in the name and behind it.
//
// One address in angle brackets must end the value, and no other stand before
// it. Encoded words (RFC 2047) that are well formed stay as they are.
func QuoteName(value string) (quoted string, addresses []string, err error) {
	value = strings.TrimRight(value, " \t")
	at := strings.LastIndexByte(value, '<')
	if at < 0 || len(value) > maxQuoted {
		return "", nil, errName
	}
	name, angle := value[:at], value[at:]
	if strings.ContainsAny(name, "<>") && strings.Contains(name, "@") {
		return "", nil, errName // perhaps another one
	}
	behind, err := Addresses(angle)
	if err != nil || len(behind) != 1 || angle[len(angle)-1] != '>' {
		return "", nil, errName
	}
	if n := strings.Trim(name, " \t"); n != "" && n[0] == '"' && quotedEnd(n, 0) == len(n) {
		name = unquote(n[1 : len(n)-1]) // it has its quotes
	}
	phrase, text := quotePhrase(name)
	for _, s := range []string{name, text} {
		list, ok := alike(s)
		if !ok {
			return "", nil, errName
		}
		addresses = append(addresses, list...)
	}
	if quoted = phrase + angle; len(quoted) > maxQuoted {
		return "", nil, errName
	}
	return quoted, append(addresses, behind...), nil
}

// quotePhrase writes a display name as the words of a phrase (RFC 5322 section
// 3.2.5), with a space behind it. text is what its encoded words mean.
func quotePhrase(name string) (phrase, text string) {
	var b, plain, decoded strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			b.WriteByte('"')
			b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(plain.String()))
			b.WriteString(`" `)
			plain.Reset()
		}
	}
	for _, word := range strings.FieldsFunc(name, func(c rune) bool {
		return c <= ' ' ||
			c == 0x7f
	}) {
		s, ok := decodeWord(word)
		decoded.WriteString(s)
		if ok {
			if s != "" {
				flush()
				b.WriteString(word + " ")
			}
			continue
		}
		if plain.Len() > 0 {
			plain.WriteByte(' ')
		}
		plain.WriteString(word)
	}
	flush()
	return b.String(), decoded.String()
}

// decodeWord reads what a reader may take for an encoded word, and tells
// whether it may stand in a phrase as it is (RFC 2047 section 5). Octets of
// character sets that are not known stand for themselves.
func decodeWord(s string) (text string, ok bool) {
	if !strings.HasPrefix(s, "=?") {
		return "", false
	}
	odd := func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune("\"(),.:;<>@[\\]", c)
	}
	d := mime.WordDecoder{
		CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
	}
	text, err := d.Decode(s)
	if err != nil {
		return "", false
	}
	return strings.TrimSpace(text), !strings.ContainsFunc(s, odd)
}

// alike returns all that a reader could take for an address in a text. It is
// not ok if there is an @ of which that cannot be told.
func alike(text string) (list []string, ok bool) {
	const delimiters = " \t\r\n\",;:()<>[]\\"
	for at := range len(text) {
		if text[at] != '@' {
			continue
		}
		local := text[strings.LastIndexAny(text[:at], delimiters+"@")+1 : at]
		domain := text[at+1:]
		if n := strings.IndexAny(domain, delimiters+"@'"); n >= 0 {
			domain = domain[:n]
		}
		local, domain = strings.TrimLeft(local, "'"), strings.TrimRight(domain, ".")
		if local == "" || domain == "" {
			return nil, false
		}
		list = append(list, local+"@"+domain)
	}
	return list, true
}
