package httpapi

import (
	"errors"
	"net/mail"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/domains"
)

// mailbox is an address with a name.
type mailbox struct {
	name    string // as it stands in the header; may be empty
	address string // with the domain in A-labels
	ascii   bool
}

var errAddress = errors.New("httpapi: not an address")

// parseMailbox reads "user@example.com" and "Name <user@example.com>", where
// the name is one of RFC 5322: quoted, or with encoded words.
func parseMailbox(s string) (mailbox, error) {
	if len(s) > maxAddress || hasControl(s) {
		return mailbox{}, errAddress
	}
	a, err := mail.ParseAddress(s)
	if err != nil || len(a.Name) > maxDisplayName || hasControl(a.Name) {
		return mailbox{}, errAddress
	}
	// String quotes the local part again, which the parser has bared.
	bare := (&mail.Address{Address: a.Address}).String()
	d, err := domains.Parse(bare[len("<") : len(bare)-len(">")])
	if err != nil {
		return mailbox{}, errAddress
	}
	var m mailbox
	m.address, m.ascii = d.ASCII()
	switch {
	case isLiteral(a.Name):
		// RFC 2047 section 5 knows no encoded words in quotes, many readers do
		m.name = literal(a.Name)
	case a.Name != "":
		m.name, _ = strings.CutSuffix(
			(&mail.Address{Name: a.Name, Address: "a@b"}).String(), " <a@b>",
		)
	}
	return m, nil
}

// mailboxes reads a list of addresses.
func (f *faults) mailboxes(field string, list []string, ascii bool) []mailbox {
	out := make([]mailbox, len(list))
	for i, s := range list {
		out[i] = f.mailbox("#/"+field+"/"+strconv.Itoa(i), s, ascii)
	}
	return out
}

// mailbox reads an address. It must be all ASCII where it stands in the header
// only: what needs SMTPUTF8 is known by the envelope.
func (f *faults) mailbox(pointer, s string, ascii bool) mailbox {
	a, err := parseMailbox(s)
	switch {
	case err != nil && strings.Contains(s, "<"):
		f.add(
			pointer,
			`not an address; a name with punctuation is quoted: "Name, Inc." <user@example.com>`,
		)
	case err != nil || ascii && !a.ascii:
		f.add(pointer, "not an address")
	}
	return a
}
