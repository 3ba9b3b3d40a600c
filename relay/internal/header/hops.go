package header

import "bytes"

// Hops counts the trace fields, which tell how many relays the message has
// passed (RFC 5321 section 6.3), and those of them that the host of that name
// wrote: "by hostname" outside a comment.
func (h *Header) Hops(hostname string) (total, local int) {
	for _, s := range h.fields {
		f := h.field(s)
		if !f.Is("Received") {
			continue
		}
		total++
		if receivedBy(f.RawValue(), hostname) {
			local++
		}
	}
	return total, local
}

// receivedBy reports whether the value of a Received field has the clause "by
// hostname".
func receivedBy(value []byte, hostname string) bool {
	by := false
	for {
		var word []byte
		if word, value = nextWord(value); len(word) == 0 {
			return false
		}
		if by && len(word) == len(hostname) && hasPrefixFold(word, hostname) {
			return true
		}
		by = len(word) == 2 && hasPrefixFold(word, "by")
	}
}

// nextWord returns the first word of b outside comments, and what follows it.
func nextWord(b []byte) (word, rest []byte) {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '(':
			depth++
		case c == ')':
			depth = max(depth-1, 0)
		case c == '\\':
			i++
		case depth > 0 || c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ';':
		default:
			n := bytes.IndexAny(b[i:], "() \t\r\n;")
			if n < 0 {
				n = len(b) - i
			}
			return b[i : i+n], b[i+n:]
		}
	}
	return nil, nil
}
