package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// file is the configuration file. A key is the name of its field in snake case;
// what the relay has a type for is read straight into that type.
type file struct {
	Hostname      string
	DefaultDomain string
	Postmaster    string
	Spool         string // directory, made if missing
	Users         string // htpasswd file
	Scram         bool   // every user has SCRAM keys, which gateway -password prints
	MaxDeliveries int
	DrainTimeout  time.Duration
	// RequireEncryption refuses connectors that take content without TLS beyond
	// loopback.
	RequireEncryption bool
	// CompleteAddresses adds default_domain to addresses of submissions that
	// have no domain.
	CompleteAddresses bool

	TLS            *struct{ Certificate, Key, ClientCas string }
	Proxies        []connector.Range
	Xclient        []connector.Range
	GatewayGuard   relay.GatewayGuard
	Connector      []*connector.Connector
	AcceptedDomain []struct {
		Name            string
		Type            domains.Type
		MatchSubdomains bool
		Recipients      []string
		RecipientsFile  string // a local part or an address a line
		SkipLookup      bool
	}
	Senders       map[string][]string
	Mailboxes     struct{ Deliver string }
	SendConnector []struct {
		connector.SendConnector
		PasswordFile string
		// RootCas and Certificates name files for the connector's fields.
		RootCas      string
		Certificates []struct{ Certificate, Key string }
	}
	Retry    delivery.Retry
	Pressure relay.Pressure
	DKIM     []struct {
		Domain, Selector, Key string
		Subdomains            bool // signs for domains below too
	}
}

// lasting is what logons leave behind. It lives as long as the process: a
// reload must not forget who guesses, nor change the salt of unknown users,
// which would tell them from those there are.
type lasting struct {
	throttle    func() *auth.Throttle // made for the first users: it takes some memory
	scramSecret []byte
	kept        bool // in its file
}

func newLasting() *lasting {
	throttle := sync.OnceValue(func() *auth.Throttle {
		return auth.NewThrottle(nil)
	})
	l := &lasting{throttle: throttle, scramSecret: make([]byte, secretSize)}
	rand.Read(l.scramSecret) // never fails
	return l
}

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

// load reads a configuration file and returns it with the directory of the
// spool and every fault, those that only a relay finds among them. It opens
// neither sockets nor the spool.
func load(path string, last *lasting, log *slog.Logger) (relay.Config, string, faults) {
	l := &loader{dir: filepath.Dir(path), lasting: last, log: log}
	text, err := os.ReadFile(path)
	if err == nil {
		text, err = textOf(text)
	}
	if err != nil {
		l.add("-config", "%w", err)
		return relay.Config{}, "", l.faults
	}
	f, ok := l.decode(string(text))
	if !ok {
		return relay.Config{}, "", l.faults
	}
	cfg := relay.Config{
		Hostname:          f.Hostname,
		Connectors:        f.Connector,
		DefaultDomain:     f.DefaultDomain,
		Postmaster:        f.Postmaster,
		MaxDeliveries:     f.MaxDeliveries,
		DrainTimeout:      f.DrainTimeout,
		RequireEncryption: f.RequireEncryption,
		CompleteAddresses: f.CompleteAddresses,
		Retry:             f.Retry,
		Pressure:          f.Pressure,
		Proxies:           f.Proxies,
		XClient:           f.Xclient,
		GatewayGuard:      f.GatewayGuard,
		TLS:               l.certificate(f),
		Auth:              l.users(f),
		Mailboxes:         l.mailboxes(f),
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
		cfg.SendConnectors = append(cfg.SendConnectors, &c.SendConnector)
	}
	for i, k := range f.DKIM {
		cfg.DKIM = append(cfg.DKIM, msgauth.Key{
			Domain: k.Domain, Selector: k.Selector, Subdomains: k.Subdomains,
			Signer: l.signer(fmt.Sprintf("dkim[%d].key", i), k.Key),
		})
	}
	if f.Spool == "" {
		l.require("spool", "a directory for the queue is required")
	}
	trial := cfg
	trial.Spool = memspool.New(nil)
	_, err = relay.New(trial)
	l.explain(err)
	return cfg, l.path(f.Spool), l.faults
}

// decode reads the text of a file. It reports false when that is no TOML.
func (f *faults) decode(text string) (*file, bool) {
	var (
		table map[string]any
		into  file
	)
	if _, err := toml.Decode(text, &table); err != nil {
		if e, ok := errors.AsType[toml.ParseError](err); ok {
			f.add(fmt.Sprintf("line %d", e.Position.Line), "%s", e.Message)
		} else {
			f.add("-config", "%w", err)
		}
		return nil, false
	}
	f.fill("", table, &into)
	return &into, true
}

func (l *loader) certificate(f *file) *tls.Config {
	if f.TLS == nil {
		return nil
	}
	c := new(tls.Config)
	if l.read("tls.certificate", f.TLS.Certificate) == nil ||
		l.secret("tls.key", f.TLS.Key) == nil {
		return c
	}
	pair, err := relay.LoadCertificates(
		l.log,
		relay.CertificateFiles{Certificate: l.path(f.TLS.Certificate), Key: l.path(f.TLS.Key)},
	)
	if err != nil {
		l.add("tls", "%w", err)
		return c
	}
	c.GetCertificate = pair.GetCertificate
	if f.TLS.ClientCas != "" {
		c.ClientCAs = l.roots("tls.client_cas", f.TLS.ClientCas)
	}
	return c
}

// roots reads authorities.
func (l *loader) roots(field, name string) *x509.CertPool {
	pool := x509.NewCertPool()
	if text := l.read(field, name); text != nil && !pool.AppendCertsFromPEM(text) {
		l.add(field, "no certificate in %s", name)
	}
	return pool
}

// pair reads a certificate and its key.
func (l *loader) pair(field, certificate, key string) tls.Certificate {
	text, secret := l.read(field+".certificate", certificate), l.secret(field+".key", key)
	if text == nil || secret == nil {
		return tls.Certificate{}
	}
	pair, err := tls.X509KeyPair(text, secret)
	if err != nil {
		l.add(field, "%w", err)
	}
	return pair
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
		Throttle: l.lasting.throttle(),
	}
	if f.Scram {
		s.SCRAM = auth.SCRAMStoreFunc(func(
			ctx context.Context, c auth.Proof,
		) (string, *auth.Identity, error) {
			keys, id, err := users.SCRAMKeys(ctx, c)
			if err == nil {
				id.Senders = f.Senders[id.User]
			}
			return keys, id, err
		})
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

// signer reads a private key; it returns nil after a fault.
func (l *loader) signer(field, name string) crypto.Signer {
	text := l.secret(field, name)
	if text == nil {
		return nil
	}
	signer, err := msgauth.ParseKey(text)
	if err != nil {
		l.add(field, "%w", err)
	}
	return signer
}

// read returns the content of a file, or nil after a fault.
func (l *loader) read(field, name string) []byte {
	if name == "" {
		l.require(field, "a file is required")
		return nil
	}
	b, err := os.ReadFile(l.path(name))
	if err == nil {
		b, err = textOf(b)
	}
	if err != nil {
		l.add(field, "%w", err)
	}
	return b
}

// secret is read for a file that nobody else should read.
func (l *loader) secret(field, name string) []byte {
	b := l.read(field, name)
	if b != nil {
		warnOfReaders(l.path(name), field, l.log)
	}
	return b
}

// textOf returns the text of a file without the byte order mark that Windows
// puts in front. UTF-16, which Windows writes too, is refused.
func textOf(data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) ||
		bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("no UTF-8 text, but UTF-16 or binary: save it as UTF-8")
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), nil
}

func (l *loader) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(l.dir, name)
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
		"RootCAs", "RootCas",
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
