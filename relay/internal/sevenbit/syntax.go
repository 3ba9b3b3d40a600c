package sevenbit

import (
	"bytes"
	"strings"
)

func trimLineEnd(p []byte) (text, end []byte) {
	text = bytes.TrimSuffix(p, []byte("\r\n"))
	return text, p[len(text):]
}

// isPhrase tells that a token is part of a phrase, and not of an address.
func isPhrase(p, rest []byte) bool {
	switch p[0] {
	case '<', '[':
		return false
	}
	return (p[0] == '"' || bytes.IndexByte(p, '@') < 0) &&
		(len(rest) == 0 || rest[0] != '@' && rest[0] != '.')
}

// token returns the length of the first token, and its text without quotes.
func token(p []byte, comment bool) (n int, text []byte) {
	switch c := p[0]; {
	case isBlank(c):
		for n < len(p) && isBlank(p[n]) {
			n++
		}
		return n, p[:n]
	case c == '(' || c == ')':
		return 1, p[:1]
	case !comment && c == '"':
		return quotedText(p, '"')
	case !comment && c == '<':
		n, _ = quotedText(p, '>')
		return n, p[:n]
	case !comment && c == '[':
		n, _ = quotedText(p, ']')
		return n, p[:n]
	case !comment && isSpecial(c):
		return 1, p[:1]
	}
	for n < len(p) && !isBlank(p[n]) && p[n] != '(' && p[n] != ')' &&
		(comment || !isSpecial(p[n])) {
		if p[n] == '\\' && n+1 < len(p) {
			n++
		}
		text = append(text, p[n])
		n++
	}
	return n, text
}

// quotedText returns the length of what ends with an octet that is not quoted
// by a backslash, and what is in it, on one line.
func quotedText(p []byte, end byte) (n int, text []byte) {
	for n = 1; n < len(p); n++ {
		switch c := p[n]; {
		case c == end:
			return n + 1, text
		case c == '\\' && n+1 < len(p):
			n++
			text = append(text, p[n])
		case c != '\r' && c != '\n':
			text = append(text, c)
		}
	}
	return n, text
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// isAttribute tells that an octet stands for itself in a parameter (RFC 2231
// section 7).
func isAttribute(c byte) bool {
	return isAlnum(c) || strings.IndexByte("!#$&+-.^_`|~", c) >= 0
}

func isToken(p []byte) bool {
	for _, c := range p {
		if !isAttribute(c) {
			return false
		}
	}
	return len(p) > 0
}

func isBlank(c byte) bool { return blank(rune(c)) }

func blank(c rune) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// isSpecial tells that an octet parts words in a structured field.
func isSpecial(c byte) bool { return strings.IndexByte(`<>()[],;:"`, c) >= 0 }

func isEncodedWord(p []byte) bool {
	return len(p) > 6 && bytes.HasPrefix(p, []byte("=?")) && bytes.HasSuffix(p, []byte("?="))
}

// unfold is white space on one line.
func unfold(p []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, p)
}
