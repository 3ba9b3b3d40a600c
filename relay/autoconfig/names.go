package autoconfig

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postern-mail/postern/domains"
)

const maxText = 128 // characters of a name to show

func checkText(fault func(field, format string, args ...any), field, s string) {
	switch {
	case !utf8.ValidString(s):
		fault(field, "not UTF-8")
	case utf8.RuneCountInString(s) > maxText:
		fault(field, "longer than %d characters", maxText)
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		fault(field, "must be one line of characters that print")
	}
}

// hostname returns a host name in lower case and A-labels.
func hostname(s string) (string, error) {
	d, err := domains.ParseDomain(s)
	if err == nil && strings.HasPrefix(d, "[") {
		err = errors.New("an address literal is no host name")
	}
	return d, err
}
