package bounce

import (
	"strconv"
	"strings"
)

// codes is an enhanced status code, without its first digit, or a range of
// them. The zero value is none.
type codes struct {
	subject   int // -1 is none given
	low, high int
}

func noCode() codes { return codes{subject: -1} }

// readCode reads an enhanced status code, as a host sends it. What is none is
// none.
func readCode(s string) codes {
	_, rest, ok := strings.Cut(s, ".")
	if !ok || len(s) < 5 || s[1] != '.' {
		return noCode()
	}
	subject, detail, ok := strings.Cut(rest, ".")
	if !ok {
		return noCode()
	}
	a, b := number(subject), number(detail)
	if a < 0 || b < 0 {
		return noCode()
	}
	return codes{subject: a, low: b, high: b}
}

// number reads one to three digits; -1 is none.
func number(s string) int {
	if len(s) == 0 || len(s) > 3 || s[0] < '0' || s[0] > '9' {
		return -1
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

// has reports whether a code lies in the range; none does.
func (c codes) has(code codes) bool {
	return code.subject >= 0 && c.subject == code.subject && c.low <= code.low &&
		code.high <= c.high
}
