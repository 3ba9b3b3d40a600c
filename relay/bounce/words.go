package bounce

import (
	"bytes"
	"strings"
)

const (
	maxText = 2048 // how much of a text counts
	maxGap  = 64   // between the parts of a phrase
)

// appendWords appends the words of a text in lower case, with a blank before,
// between and behind them. All but letters and digits parts words. Addresses
// are left out: whoever chose them shall not choose the class.
func appendWords(b []byte, text string) []byte {
	text = text[:min(len(text), maxText)]
	b = append(b, ' ')
	for text != "" {
		n := fieldAt(text)
		if field := text[:n]; strings.IndexByte(field, '@') < 0 {
			b = appendField(b, field)
		}
		text = text[n:]
	}
	return b
}

// fieldAt is how long the first field of a text is: a quoted local part with
// its domain, what stands in angle brackets, or what ends before a blank.
func fieldAt(text string) int {
	switch text[0] {
	case '"':
		if end := strings.IndexByte(text[1:], '"') + 2; strings.HasPrefix(text[end:], "@") {
			return end + plainAt(text[end:])
		}
	case '<':
		if end := strings.IndexByte(text, '>'); strings.IndexByte(text[:end+1], '@') >= 0 {
			return end + 1
		}
	}
	return plainAt(text)
}

// plainAt is how far it is to what cannot stand in an address without quotes.
func plainAt(text string) int {
	if i := strings.IndexAny(text[1:], " \t\r\n<>()[]:;,\""); i >= 0 {
		return i + 1
	}
	return len(text)
}

// appendField appends words, and a blank behind each.
func appendField(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'A' && c <= 'Z':
			b = append(b, c+'a'-'A')
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c >= 0x80:
			b = append(b, c)
		case b[len(b)-1] != ' ':
			b = append(b, ' ')
		}
	}
	if b[len(b)-1] != ' ' {
		b = append(b, ' ')
	}
	return b
}

// phrase is some words that follow each other, and further on others, and so
// on. Each part begins with a blank and ends with one, unless its last word is
// the beginning of one.
type phrase [][]byte

// readPhrase reads a phrase: "too many * connect*" is "too many" with a word
// that begins with "connect" not far behind it. What is none is nil.
func readPhrase(s string) phrase {
	var p phrase
	for part := range strings.SplitSeq(s, " * ") {
		stem, open := strings.CutSuffix(strings.TrimSpace(part), "*")
		words := appendWords(nil, stem)
		if open {
			words = bytes.TrimSuffix(words, []byte(" "))
		}
		if len(words) < 4 || strings.Contains(stem, "*") {
			return nil // rules are found by the first three letters
		}
		p = append(p, words)
	}
	return p
}

// begins reports whether the phrase begins where the words do.
func (p phrase) begins(words []byte) bool {
	if !bytes.HasPrefix(words, p[0]) {
		return false
	}
	for i, part := range p[1:] {
		words = words[len(p[i])-1:]
		at := bytes.Index(words[:min(len(words), maxGap+len(part))], part)
		if at < 0 {
			return false
		}
		words = words[at:]
	}
	return true
}
