package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/postern-mail/postern"
)

// fault is one thing wrong with a configuration file.
type fault struct {
	field string // connector[0].remote_ip_ranges[1]
	err   error
}

func (f fault) String() string { return f.field + ": " + f.err.Error() }

// faults collects every fault, so that one run shows them all.
type faults []fault

func (f *faults) add(field, format string, args ...any) {
	*f = append(*f, fault{field, fmt.Errorf(format, args...)})
}

// require adds a fault of something that is missing, unless it was there and
// had another.
func (f *faults) require(field, format string, args ...any) {
	if !f.covers(field) {
		f.add(field, format, args...)
	}
}

// covers reports whether something is wrong with the field, or with what it is
// part of, already.
func (f faults) covers(field string) bool {
	return slices.ContainsFunc(f, func(x fault) bool {
		rest, ok := strings.CutPrefix(field, x.field)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// explain adds what the relay found wrong, under the names that the file uses.
// What only follows from a fault found before is left out.
func (f *faults) explain(err error) {
	earlier := *f
	for _, err := range parts(err) {
		fe, ok := errors.AsType[*postern.FieldError](err)
		if !ok {
			f.add("relay", "%w", err)
		} else if field := keyOf(fe.Field); !earlier.covers(field) {
			*f = append(*f, fault{field, fe.Err})
		}
	}
}

// parts returns the errors that an error was joined from.
func parts(err error) []error {
	switch e := err.(type) {
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return []error{err}
}

var (
	goName = regexp.MustCompile(`[A-Za-z0-9]+`)
	// Where the relay's name for a field is not the file's.
	renamed = strings.NewReplacer(
		"SendConnectors[", "SendConnector[", "Connectors[", "Connector[", "AcceptedDomains[",
		"AcceptedDomain[",
		"].Domain", "].Name", "Verifier", "Users", "Mailboxes.Hosts[0]", "Mailboxes.Deliver",
		"Mailboxes", "Mailboxes.Deliver",
		"XClient", "Xclient", "ClientCAs", "ClientCas",
		"RootCAs", "RootCas", "].Tokens", "].Oauth",
	)
)

// keyOf turns the path of a field of relay.Config into that of a key.
func keyOf(field string) string {
	if strings.HasPrefix(field, "DKIM") {
		field = strings.Replace(field, ".Signer", ".Key", 1)
	} else {
		field = renamed.Replace(field)
	}
	return goName.ReplaceAllStringFunc(field, snake)
}
