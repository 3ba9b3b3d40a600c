package bounce

import "strings"

// codes is an enhanced status code, without its first digit, or a range of
// them.
type codes struct {
	subject   int // -1 is none
	low, high int
}

func noCode() codes { return codes{subject: -1} }

// readCode reads an enhanced status code, as a host sends it. What is none is
// none.
func readCode(s string) codes {
	if len(s) < 5 || s[1] != '.' {
		return noCode()
	}
	subject, detail, _ := strings.Cut(s[2:], ".")
	a, b := number(subject), number(detail)
	if a < 0 || b < 0 {
		return noCode()
	}
	return codes{subject: a, low: b, high: b}
}

// number reads one to three digits; -1 is none.
func number(s string) int {
	if len(s) == 0 || len(s) > 3 {
		return -1
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// has reports whether a code lies in the range; none does.
func (c codes) has(code codes) bool {
	return code.subject >= 0 && c.subject == code.subject && c.low <= code.low &&
		code.high <= c.high
}
