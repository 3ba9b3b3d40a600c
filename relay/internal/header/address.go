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

// Addresses reads the mailboxes of a From, Sender or Reply-To value as [Header.Value] returns it. Each
// comes as local@domain, its local part quoted where it must be, without display name and comments.
// At most 16 KiB and 100 mailboxes are read; more is an error.
func Addresses(value string) ([]string, error) {
	if len(value) > maxAddressList {
		return nil, errAddresses
	}
	// The display name is not wanted, so no character set of it can be a fault.
	p := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
	}}
	// Nor can its octets, as long as they are of no address.
	list, err := p.ParseList(strings.ToValidUTF8(value, unreadable))
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

// HasGroup reports whether an address list has a group, "name: a@example.com, b@example.com;" (RFC 5322 section 3.4). The list is
// one that [Addresses] can read.
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
