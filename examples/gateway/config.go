package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// loader turns a file into the relay's configuration.
type loader struct {
	faults
	dir     string // relative paths start here
	lasting *lasting
	log     *slog.Logger
}

// sendersOf returns the addresses users may send as, of a file that has no
// faults.
func sendersOf(path string) map[string][]string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	text, _ = textOf(text)
	f, _ := new(loader).decode(string(text))
	return f.Senders
}

// load reads a configuration file and returns it with the place of the spool
// and every fault, those that only a relay finds among them. It opens neither
// sockets nor the spool.
func load(path string, last *lasting, log *slog.Logger) (relay.Config, storage, faults) {
	l := &loader{dir: filepath.Dir(path), lasting: last, log: log}
	text, err := os.ReadFile(path)
	if err == nil {
		text, err = textOf(text)
	}
	if err != nil {
		l.add("-config", "%w", err)
		return relay.Config{}, storage{}, l.faults
	}
	f, ok := l.decode(string(text))
	if !ok {
		return relay.Config{}, storage{}, l.faults
	}
	cfg := relay.Config{
		Hostname:          f.Hostname,
		Connectors:        f.Connector,
		DefaultDomain:     f.DefaultDomain,
		Postmaster:        f.Postmaster,
		MaxDeliveries:     f.MaxDeliveries,
		DrainTimeout:      f.DrainTimeout,
		LeaseTime:         f.LeaseTime,
		RequireEncryption: f.RequireEncryption,
		CompleteAddresses: f.CompleteAddresses,
		Retry:             f.Retry,
		Shaping:           f.Shaping,
		Pressure:          f.Pressure,
		EventLog:          f.EventLog,
		Proxies:           f.Proxies,
		XClient:           f.Xclient,
		NATGuard:          f.NATGuard,
		TLS:               l.certificate(f),
		Auth:              l.users(f),
		Mailboxes:         l.mailboxes(f),
		Policy:            l.streams(f.StreamHeader),
	}
	for i, d := range f.AcceptedDomain {
		at := fmt.Sprintf("accepted_domain[%d].", i)
		cfg.AcceptedDomains = append(cfg.AcceptedDomains, domains.AcceptedDomain{
			Domain: d.Name, Type: d.Type, MatchSubdomains: d.MatchSubdomains,
			Recipients: l.recipients(at, d.Recipients, d.RecipientsFile), SkipLookup: d.SkipLookup,
		})
	}
	for i := range f.SendConnector {
		c := &f.SendConnector[i]
		if c.PasswordFile != "" {
			password := l.secret(fmt.Sprintf("send_connector[%d].password_file", i), c.PasswordFile)
			c.Password = strings.TrimRight(string(password), "\r\n")
		}
		at := fmt.Sprintf("send_connector[%d].", i)
		if c.RootCas != "" {
			c.SendConnector.RootCAs = l.roots(at+"root_cas", c.RootCas)
		}
		for j, pair := range c.Certificates {
			c.SendConnector.Certificates = append(c.SendConnector.Certificates,
				l.pair(fmt.Sprintf("%scertificates[%d]", at, j), pair.Certificate, pair.Key))
		}
		if c.Oauth != nil {
			c.Tokens = l.tokens(at+"oauth", c.Oauth, c.Username)
		}
		cfg.SendConnectors = append(cfg.SendConnectors, &c.SendConnector)
	}
	for i, k := range f.DKIM {
		cfg.DKIM = append(cfg.DKIM, msgauth.Key{
			Domain: k.Domain, Selector: k.Selector, Subdomains: k.Subdomains,
			Signer: l.signer(fmt.Sprintf("dkim[%d].key", i), k.Key),
		})
	}
	place := l.storage(path, f)
	trial := cfg
	trial.Spool = memspool.New(nil)
	_, err = relay.New(trial)
	l.explain(err)
	return cfg, place, l.faults
}

func (l *loader) users(f *file) *auth.Server {
	if f.Users == "" {
		if len(f.Senders) > 0 {
			l.require("users", "senders are given, but no users")
		}
		if f.Scram {
			l.require("users", "scram is set, but there are no users")
		}
		return nil
	}
	warnOfReaders(l.path(f.Users), "users", l.log)
	users, err := auth.OpenHtpasswd(l.path(f.Users), &auth.HtpasswdOptions{
		RequireSCRAM:  f.Scram,
		OnReloadError: func(err error) { l.log.Error("users not reloaded", "err", err) },
	})
	if err != nil {
		for _, err := range parts(err) {
			l.add("users", "%w", err)
		}
		return nil
	}
	s := &auth.Server{
		Passwords: auth.WithSenders(users, f.Senders), SCRAMSecret: l.lasting.scramSecret,
	}
	if f.Scram {
		s.SCRAM = auth.SCRAMWithSenders(users, f.Senders)
	}
	return s
}

func (l *loader) mailboxes(f *file) delivery.Transport {
	kind, place, _ := strings.Cut(f.Mailboxes.Deliver, ":")
	switch kind {
	case "":
		return nil
	case "maildir":
		if place != "" {
			return delivery.Maildir(l.path(place))
		}
	case "smtp", "lmtp":
		u, err := url.Parse(f.Mailboxes.Deliver)
		if err == nil && u.Host != "" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" &&
			u.User == nil {
			return delivery.SMTP(connector.NextHop{Hosts: []string{u.Host}, LMTP: kind == "lmtp"})
		}
	}
	l.add(
		"mailboxes.deliver", "%q is none of smtp://HOST:PORT, lmtp://HOST:PORT, maildir:DIRECTORY",
		f.Mailboxes.Deliver,
	)
	return nil
}

// recipients returns nil when neither the list nor the file is given.
func (l *loader) recipients(path string, list []string, name string) domains.Resolver {
	switch {
	case name == "" && list == nil:
		return nil
	case name == "":
		return domains.StaticRecipients(list...)
	case list != nil:
		l.add(path+"recipients_file", "recipients are given already")
	}
	file, err := domains.OpenRecipients(l.path(name))
	for _, err := range parts(err) {
		l.add(path+"recipients_file", "%w", err)
	}
	return file
}
