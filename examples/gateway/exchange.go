package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/connector/exchange"
	"github.com/postern-mail/postern/domains"
)

// fromExchange writes a configuration file made from what the Exchange
// Management Shell printed into a directory. Comments at its end say what has
// no counterpart or another meaning.
func fromExchange(dir, server, hostname string, stdout, stderr io.Writer) int {
	d, err := readDump(dir)
	if err == nil {
		d.Server = server
		err = convert(d, hostname, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// readDump reads the files that the documentation of package exchange names.
// Each may be missing, but not all.
func readDump(dir string) (d exchange.Dump, err error) {
	found := false
	for name, part := range map[string]*[]byte{
		"receive.json": &d.ReceiveConnectors, "accepted.json": &d.AcceptedDomains,
		"send.json": &d.SendConnectors, "permissions.json": &d.Permissions,
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return d, err
		}
		*part, found = text, true
	}
	if !found {
		return d, fmt.Errorf("-from-exchange: none of receive.json, accepted.json, send.json "+
			"and permissions.json is in %s", dir)
	}
	return d, nil
}

// convert writes the file and the notes.
func convert(d exchange.Dump, hostname string, w io.Writer) error {
	r, err := exchange.Read(d)
	if err != nil {
		return err
	}
	f := fileOf(r)
	f.Hostname = cmp.Or(hostname, r.Hostname, "relay.example.com")
	if err := f.encode(w); err != nil {
		return err
	}
	heading := "\n# What differs from Exchange:\n"
	for _, n := range r.Notes {
		// A note is one line, so that nothing in a dump can add a key here.
		if _, err := fmt.Fprintf(w, "%s# %s\n", heading, n); err != nil {
			return err
		}
		heading = ""
	}
	return nil
}

// fileOf returns the file for a result. The certificate, the users, the
// recipients and the passwords are in no dump: it names files for them.
func fileOf(r *exchange.Result) *file {
	f := &file{DefaultDomain: r.DefaultDomain, Spool: "spool", Connector: r.Connectors}
	for _, c := range r.Connectors {
		if c.AuthMechanisms.Has(connector.TLS) {
			f.TLS = &serverTLS{Certificate: "cert.pem", Key: "key.pem"}
		}
		if c.AuthMechanisms.Has(connector.BasicAuth) {
			f.Users = "users.htpasswd"
		}
	}
	for _, d := range r.AcceptedDomains {
		a := acceptedDomain{Name: d.Domain, Type: d.Type, SkipLookup: d.SkipLookup}
		if d.MatchSubdomains {
			a.Name = "*." + d.Domain
		}
		if d.Type == domains.Authoritative {
			a.RecipientsFile = "recipients.txt"
			f.Mailboxes.Deliver = "maildir:mail"
		}
		f.AcceptedDomain = append(f.AcceptedDomain, a)
	}
	for i, c := range r.SendConnectors {
		s := sendConnector{SendConnector: *c}
		if c.Username != "" {
			s.PasswordFile = fmt.Sprintf("password-%d.txt", i)
		}
		f.SendConnector = append(f.SendConnector, s)
	}
	return f
}
