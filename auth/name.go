package auth

import (
	"errors"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
)

// maxName is the longest user name in octets (RFC 4616 section 2).
const maxName = 255

// PrepareName returns a user name in the one form in which names are stored,
// compared and logged: SASLprep (RFC 4013). Spaces of every kind become plain
// ones, invisible characters vanish, and characters that look alike because
// they are the same become one, such as "ü" from a "u" with an accent beside
// it. The case of letters stays. It is an error if the name is empty or longer
// than 255 octets, is not UTF-8, or has control characters or others that RFC
// 4013 forbids.
//
// The server prepares the names that clients send. An application prepares a
// name when the user is created.
func PrepareName(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("auth: no user name")
	case len(name) > maxName:
		return "", errors.New("auth: the user name is longer than 255 octets")
	case isPlainASCII(name):
		return name, nil
	case !utf8.ValidString(name):
		return "", errors.New("auth: the user name is not UTF-8")
	}
	out, err := stringprep.SASLprep.Prepare(name)
	if err != nil {
		return "", errors.New("auth: the user name has characters that no name may have")
	}
	// Unicode's tables of today and those of RFC 3454 differ: make sure that
	// there is one form.
	if again, err := stringprep.SASLprep.Prepare(out); err != nil || again != out || out == "" ||
		len(out) > maxName {
		return "", errors.New("auth: the user name has no prepared form")
	}
	return out, nil
}

// isPlainASCII tells whether SASLprep would leave s as it is.
func isPlainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
