package connector

import (
	"errors"
	"fmt"
	"strings"
)

// checkDomain checks a domain name in A-labels: RFC 5321 section 4.1.2 (Domain)
// with the lengths of RFC 1035 section 2.3.4.
func checkDomain(s string) error {
	if s == "" {
		return errors.New("empty")
	}
	if len(s) > 253 {
		return errors.New("longer than 253 octets")
	}
	var last string
	for label := range strings.SplitSeq(s, ".") {
		if err := checkLabel(label); err != nil {
			return err
		}
		last = label
	}
	// RFC 3696 section 2: the last label is never all digits, so that a name
	// does not look like an address.
	if strings.Trim(last, "0123456789") == "" {
		return errors.New("a domain does not end in digits alone")
	}
	return nil
}

func checkLabel(s string) error {
	switch {
	case s == "":
		return errors.New("empty label: a dot too many")
	case len(s) > 63:
		return fmt.Errorf("label %q is longer than 63 octets", s)
	case s[0] == '-' || s[len(s)-1] == '-':
		return fmt.Errorf("label %q begins or ends with a hyphen", s)
	}
	for i := range len(s) {
		switch b := s[i]; {
		case b > '~':
			return fmt.Errorf("label %q is not ASCII; write it in A-labels (xn--…)", s)
		case !isAlnum(b) && b != '-':
			return fmt.Errorf("label %q has a character other than letters, digits and hyphens", s)
		}
	}
	return nil
}
