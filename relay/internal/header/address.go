package header

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"
)

const (
	maxAddressList = 16 << 10
	maxAddresses   = 100
)

// unreadable stands for octets that are not UTF-8.
const unreadable = "\ufffd"

var (
	errAddresses = errors.New("header: address list too long")
	errOctets    = errors.New("header: address with octets that are not UTF-8")
)

// Addresses reads the mailboxes of a From, Sender or Reply-To value as
// [Header.Value] returns it. Each comes as local@domain, its local part quoted
// where it must be, without display name and comments. At most 16 KiB and 100
// mailboxes are read; more is an error.
func Addresses(value string) ([]string, error) {
	if len(value) > maxAddressList {
		return nil, errAddresses
	}
	// The display name is not wanted, so no character set of it can be a fault.
	p := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
	}}
	// Nor can its octets, as long as they are of no address.
	list, err := p.ParseList(formal(strings.ToValidUTF8(value, unreadable)))
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if len(list) > maxAddresses {
		return nil, errAddresses
	}
	out := make([]string, len(list))
	for i, a := range list {
		if strings.Contains(a.Address, unreadable) {
			return nil, errOctets
		}
		// String quotes the local part again, which the parser has bared.
		s := (&mail.Address{Address: a.Address}).String()
		out[i] = s[len("<") : len(s)-len(">")]
	}
	return out, nil
}

// formal returns an address list with the forms in use that RFC 5322 does not
// have in the one it has, as package domains writes them: empty atoms of a
// local part (a..b@example.com) in quotes, a domain without its trailing dot.
// All else is left alone, for the parser to refuse.
func formal(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); {
		end := i + 1
		switch c := value[i]; {
		case c == '"':
			end = quotedEnd(value, i)
		case c == '(':
			end = commentEnd(value, i)
		case c == '[':
			end = i + strings.IndexByte(value[i:], ']') + 1
		case isAtext(c):
			for end < len(value) && isAtext(value[end]) {
				end++
			}
		}
		if end <= i {
			return value // broken from here on
		}
		word := value[i:end]
		switch {
		case end < len(value) && value[end] == '@' && hasEmptyAtoms(word):
			word = `"` + word + `"`
		case i > 0 && value[i-1] == '@':
			word = strings.TrimSuffix(word, ".")
		}
		b.WriteString(word)
		i = end
	}
	return b.String()
}

// hasEmptyAtoms reports whether a word is atoms with dots, and some are
// missing.
func hasEmptyAtoms(word string) bool {
	return isAtext(word[0]) && strings.Trim(word, ".") != "" && strings.Contains("."+word+".", "..")
}

// HasGroup reports whether an address list has a group, "name: a@example.com,
// b@example.com;" (RFC 5322 section 3.4). The list is one that [Addresses] can
// read.
func HasGroup(value string) bool {
	for i := 0; i < len(value); i++ {
		end := -1
		switch value[i] {
		case ':':
			return true
		case '"':
			end = quotedEnd(value, i)
		case '(':
			end = commentEnd(value, i)
		case '[': // an address literal
			end = i + strings.IndexByte(value[i:], ']') + 1
		default:
			continue
		}
		if end <= i {
			return false
		}
		i = end - 1
	}
	return false
}
