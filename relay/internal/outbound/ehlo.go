package outbound

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// extensions is what an EHLO reply offers.
type extensions struct {
	startTLS   bool
	pipelining bool
	chunking   bool
	binary     bool
	dsn        bool
	utf8       bool
	eightBit   bool
	size       bool
	maxSize    int64    // 0: no limit given
	auth       []string // mechanisms
	maxMail    int      // transactions on a connection, RFC 9422; 0: no limit given
	maxRcpt    int      // recipients in a transaction
}

// add reads one line of the reply. Keywords are case-insensitive (RFC 5321
// section 2.4).
func (e *extensions) add(line []byte) {
	keyword, params, _ := strings.Cut(strings.ToUpper(string(bytes.TrimSpace(line))), " ")
	switch keyword {
	case "STARTTLS":
		e.startTLS = true
	case "PIPELINING":
		e.pipelining = true
	case "CHUNKING":
		e.chunking = true
	case "BINARYMIME":
		e.binary = true
	case "DSN":
		e.dsn = true
	case "SMTPUTF8":
		e.utf8 = true
	case "8BITMIME":
		e.eightBit = true
	case "SIZE":
		e.size = true
		if n, err := strconv.ParseInt(strings.TrimSpace(params), 10, 64); err == nil && n > 0 {
			e.maxSize = n
		}
	case "AUTH":
		e.addAuth(params)
	case "LIMITS":
		for f := range strings.FieldsSeq(params) {
			name, value, _ := strings.Cut(f, "=")
			n, err := strconv.Atoi(value)
			if err != nil || n <= 0 {
				continue
			}
			switch name {
			case "MAILMAX":
				e.maxMail = n
			case "RCPTMAX":
				e.maxRcpt = n
			}
		}
	default:
		// Some servers repeat the mechanisms in the form of the draft that came
		// before RFC 2554.
		if list, ok := strings.CutPrefix(keyword, "AUTH="); ok {
			e.addAuth(list + " " + params)
		}
	}
}

// maxMechanisms bounds what is kept of AUTH.
const maxMechanisms = 64

// addAuth keeps the mechanisms. Some peers name one twice.
func (e *extensions) addAuth(list string) {
	for m := range strings.FieldsSeq(list) {
		if !slices.Contains(e.auth, m) && len(e.auth) < maxMechanisms {
			e.auth = append(e.auth, m)
		}
	}
}
