package sevenbit

const hexDigits = "0123456789ABCDEF"

// appendQ appends octets in the Q encoding, fit for a phrase (RFC 2047 section
// 5).
func appendQ(b, p []byte) []byte {
	for _, c := range p {
		switch {
		case c == ' ':
			b = append(b, '_')
		case qSafe(c):
			b = append(b, c)
		default:
			b = append(b, '=', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}

func qSize(p []byte) (n int) {
	for _, c := range p {
		if c == ' ' || qSafe(c) {
			n++
		} else {
			n += len("=XX")
		}
	}
	return n
}

func qSafe(c byte) bool {
	return isAlnum(c) || c == '!' || c == '*' || c == '+' || c == '-' || c == '/'
}
