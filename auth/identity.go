package auth

import "strings"

// Identity is who a session has proved to be.
type Identity struct {
	// User is the name it logged on with.
	User string
	// Groups are the application's own groups, which a grant may name.
	Groups []string
	// Senders are the addresses it may send as: "app@example.com", or
	// "*@example.com" for every address of that domain, but not of its
	// subdomains. They are written as domains.Address.Key writes them, that is,
	// with A-labels. The case of ASCII letters does not matter. A user named
	// like an address owns that address, unless there is a Credential.
	Senders []string
	// Credential is the id of the [Credential] it logged on with. Empty is
	// usual. An Identity that a [Keyring] gave, and every copy of it, also
	// knows the secret and the address of the logon, on which [Keyring.Spend]
	// insists.
	Credential string
	// Server tells that it is one of the operator's own relays. It counts
	// inside TLS on a receive connector with ExchangeServer only, where it
	// comes with far-reaching rights.
	Server bool
	// Labels are the application's own; they appear on events.
	Labels map[string]string

	basis *basis // behind Credential; nil if a Keyring did not make the identity
}

// MaySendAs reports whether the identity owns the mailbox, given as
// local@domain with the domain in lower case (domains.Address.Key). Local parts
// are compared without regard to the case of ASCII letters. Nobody owns the
// null reverse-path; a nil Identity owns nothing.
func (id *Identity) MaySendAs(mailbox string) bool {
	if id == nil {
		return false
	}
	at := strings.LastIndexByte(mailbox, '@') // a quoted local part may hold others
	if at <= 0 || at == len(mailbox)-1 {
		return false
	}
	// The name is the client's: a star in it is no wildcard.
	if id.Credential == "" && equalFold(id.User, mailbox) {
		return true
	}
	for _, s := range id.Senders {
		if strings.HasPrefix(s, "*@") && equalFold(s[1:], mailbox[at:]) || equalFold(s, mailbox) {
			return true
		}
	}
	return false
}

// equalFold compares without regard to the case of ASCII letters. Other
// letters must match: some of them fold to ASCII ones.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
