package sevenbit

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxConverted = 64 << 10 // octets of a field that is converted
	maxWord      = 75       // octets of an encoded word (RFC 2047 section 2)
	maxParameter = 900      // octets of a parameter, all on one line
)

// appendField appends a header field without octets of 8 bits: as encoded words
// (RFC 2047), in parameters as RFC 2231 has it. They stay where neither is
// allowed: in addresses, message ids and the like. Of what no character set is
// known, unknown-8bit is told (RFC 1428).
func appendField(b, field []byte, charset string) []byte {
	name, value, ok := bytes.Cut(field, []byte(":"))
	if !ok || ASCII(field) || !ASCII(name) {
		return append(b, field...)
	}
	w := words{out: append(append(b, name...), ':'), charset: charsetOf(value, charset)}
	w.line = len(b)
	value, end := trimLineEnd(value)
	switch name := strings.ToLower(string(bytes.TrimRight(name, " \t"))); {
	case name == "content-type" || name == "content-disposition":
		w.parameters(value)
	case hasPhrases(name):
		w.structured(value, true)
	case isStrict(name):
		w.structured(value, false)
	default:
		w.text(value)
	}
	w.flush()
	return append(w.out, end...)
}

// charsetOf is the character set of raw octets: utf-8 if they are, else the one
// that the message tells for its body.
func charsetOf(p []byte, declared string) string {
	declared = strings.ToLower(declared)
	switch {
	case utf8.Valid(p):
		return "utf-8"
	case declared == "" || declared == "utf-8" || declared == "us-ascii" || len(declared) > 20:
		return "unknown-8bit"
	}
	for _, c := range []byte(declared) {
		if c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "unknown-8bit"
		}
	}
	return declared
}

// hasPhrases tells that a field has phrases, such as the names in an address
// list, which may be encoded.
func hasPhrases(name string) bool {
	switch strings.TrimPrefix(name, "resent-") {
	case "from", "sender", "reply-to", "to", "cc", "bcc", "list-id", "errors-to",
		"disposition-notification-to", "return-receipt-to", "mail-reply-to", "mail-followup-to":
		return true
	}
	return false
}

// isStrict tells that only the comments of a field may be encoded.
func isStrict(name string) bool {
	switch strings.TrimPrefix(name, "resent-") {
	case "received", "message-id", "in-reply-to", "references", "return-path", "date",
		"mime-version", "content-transfer-encoding", "content-id", "dkim-signature",
		"authentication-results", "received-spf", "list-unsubscribe", "list-post", "list-help":
		return true
	}
	return strings.HasPrefix(name, "arc-")
}

// words writes the value of a field. Words next to each other are encoded
// together with the white space between, which readers drop between two encoded
// words (RFC 2047 section 6.2).
type words struct {
	out     []byte
	line    int // where the last line begins in out
	charset string
	run     []byte // to be encoded
	blank   []byte // white space behind run, or behind what was written
	encoded bool   // what was written last is an encoded word
	coded   bool   // there is one in the last line
}

// put writes what may have line ends.
func (w *words) put(p []byte) {
	if i := bytes.LastIndexByte(p, '\n'); i >= 0 {
		w.line, w.coded = len(w.out)+i+1, false
	}
	w.out = append(w.out, p...)
}

// space takes white space, with its folding.
func (w *words) space(p []byte) { w.blank = append(w.blank, p...) }

// word takes text that must be encoded.
func (w *words) word(p []byte) {
	if len(w.run) == 0 && !w.encoded {
		w.flush()
	}
	w.run = append(w.run, unfold(w.blank)...)
	w.blank = w.blank[:0]
	w.run = append(w.run, p...)
}

// keep takes what stays as it is.
func (w *words) keep(p []byte) {
	encoded := isEncodedWord(p)
	if encoded && len(w.run) > 0 {
		w.run = append(w.run, unfold(w.blank)...)
	}
	w.flush()
	if w.encoded && !isBlank(w.out[len(w.out)-1]) && p[0] != ')' {
		w.out = append(w.out, ' ') // RFC 2047 section 5
	}
	if w.coded && w.column()+len(p) > maxWord+1 {
		w.fold() // RFC 2047 section 2
	}
	w.put(p)
	w.encoded, w.coded = encoded, w.coded || encoded
}

// flush writes the run, and the white space behind it.
func (w *words) flush() {
	if len(w.run) > 0 {
		if !isBlank(w.out[len(w.out)-1]) && w.out[len(w.out)-1] != '(' {
			w.out = append(w.out, ' ')
		}
		w.encode(w.run)
		w.run, w.encoded, w.coded = w.run[:0], true, true
	}
	w.put(w.blank)
	w.blank = w.blank[:0]
}

// encode writes encoded words, folded where a line would become too long.
func (w *words) encode(p []byte) {
	frame := len("=?") + len(w.charset) + len("?q?") + len("?=")
	col := w.column()
	if col+frame+utf8.UTFMax*len("=XX") > maxWord {
		w.fold()
		col = 1
	}
	for len(p) > 0 {
		w.out = append(append(append(w.out, "=?"...), w.charset...), "?q?"...)
		for room := maxWord - col - frame; len(p) > 0; {
			n := 1
			if w.charset == "utf-8" {
				_, n = utf8.DecodeRune(p)
			}
			size := qSize(p[:n])
			if size > room {
				break
			}
			w.out = appendQ(w.out, p[:n])
			p, room = p[n:], room-size
		}
		w.out = append(w.out, "?="...)
		if len(p) > 0 {
			w.put([]byte("\r\n "))
		}
		col = 1
	}
}

// column is the length of the last line.
func (w *words) column() int { return len(w.out) - w.line }

// fold puts a line end in front of the white space that was written last.
func (w *words) fold() {
	n := len(bytes.TrimRight(w.out, " \t"))
	if n < len(w.out) && w.out[n-1] != '\n' {
		w.out = slices.Insert(w.out, n, '\r', '\n')
		w.line, w.coded = n+len("\r\n"), false
	}
}

// text takes unstructured text.
func (w *words) text(p []byte) {
	for len(p) > 0 {
		n := 0
		for n < len(p) && isBlank(p[n]) == isBlank(p[0]) {
			n++
		}
		switch {
		case isBlank(p[0]):
			w.space(p[:n])
		case ASCII(p[:n]):
			w.keep(p[:n])
		default:
			w.word(p[:n])
		}
		p = p[n:]
	}
}

// structured takes a value of words, quoted strings, comments and addresses
// (RFC 5322 section 3.2). Without phrases only comments are encoded.
func (w *words) structured(p []byte, phrases bool) {
	depth := 0 // of comments
	for len(p) > 0 {
		n, text := token(p, depth > 0)
		rest := p[n:]
		switch c := p[0]; {
		case isBlank(c):
			w.space(p[:n])
		case c == '(' || depth > 0 && c == ')':
			if c == '(' {
				depth++
			} else {
				depth--
			}
			w.keep(p[:n])
		case ASCII(p[:n]) || depth == 0 && !(phrases && isPhrase(p[:n], rest)):
			w.keep(p[:n])
		default:
			w.word(text)
		}
		p = rest
	}
}

// parameters takes a value with parameters (RFC 2045 section 5.1).
func (w *words) parameters(p []byte) {
	for first := true; len(p) > 0; first = false {
		n := 0
		for n < len(p) && p[n] != ';' {
			if p[n] == '"' {
				m, _ := quotedText(p[n:], '"')
				n += m
			} else {
				n++
			}
		}
		if first {
			w.out = append(w.out, p[:n]...) // the type itself
		} else {
			w.parameter(p[:n])
		}
		if p = p[n:]; len(p) > 0 {
			w.out, p = append(w.out, ';'), p[1:]
		}
	}
}

// parameter takes what stands between two semicolons.
func (w *words) parameter(p []byte) {
	body := bytes.TrimFunc(p, blank)
	name, value, ok := bytes.Cut(body, []byte("="))
	name, value = bytes.TrimFunc(name, blank), bytes.TrimFunc(value, blank)
	if !ok || ASCII(p) || !isToken(name) || bytes.EqualFold(name, []byte("boundary")) {
		w.out = append(w.out, p...)
		return
	}
	if value[0] == '"' {
		n, text := quotedText(value, '"')
		if n != len(value) {
			w.out = append(w.out, p...)
			return
		}
		value = text
	}
	encoded := append([]byte(w.charset), "''"...)
	for _, c := range value {
		if isAttribute(c) {
			encoded = append(encoded, c)
		} else {
			encoded = append(encoded, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	if len(name)+len(encoded) > maxParameter {
		w.out = append(w.out, p...)
		return
	}
	w.out = append(w.out, p[:bytes.Index(p, body)]...)
	if bytes.HasSuffix(w.out, []byte("; ")) && len(name)+len(encoded) > 40 {
		w.out = append(w.out[:len(w.out)-1], "\r\n\t"...)
	}
	w.out = append(append(append(w.out, name...), "*="...), encoded...)
}
